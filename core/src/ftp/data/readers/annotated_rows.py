"""Rows whose annotations do not stand in columns: what would be misread where no installed package reads the tool's export."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ftp.data.readers.source import DataFile
from ftp.errors import UserError
from ftp.types import Row

VERDICTS = ("accept", "reject", "ignore")
ASKED = frozenset({"label", "spans", "options"})
"""What an annotator gives a verdict on."""
SPANS = ("label", "labels", "entities", "spans")
"""Columns in which marked parts of a text are met."""
RESULTS = frozenset({"selected", "chatmessage", "labels", "choices", "rating", "text"})
"""Fields in which what an annotator marked or chose is met, in columns of objects."""
SUGGESTION = "-suggestion"
PACKAGES = Path(__file__).with_name("packages.toml")


def refuse_unread(file: DataFile, rows: Sequence[Row]) -> None:
    """Raise `UserError` where the rows hold annotations that nobody would read, or that would be read as something else."""
    sign = sign_of_annotations(rows)
    if sign:
        raise UserError(
            f"{file.path} holds annotations as a tool exports them ({sign}), and no installed package reads them",
            'install a package that reads such exports (docs/data.md), or write plain rows, as {"text": "...", "label": "..."}',
            f"ftp install {_package_of_exports()}",
        )


@cache
def _package_of_exports() -> str:
    """The package of this project that reads what tools for annotation export."""
    listed = tomllib.loads(PACKAGES.read_text(encoding="utf-8"))
    return str(listed["exports"]["package"])


def sign_of_annotations(rows: Sequence[Row]) -> str:
    """What shows that rows are annotations, in words; empty for other rows."""
    for sign in SIGNS:
        if rows and all(map(sign.is_shaped, rows)) and any(map(sign.is_annotated, rows)):
            return sign.words
    return ""


def has_answer_columns(names: Iterable[str]) -> bool:
    """Whether columns hold the responses to questions, as `label.responses`."""
    present = set(names)
    if any(name.endswith((".responses", ".suggestion")) for name in present):
        return True
    return "external_id" in present and _has_suggestions(present)


def _has_suggestions(names: Collection[str]) -> bool:
    """Whether a column stands beside one with what a model suggested for it, as `label` beside `label-suggestion`."""
    return any(name.removesuffix(SUGGESTION) in names for name in names if name.endswith(SUGGESTION))


def _has_verdict(row: Row) -> bool:
    return isinstance(row.get("text"), str) and row.get("answer") in VERDICTS


def _was_asked(row: Row) -> bool:
    return not ASKED.isdisjoint(row)


def _is_task(row: Row) -> bool:
    return isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)


def _has_fields(row: Row) -> bool:
    return isinstance(row.get("fields"), dict)


def _has_responses(row: Row) -> bool:
    return bool(row.get("responses"))


def _has_annotation(row: Row) -> bool:
    return isinstance(row.get("text"), str) and "annotation" in row and "prediction" in row


def _has_status(row: Row) -> bool:
    return "status" in row or "_server_id" in row


def _has_marks(row: Row) -> bool:
    marks = row.get("annotations")
    return isinstance(row.get("text"), str) and isinstance(marks, list) and all(map(_is_mark, marks))


def _is_mark(value: object) -> bool:
    """Whether a value is `{"label": 2, "user": 1}`."""
    return isinstance(value, dict) and value.keys() >= {"label", "user"}


def _is_marked(row: Row) -> bool:
    return bool(row.get("annotations"))


def _has_inputs(row: Row) -> bool:
    return isinstance(row.get("inputs"), dict) and "annotation" in row and "prediction" in row


def _is_external(row: Row) -> bool:
    return "external_id" in row


def _was_suggested(row: Row) -> bool:
    return _has_suggestions(row.keys())


def _is_flat_task(row: Row) -> bool:
    return "annotation_id" in row


def _has_results(row: Row) -> bool:
    """Whether a column holds what an annotator marked or chose, as objects; a choice that is a word is a plain column."""
    return any(map(_are_results, row.values()))


def _are_results(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(map(_is_result, values))


def _is_result(value: object) -> bool:
    return isinstance(value, dict) and not RESULTS.isdisjoint(value)


def _is_untagged(row: Row) -> bool:
    return isinstance(row.get("text"), str) and "tokens" not in row


def _has_spans(row: Row) -> bool:
    for name in SPANS:
        values = row.get(name)
        if isinstance(values, list) and values and all(map(_is_span, values)):
            return True
    return False


def _is_span(value: object) -> bool:
    """Whether a value is `[start, end, name]`."""
    return isinstance(value, list) and [type(part) for part in value] == [int, int, str] and bool(value[2].strip())


class Sign(NamedTuple):
    """What shows that rows are annotations.

    Args:
        words: as an error names it.
        is_shaped: what holds for every row.
        is_annotated: what holds for one of them at least.
    """

    words: str
    is_shaped: Callable[[Row], bool]
    is_annotated: Callable[[Row], bool]


SIGNS = (
    Sign(f"each row has an answer: {', '.join(VERDICTS)}", _has_verdict, _was_asked),
    Sign("objects data, and lists of annotations", _is_task, _is_task),
    Sign("objects fields, and responses", _has_fields, _has_responses),
    Sign("annotation and prediction beside each text", _has_annotation, _has_annotation),
    Sign("annotation and prediction beside the inputs", _has_inputs, _has_inputs),
    Sign("columns with the responses to each question", _has_status, has_answer_columns),
    Sign("columns with responses, each beside its suggestion, as Argilla 1 has them", _is_external, _was_suggested),
    Sign("texts with annotations of a label and a user each, as doccano 1.0 writes them", _has_marks, _is_marked),
    Sign("an annotation_id beside what was marked or chosen, as in Label Studio's JSON-MIN", _is_flat_task, _has_results),
    Sign("texts with spans, as [0, 4, name]", _is_untagged, _has_spans),
)
"""Rows of plain columns show none of these; the first that fits is told."""
