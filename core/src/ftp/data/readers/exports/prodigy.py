"""Prodigy's lines (`prodigy db-out`): spans with tokens, choices, one label; `answer` says what was accepted."""

from __future__ import annotations

from typing import Any

from ftp.data.readers.exports.spans import Span, Tally, Unreadable, read_span, tag_words

OWN_COLUMNS = ("tokens", "spans", "options", "accept", "answer", "config", "html", "tokenization")
ANSWERS = ("accept", "reject", "ignore")


def matches(rows: list[dict[str, Any]]) -> bool:
    """Whether every row is a text with an `answer` of Prodigy's, and something was asked."""
    if not all(isinstance(row.get("text"), str) and row.get("answer") in ANSWERS for row in rows):
        return False
    return any(
        "_task_hash" in row or "spans" in row or "options" in row or "label" in row for row in rows
    )


def convert(row: dict[str, Any], tally: Tally) -> dict[str, Any] | None:
    """An accepted row: its words with BIO tags, or its label. Rejected and ignored rows are left out."""
    answer = row.get("answer")
    if answer not in ANSWERS or not isinstance(row.get("text"), str):
        raise Unreadable(f"it has no text, or its answer is {answer!r:.40}")
    if answer != "accept":
        tally[f"rows left out, as their answer is '{answer}'"] += 1
        return None
    others = {
        name: value
        for name, value in row.items()
        if name not in OWN_COLUMNS and not name.startswith("_")
    }
    if "options" in row:
        accepted = row.get("accept") or []
        if len(accepted) > 1:
            raise Unreadable(
                f"several options are accepted ({', '.join(map(str, accepted))}); one label a row is read"
            )
        if not accepted:
            tally["rows left out, as no option is accepted"] += 1
            return None
        return {**others, "label": accepted[0]}
    if "spans" in row or "tokens" in row:
        others.pop("label", None)  # the tag that was asked about
        others.pop("text")
        return {**others, **_tagged(row)}
    return others


def _tagged(row: dict[str, Any]) -> dict[str, list[str]]:
    text, tokens, spans = row["text"], row.get("tokens"), row.get("spans") or []
    if not isinstance(tokens, list) or not tokens:
        return tag_words(text, [read_span(span) for span in spans])
    words: list[str] = []
    for token in tokens:
        if not isinstance(token, dict) or not isinstance(token.get("text"), str):
            raise Unreadable(f"the token {token!r:.40} has no text")
        words.append(token["text"])
    bounds = [(token.get("start"), token.get("end")) for token in tokens]
    if all(_is_at(text, word, place) for word, place in zip(words, bounds, strict=True)):
        return tag_words(text, [read_span(span) for span in spans], bounds)
    return {"tokens": words, "tags": _tags_by_token(len(words), spans)}


def _is_at(text: str, word: str, bounds: tuple[Any, Any]) -> bool:
    start, end = bounds
    return (
        isinstance(start, int) and isinstance(end, int) and start >= 0 and text[start:end] == word
    )


def _tags_by_token(count: int, spans: list[Any]) -> list[str]:
    """BIO tags by the numbers of first and last token, where the tokens' own offsets do not fit the text."""
    tags = ["O"] * count
    for value in spans:
        span: Span = read_span(value)
        first, last = value.get("token_start"), value.get("token_end")
        if (
            not isinstance(first, int)
            or not isinstance(last, int)
            or not 0 <= first <= last < count
        ):
            raise Unreadable(f"{span} names no tokens, and the tokens' offsets do not fit the text")
        if any(tag != "O" for tag in tags[first : last + 1]):
            raise Unreadable(f"{span} overlaps another; a word has one tag")
        tags[first : last + 1] = [f"B-{span.tag}", *[f"I-{span.tag}"] * (last - first)]
    return tags
