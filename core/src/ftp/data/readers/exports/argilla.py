"""Argilla's records: of version 2 (fields, responses, suggestions), its data sets on the hub, and of version 1 (annotation).

A response of people wins over a suggestion of a model; where there is none, the suggestion is taken and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ftp.data.readers.exports.spans import Tally, Unreadable, is_span, read_span, tag_words

PROMPT_NAMES = ("prompt", "instruction", "question", "input", "query")
TEXT_NAMES = ("text", "review", "content", "sentence", "document", "comment")
NO_ANSWER = "records left out, as they have neither a response nor a suggestion"
DISCARDED = "records left out, as they were discarded"
SUGGESTED = "records have no response, so that the suggestion is read"
DIFFERENT = (
    "records have responses that differ, of which the most frequent or else the first is read"
)


def matches(rows: list[dict[str, Any]]) -> bool:
    """Whether every row is a record of version 2 (or of a FeedbackDataset)."""
    if not all(isinstance(row.get("fields"), dict) for row in rows):
        return False
    return any(row.get("responses") or row.get("suggestions") for row in rows)


def convert(record: dict[str, Any], tally: Tally) -> dict[str, Any] | None:
    """The record as a row with our columns."""
    fields = record.get("fields")
    if not isinstance(fields, dict):
        raise Unreadable("it has no fields")
    if record.get("status") == "discarded":
        tally[DISCARDED] += 1
        return None
    answers = _answers(_responses(record), _suggestions(record), tally)
    if not answers:
        tally[NO_ANSWER] += 1
        return None
    metadata = record.get("metadata")
    row = {"id": record["id"]} if record.get("id") is not None else {}
    return {**row, **(metadata if isinstance(metadata, dict) else {}), **_row(fields, answers)}


def _responses(record: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Question -> what people answered."""
    responses = record.get("responses")
    answers: dict[str, list[Any]] = {}
    if isinstance(responses, dict):  # version 2: question -> [{"value", "user_id"}]
        for question, entries in responses.items():
            for entry in entries if isinstance(entries, list) else [entries]:
                if isinstance(entry, dict) and entry.get("status") not in ("draft", "discarded"):
                    answers.setdefault(question, []).append(entry.get("value"))
    elif isinstance(
        responses, list
    ):  # FeedbackDataset: [{"values": {question: {"value"}}, "status"}]
        for entry in responses:
            if isinstance(entry, dict) and entry.get("status") not in ("draft", "discarded"):
                values = entry.get("values")
                for question, value in values.items() if isinstance(values, dict) else ():
                    answers.setdefault(question, []).append(
                        value.get("value") if isinstance(value, dict) else value
                    )
    return answers


def _suggestions(record: Mapping[str, Any]) -> dict[str, Any]:
    """Question -> what a model suggested."""
    suggestions = record.get("suggestions")
    if isinstance(suggestions, dict):
        return {
            name: entry.get("value") if isinstance(entry, dict) else entry
            for name, entry in suggestions.items()
        }
    answers: dict[str, Any] = {}
    for entry in suggestions if isinstance(suggestions, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("question_name"), str):
            answers[entry["question_name"]] = entry.get("value")
    return answers


def _answers(
    responses: Mapping[str, list[Any]], suggestions: Mapping[str, Any], tally: Tally
) -> dict[str, Any]:
    """Question -> the one answer that is read."""
    answers: dict[str, Any] = {}
    is_different = is_suggested = False
    for question, values in responses.items():
        values = [value for value in values if value is not None]
        if values:
            counts = Counter(map(repr, values))
            is_different = is_different or len(counts) > 1
            answers[question] = next(
                value for value in values if counts[repr(value)] == max(counts.values())
            )
    for question, value in suggestions.items():
        if question not in answers and value is not None:
            answers[question] = value
            is_suggested = True
    tally.update({DIFFERENT: is_different} if is_different else {})
    tally.update({SUGGESTED: is_suggested} if is_suggested else {})
    return answers


