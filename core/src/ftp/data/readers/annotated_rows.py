"""Rows whose annotations do not stand in columns: what would be misread where no installed package reads the tool's export."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.data.readers.source import DataFile
from ftp.errors import UserError
from ftp.types import Row

VERDICTS = ("accept", "reject", "ignore")
ASKED = ("label", "spans", "options")
"""What an annotator gives a verdict on."""
SPANS = ("label", "labels", "entities", "spans")
"""Columns in which marked parts of a text are met."""


def refuse_unread(file: DataFile, rows: Sequence[Row]) -> None:
    """Raise `UserError` where the rows hold annotations that nobody would read, or that would be read as something else."""
    sign = sign_of_annotations(rows)
    if sign:
        raise UserError(
            f"{file.path} holds annotations as a tool exports them ({sign}), and no installed package reads them",
            'install a package that reads such exports (docs/data.md), or write plain rows, as {"text": "...", "label": "..."}',
        )


def sign_of_annotations(rows: Sequence[Row]) -> str:
    """What shows that rows are annotations, in words; empty for other rows."""
    if not rows:
        return ""
    if all(_has_verdict(row) for row in rows) and any(not row.keys().isdisjoint(ASKED) for row in rows):
        return f"each row has an answer: {', '.join(VERDICTS)}"
    if all(_is_task(row) for row in rows):
        return "objects data, and lists of annotations"
    if all(isinstance(row.get("fields"), dict) for row in rows) and any(row.get("responses") for row in rows):
        return "objects fields, and responses"
    if all("annotation" in row and "prediction" in row and isinstance(row.get("text"), str) for row in rows):
        return "annotation and prediction beside each text"
    if all("status" in row or "_server_id" in row for row in rows) and any(map(_has_answer_columns, rows)):
        return "columns with the responses to each question"
    are_texts = all(isinstance(row.get("text"), str) and "tokens" not in row for row in rows)
    if are_texts and any(_has_spans(row) for row in rows):
        return "texts with spans, as [0, 4, name]"
    return ""


def _has_verdict(row: Row) -> bool:
    return isinstance(row.get("text"), str) and row.get("answer") in VERDICTS


def _is_task(row: Row) -> bool:
    return isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)


def _has_answer_columns(row: Row) -> bool:
    return any(name.endswith((".responses", ".suggestion")) for name in row)


def _has_spans(row: Row) -> bool:
    for name in SPANS:
        values = row.get(name)
        if isinstance(values, list) and values and all(_is_span(value) for value in values):
            return True
    return False


def _is_span(value: object) -> bool:
    """Whether a value is `[start, end, name]`."""
    return isinstance(value, list) and [type(part) for part in value] == [int, int, str] and bool(value[2].strip())
