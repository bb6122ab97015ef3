"""Argilla's data sets of the hub, of either version: a record a row, with a column for each part of an answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ftp.data.readers import Tally
from ftp.types import Row
from ftp_labelling.argilla.answers import DISCARDED, choose_answers, submitted, submitted_of_columns
from ftp_labelling.argilla.rows import row_of
from ftp_labelling.columns import have_columns

RESPONSES = ".responses"  # behind the name of a question
SUGGESTION = ".suggestion"
OLD_SUGGESTION = "-suggestion"  # in version 1


def has_columns(names: Collection[str]) -> bool:
    """Whether a table has columns as in Argilla's data sets, of either version."""
    return any(name.endswith((RESPONSES, SUGGESTION, OLD_SUGGESTION)) for name in names)


def _questions(row: Row) -> set[str]:
    """The questions of a record with a column for each part: `label.responses`, `label.suggestion`."""
    return {name.rpartition(".")[0] for name in row if name.endswith((RESPONSES, SUGGESTION))}


def matches(rows: Sequence[Row]) -> bool:
    """Whether the rows are those of a data set of version 2."""
    if not all("status" in row or "_server_id" in row for row in rows):
        return False
    return any(map(_questions, rows))


def convert(row: Row, tally: Tally) -> Row | None:
    """The record as a row with our columns; its other columns are kept."""
    if row.get("status") == "discarded":
        tally[DISCARDED] += 1
        return None
    questions = _questions(row)
    responses: dict[str, list[object]] = {}
    suggestions: dict[str, object] = {}
    for question in questions:
        values = row.get(f"{question}{RESPONSES}")
        responses[question] = submitted_of_columns(values, row.get(f"{question}{RESPONSES}.status"))
        suggestions[question] = row.get(f"{question}{SUGGESTION}")
    answers = choose_answers(responses, suggestions, tally)
    if answers is None:
        return None
    fields: dict[str, object] = {}
    for name, value in row.items():
        if name.split(".")[0] not in questions and not name.startswith("_"):
            fields[name] = value
    fields.pop("status", None)
    kept = {"id": fields.pop("id")} if "id" in fields else {}
    converted = row_of(fields, answers, tally)
    return None if converted is None else {**kept, **converted}


def _old_questions(row: Row) -> list[str]:
    """The questions of a FeedbackDataset's row: `label` beside `label-suggestion`."""
    questions: list[str] = []
    for name in row:
        question = name.removesuffix(OLD_SUGGESTION)
        if question != name and question in row:
            questions.append(question)
    return questions


def matches_old(rows: Sequence[Row]) -> bool:
    """Whether the rows are those of a FeedbackDataset (version 1)."""
    return have_columns(rows, "external_id") and any(map(_old_questions, rows))


def convert_old(row: Row, tally: Tally) -> Row | None:
    """The record as a row with our columns; its other columns are kept."""
    fields = dict(row)
    responses: dict[str, list[object]] = {}
    suggestions: dict[str, object] = {}
    for question in _old_questions(row):
        responses[question] = _old_responses(fields.pop(question))
        suggestions[question] = fields.pop(f"{question}{OLD_SUGGESTION}", None)
        fields.pop(f"{question}{OLD_SUGGESTION}-metadata", None)
    answers = choose_answers(responses, suggestions, tally)
    if answers is None:
        return None
    external_id = fields.pop("external_id")
    converted = row_of(fields, answers, tally)
    if converted is None or external_id is None:
        return converted
    return {"id": external_id, **converted}


def _old_responses(responses: object) -> list[object]:
    """What people submitted: of a list of `{"user_id", "value", "status"}`, or of an object of such lists."""
    if isinstance(responses, dict):
        return submitted_of_columns(responses.get("value"), responses.get("status"))
    return submitted(responses) if isinstance(responses, list) else []