def _row(fields: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """Fields and answers with our columns, by what the answers are."""
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    row: dict[str, Any] = dict(fields)
    for question, value in answers.items():
        if _is_ranking(value, texts):
            return {**row, **_preference(texts, _ranked(value))}
        if isinstance(value, list) and value and all(is_span(item) for item in value):
            row.update(tag_words(_main_text(texts), [read_span(item) for item in value]))
        elif isinstance(value, list) and len(value) == 1:
            row.setdefault("label", value[0])
        elif isinstance(value, str) and _is_written(question, texts):
            row.update(prompt=_prompt(texts), completion=value)
        elif "label" not in row and len(answers) == 1:
            row["label"] = value
        else:
            row[question] = value
    if "label" in row and "text" not in row:
        row["text"] = _main_text(texts)
    return row


def _main_text(texts: Mapping[str, str]) -> str:
    names = [name for name in TEXT_NAMES if name in texts] or list(texts)
    if not names or (len(texts) > 1 and names[0] not in TEXT_NAMES):
        raise Unreadable(
            f"which of its fields is the text? It has: {', '.join(texts) or 'none'}; name that one text"
        )
    return texts[names[0]]


def _prompt(texts: Mapping[str, str]) -> str:
    return next((texts[name] for name in PROMPT_NAMES if name in texts), "") or _main_text(texts)


def _is_written(question: str, texts: Mapping[str, str]) -> bool:
    """Whether an answer is text that was written, not a label that was chosen: its question says so."""
    return question in ("completion", "response", "answer", "output", "correction") and bool(texts)


def _is_ranking(value: Any, texts: Mapping[str, str]) -> bool:
    return isinstance(value, list) and len(value) == 2 and set(_ranked(value)) <= set(texts)


def _ranked(value: list[Any]) -> list[str]:
    """Names of the fields, the best first: a list of names, or of `{"value", "rank"}`."""
    if all(isinstance(item, str) for item in value):
        return list(value)
    if all(isinstance(item, dict) and isinstance(item.get("rank"), int) for item in value):
        return [
            str(item.get("value")) for item in sorted(value, key=lambda item: int(item["rank"]))
        ]
    return [""]


def _preference(texts: Mapping[str, str], names: list[str]) -> dict[str, str]:
    row = {"chosen": texts[names[0]], "rejected": texts[names[1]]}
    prompt = next(
        (texts[name] for name in PROMPT_NAMES if name in texts and name not in names), None
    )
    return row if prompt is None else {"prompt": prompt, **row}


def _questions(row: Mapping[str, Any]) -> dict[str, str]:
    """Question -> its column of responses, in a record with a column for each part."""
    return {name.removesuffix(".responses"): name for name in row if name.endswith(".responses")}


def matches_flat(rows: list[dict[str, Any]]) -> bool:
    """Whether the rows are those of a version 2 data set of the hub: `label.responses`, `label.suggestion`."""
    return (
        bool(rows) and all("status" in row for row in rows) and any(_questions(row) for row in rows)
    )


def convert_flat(row: dict[str, Any], tally: Tally) -> dict[str, Any] | None:
    """The record as a row with our columns; its other columns are kept."""
    if row.get("status") == "discarded":
        tally[DISCARDED] += 1
        return None
    questions = {name.split(".")[0] for name in row if name.endswith((".responses", ".suggestion"))}
    responses: dict[str, list[Any]] = {}
    for question in questions:
        values = row.get(f"{question}.responses")
        statuses = row.get(f"{question}.responses.status")
        responses[question] = _submitted(values, statuses)
    suggestions = {question: row.get(f"{question}.suggestion") for question in questions}
    answers = _answers(responses, suggestions, tally)
    if not answers:
        tally[NO_ANSWER] += 1
        return None
    fields = {
        name: value
        for name, value in row.items()
        if name.split(".")[0] not in questions and name[0] != "_"
    }
    fields.pop("status", None)
    texts = {name: value for name, value in fields.items() if name != "id"}
    return {**{name: row[name] for name in ("id",) if name in row}, **_row(texts, answers)}


def _submitted(values: Any, statuses: Any) -> list[Any]:
    if not isinstance(values, list):
        return []
    if not isinstance(statuses, list) or len(statuses) != len(values):
        return values
    return [
        value
        for value, status in zip(values, statuses, strict=True)
        if status not in ("draft", "discarded")
    ]


def matches_old(rows: list[dict[str, Any]]) -> bool:
    """Whether every row is a record of version 1: `annotation` and `prediction` beside a text."""
    return bool(rows) and all(
        "annotation" in row and "prediction" in row and _old_text(row) is not None for row in rows
    )


def _old_text(row: Mapping[str, Any]) -> str | None:
    """The text of a record of version 1: `text`, or the only one of its `inputs`."""
    text = row.get("text")
    if isinstance(text, str):
        return text
    inputs = row.get("inputs")
    texts: Iterable[Any] = inputs.values() if isinstance(inputs, dict) else ()
    return next((value for value in texts if isinstance(value, str)), None)


def convert_old(row: dict[str, Any], tally: Tally) -> dict[str, Any] | None:
    """The record as words with BIO tags, or as a text with its label; None where nobody has annotated it."""
    text, annotation = _old_text(row), row.get("annotation")
    if text is None:
        raise Unreadable("it has no text")
    if str(row.get("status")).lower() == "discarded":
        tally[DISCARDED] += 1
        return None
    if annotation is None:
        tally["records left out, as nobody has annotated them"] += 1
        return None
    kept = {"id": row["id"]} if row.get("id") is not None else {}
    tokens = row.get("tokens")
    if isinstance(tokens, list) and isinstance(annotation, list):
        return {
            **kept,
            **tag_words(text, [read_span(value) for value in annotation], _bounds(text, tokens)),
        }
    names = annotation if isinstance(annotation, list) else [annotation]
    if len(names) != 1 or not isinstance(names[0], str):
        raise Unreadable(f"its annotation is {annotation!r:.80}; one label a row is read")
    return {**kept, "text": text, "label": names[0]}


def _bounds(text: str, tokens: list[Any]) -> list[tuple[int, int]]:
    """Where each token begins and ends in the text."""
    bounds: list[tuple[int, int]] = []
    end = 0
    for token in tokens:
        start = text.find(token, end) if isinstance(token, str) else -1
        if start < 0:
            raise Unreadable(f"its token {token!r:.40} is not in the text after character {end}")
        end = start + len(token)
        bounds.append((start, end))
    return bounds
