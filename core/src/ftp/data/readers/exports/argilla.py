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
SUGGESTION = "-suggestion"  # behind the name of a question, in version 1
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
    others = metadata if isinstance(metadata, dict) else {}
    converted = _row(fields, answers, tally)
    return None if converted is None else {**row, **others, **converted}


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
    if is_different:
        tally[DIFFERENT] += 1
    if is_suggested:
        tally[SUGGESTED] += 1
    return answers


def _row(
    fields: Mapping[str, Any], answers: Mapping[str, Any], tally: Tally
) -> dict[str, Any] | None:
    """Fields and answers with our columns, by what the answers are; None where a ranking prefers nothing."""
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    row: dict[str, Any] = dict(fields)
    chat = next((name for name, value in fields.items() if _is_chat(value)), None)
    if chat is not None:
        row["messages"] = row.pop(chat)
    for question, value in answers.items():
        ranks = _ranks(value)
        if ranks is not None and ranks.keys() <= texts.keys():
            preference = _preference(texts, ranks, tally)
            return None if preference is None else {**row, **preference}
        if isinstance(value, list) and ranks is not None and isinstance(value[0], dict):
            if len(answers) == 1:
                raise Unreadable(
                    f"it ranks {', '.join(ranks)}, which are none of its texts: {', '.join(texts)}"
                )
            row[question] = value
            continue
        if isinstance(value, list) and value and all(is_span(item) for item in value):
            row.update(tag_words(_main_text(texts), [read_span(item) for item in value]))
        elif isinstance(value, list) and len(value) == 1:
            row.setdefault("label", value[0])
        elif isinstance(value, str) and _is_written(question) and (texts or chat is not None):
            row.update(prompt=row.pop("messages") if chat is not None else _prompt(texts))
            row["completion"] = value
        elif "label" not in row and len(answers) == 1:
            row["label"] = value
        else:
            row[question] = value
    if "label" in row and "text" not in row and "messages" not in row:
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


def _is_written(question: str) -> bool:
    """Whether an answer is text that was written, not a label that was chosen: its question says so."""
    return question in ("completion", "response", "answer", "output", "correction")


def _is_chat(value: Any) -> bool:
    """Whether a field holds the turns of a conversation."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in value)


def _ranks(value: Any) -> dict[str, int] | None:
    """Name -> rank, 1 for the best: of a list of names, or of `{"value", "rank"}`; None for what is no ranking."""
    if not isinstance(value, list) or len(value) < 2:
        return None
    if all(isinstance(item, str) for item in value):
        return {name: rank for rank, name in enumerate(value, 1)}
    if all(isinstance(item, dict) and isinstance(item.get("rank"), int) for item in value):
        return {str(item.get("value")): item["rank"] for item in value}
    return None


def _preference(
    texts: Mapping[str, str], ranks: Mapping[str, int], tally: Tally
) -> dict[str, str] | None:
    """The best text as chosen and the worst as rejected; None where all have one rank."""
    names = sorted(ranks, key=lambda name: ranks[name])
    best, worst = names[0], names[-1]
    if ranks[best] == ranks[worst]:
        tally["records left out, as they rank all texts alike"] += 1
        return None
    if len(names) > 2:
        tally["records rank more than two texts, of which the best and the worst are read"] += 1
    row = {"chosen": texts[best], "rejected": texts[worst]}
    prompts = [name for name in PROMPT_NAMES if name in texts and name not in ranks]
    return {"prompt": texts[prompts[0]], **row} if prompts else row


def has_columns(names: Iterable[str]) -> bool:
    """Whether a table has columns as in Argilla's data sets of the hub, of either version."""
    return any(name.endswith((".responses", ".suggestion", SUGGESTION)) for name in names)


def _questions(row: Mapping[str, Any]) -> set[str]:
    """The questions of a record with a column for each part: `label.responses`, `label.suggestion`."""
    parts = (".responses", ".suggestion")
    return {name.rpartition(".")[0] for name in row if name.endswith(parts)}


def matches_flat(rows: list[dict[str, Any]]) -> bool:
    """Whether the rows are those of a version 2 data set of the hub."""
    if not rows or not all("status" in row or "_server_id" in row for row in rows):
        return False
    return any(_questions(row) for row in rows)


def convert_flat(row: dict[str, Any], tally: Tally) -> dict[str, Any] | None:
    """The record as a row with our columns; its other columns are kept."""
    if row.get("status") == "discarded":
        tally[DISCARDED] += 1
        return None
    questions = _questions(row)
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
        if name.split(".")[0] not in questions and not name.startswith("_")
    }
    fields.pop("status", None)
    kept = {"id": fields.pop("id")} if "id" in fields else {}
    converted = _row(fields, answers, tally)
    return None if converted is None else {**kept, **converted}


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


def _old_questions(row: Mapping[str, Any]) -> list[str]:
    """The questions of a FeedbackDataset's row: `label` beside `label-suggestion`."""
    names = [name.removesuffix(SUGGESTION) for name in row if name.endswith(SUGGESTION)]
    return [name for name in names if name in row]


def matches_old_flat(rows: list[dict[str, Any]]) -> bool:
    """Whether the rows are those of a FeedbackDataset (version 1) on the hub."""
    if not rows or not all("external_id" in row for row in rows):
        return False
    return any(_old_questions(row) for row in rows)


def convert_old_flat(row: dict[str, Any], tally: Tally) -> dict[str, Any] | None:
    """The record as a row with our columns; its other columns are kept."""
    questions = _old_questions(row)
    responses = {question: _old_responses(row[question]) for question in questions}
    suggestions = {question: row.get(f"{question}{SUGGESTION}") for question in questions}
    answers = _answers(responses, suggestions, tally)
    if not answers:
        tally[NO_ANSWER] += 1
        return None
    fields = dict(row)
    for question in questions:
        for name in (question, f"{question}{SUGGESTION}", f"{question}{SUGGESTION}-metadata"):
            fields.pop(name, None)
    external = fields.pop("external_id")
    converted = _row(fields, answers, tally)
    if converted is None:
        return None
    return converted if external is None else {"id": external, **converted}


def _old_responses(value: Any) -> list[Any]:
    """What people submitted: of a list of `{"user_id", "value", "status"}`, or of an object of such lists."""
    if isinstance(value, dict):
        values = value.get("value")
        return _submitted(values, value.get("status"))
    entries = [entry for entry in value or () if isinstance(entry, dict)]
    return _submitted(
        [entry.get("value") for entry in entries], [entry.get("status") for entry in entries]
    )


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
