"""Records of Argilla 2, and of its FeedbackDataset, as JSON: `fields`, `responses` and `suggestions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftp.data.readers import Tally, Unreadable
from ftp.types import Row
from ftp_labelling.argilla.answers import DISCARDED, NOT_SUBMITTED, Responses, choose_answers, submitted
from ftp_labelling.argilla.rows import row_of
from ftp_labelling.columns import with_id


def matches(rows: Sequence[Row]) -> bool:
    """Whether every row is a record of version 2 (or of a FeedbackDataset)."""
    if not all(isinstance(row.get("fields"), dict) for row in rows):
        return False
    return any(row.get("responses") or row.get("suggestions") for row in rows)


def convert(record: Row, tally: Tally) -> Row | None:
    """The record as a row with our columns."""
    fields = record.get("fields")
    if not isinstance(fields, dict):
        raise Unreadable("it has no fields")
    if record.get("status") == "discarded":
        tally[DISCARDED] += 1
        return None
    answers = choose_answers(_responses(record.get("responses")), _suggestions(record.get("suggestions")), tally)
    row = None if answers is None else row_of(fields, answers, tally)
    if row is None:
        return None
    if isinstance(record.get("metadata"), dict):
        row = {**record["metadata"], **row}
    return with_id(record, row)


def _responses(responses: object) -> Responses:
    if isinstance(responses, dict):  # version 2: question -> [{"value", "user_id"}]
        by_question: dict[str, list[object]] = {}
        for question, entries in responses.items():
            by_question[question] = submitted(entries if isinstance(entries, list) else [entries])
        return by_question
    return _feedback(responses) if isinstance(responses, list) else {}


def _feedback(responses: Sequence[object]) -> Responses:
    """The responses of a FeedbackDataset: `{"values": {question: {"value"}}, "status"}` for each annotator."""
    by_question: dict[str, list[object]] = {}
    for entry in responses:
        if not isinstance(entry, dict) or entry.get("status") in NOT_SUBMITTED:
            continue
        values = entry.get("values")
        for question, answer in values.items() if isinstance(values, dict) else ():
            by_question.setdefault(question, []).append(_value_of(answer))
    return by_question


def _suggestions(suggestions: object) -> Row:
    """Question -> what a model suggested."""
    by_question: dict[str, object] = {}
    if isinstance(suggestions, dict):
        for question, suggestion in suggestions.items():
            by_question[question] = _value_of(suggestion)
    elif isinstance(suggestions, list):
        for suggestion in suggestions:
            if isinstance(suggestion, dict) and isinstance(suggestion.get("question_name"), str):
                by_question[suggestion["question_name"]] = suggestion.get("value")
    return by_question


def _value_of(answer: object) -> object:
    return answer.get("value") if isinstance(answer, Mapping) else answer
