"""Prodigy's lines (`prodigy db-out`): spans with tokens, choices, one label; `answer` says what was accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftp.data.readers import Export, Layout, Tally, Unreadable
from ftp.types import Row
from ftp_labelling.columns import have_texts
from ftp_labelling.spans import read_span
from ftp_labelling.words import tag_words

OWN_COLUMNS = ("tokens", "spans", "options", "accept", "answer", "config", "html", "tokenization")
ANSWERS = ("accept", "reject", "ignore")
ASKED = frozenset({"_task_hash", "spans", "options", "label"})
"""Columns of which a row has at least one: what was asked about its text."""


def matches(rows: Sequence[Row]) -> bool:
    """Whether every row is a text with an `answer` of Prodigy's, and something was asked."""
    if not have_texts(rows) or not all(row.get("answer") in ANSWERS for row in rows):
        return False
    return any(not ASKED.isdisjoint(row) for row in rows)


def convert(row: Row, tally: Tally) -> Row | None:
    """An accepted row: its words with BIO tags, or its label. Rejected and ignored rows are left out."""
    answer = row.get("answer")
    if answer not in ANSWERS or not isinstance(row.get("text"), str):
        raise Unreadable(f"it has no text, or its answer is {answer!r:.40}")
    if answer != "accept":
        tally[f"rows left out, as their answer is '{answer}'"] += 1
        return None
    others = {name: value for name, value in row.items() if name not in OWN_COLUMNS and not name.startswith("_")}
    if "options" in row:
        accepted = row.get("accept") or []
        if len(accepted) > 1:
            names = ", ".join(map(str, accepted))
            raise Unreadable(f"several options are accepted ({names}); one label a row is read")
        if not accepted:
            tally["rows left out, as no option is accepted"] += 1
            return None
        return {**others, "label": accepted[0]}
    if "spans" in row or "tokens" in row:
        # a label beside spans is the tag that was asked about
        others.pop("label", None)
        others.pop("text")
        return {**others, **_tagged(row)}
    return others


def _tagged(row: Row) -> dict[str, list[str]]:
    text = row["text"]
    tokens = row.get("tokens")
    spans = row.get("spans") or []
    if not isinstance(tokens, list) or not tokens:
        return tag_words(text, map(read_span, spans))
    words: list[str] = []
    bounds: list[tuple[int, int]] = []
    for token in tokens:
        if not isinstance(token, dict) or not isinstance(token.get("text"), str):
            raise Unreadable(f"the token {token!r:.40} has no text")
        words.append(token["text"])
        start = token.get("start")
        end = token.get("end")
        if isinstance(start, int) and isinstance(end, int) and start >= 0 and text[start:end] == token["text"]:
            bounds.append((start, end))
    if len(bounds) == len(words):
        return tag_words(text, map(read_span, spans), bounds)
    return {"tokens": words, "tags": _tags_by_token(len(words), spans)}


def _tags_by_token(num_tokens: int, spans: Sequence[object]) -> list[str]:
    """BIO tags by the numbers of first and last token, where the tokens' own offsets do not fit the text."""
    tags = ["O"] * num_tokens
    for value in spans:
        span = read_span(value)
        numbers = value if isinstance(value, Mapping) else {}
        first = numbers.get("token_start")
        last = numbers.get("token_end")
        if not isinstance(first, int) or not isinstance(last, int) or not 0 <= first <= last < num_tokens:
            raise Unreadable(f"{span} names no tokens, and the tokens' offsets do not fit the text")
        if set(tags[first : last + 1]) != {"O"}:
            raise Unreadable(f"{span} overlaps another; a word has one tag")
        tags[first] = f"B-{span.tag}"
        for index in range(first + 1, last + 1):
            tags[index] = f"I-{span.tag}"
    return tags


EXPORT = Export("prodigy", (Layout("Prodigy", matches, convert),))
