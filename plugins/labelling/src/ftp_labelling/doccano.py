"""doccano's lines, as others write them too: a text with spans, or with a list of one label; and those of its version 1.0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from ftp.data.readers import Export, Layout, Tally, Unreadable
from ftp.types import Row
from ftp_labelling.columns import are_objects, are_texts, have_texts, without
from ftp_labelling.spans import Span, are_spans, read_span
from ftp_labelling.words import tag_words

SPAN_COLUMNS = ("label", "labels", "entities", "spans", "annotations", "ner")
NO_LABEL = "rows left out, as they have no label"
NUMBERS = "rows have labels that are numbers, as doccano 1.0 writes them: its project says their names"


def matches_spans(rows: Sequence[Row]) -> bool:
    """Whether the rows are texts and any of them has spans, and no tokens of their own."""
    if not have_texts(rows) or any("tokens" in row for row in rows):
        return False
    return any(map(_has_spans, rows))


def _has_spans(row: Row) -> bool:
    return any(are_spans(row.get(name)) for name in SPAN_COLUMNS)


def convert_spans(row: Row, tally: Tally) -> Row:
    """The words of the text with BIO tags; relations are left out."""
    if not isinstance(row.get("text"), str):
        raise Unreadable("it has no text")
    if row.get("relations"):
        tally["rows have relations, which are left out; their entities are read"] += 1
    spans: list[Span] = []
    for name in SPAN_COLUMNS:
        if isinstance(row.get(name), list):
            spans += map(read_span, row[name])
    others = without(row, (*SPAN_COLUMNS, "text", "relations", "Comments"))
    return {**others, **tag_words(row["text"], spans)}


def _classes(row: Row) -> object:
    return row.get("label", row.get("labels"))


def _text(row: Row) -> object:
    return row.get("text", row.get("data"))


def _is_label_list(names: object) -> TypeGuard[list[str]]:
    """Whether a value is a list of one label, or an empty one."""
    return are_texts(names) and len(names) < 2


def matches_classes(rows: Sequence[Row]) -> bool:
    """Whether the rows are texts with a list of one label each; rows with several are left to those who read several."""
    for row in rows:
        if not isinstance(_text(row), str) or not _is_label_list(_classes(row)):
            return False
    return any(map(_classes, rows))


def convert_classes(row: Row, tally: Tally) -> Row | None:
    """The row with its label as a word."""
    names = _classes(row)
    if not _is_label_list(names):
        raise Unreadable(f"its label is {names!r:.80}; before, each row has a list of one label")
    if not names:
        tally[NO_LABEL] += 1
        return None
    return {**without(row, ("label", "labels", "data", "Comments")), "text": _text(row), "label": names[0]}


# --- version 1.0 ---


def _marks(row: Row) -> list[Row] | None:
    """What annotators marked in version 1.0, as `{"label": 2, "user": 1}`; None for rows of another shape."""
    marks = row.get("annotations")
    if isinstance(row.get("text"), str) and (marks == [] or are_objects(marks, ("label", "user"))):
        return marks
    return None


def matches_old(rows: Sequence[Row]) -> bool:
    """Whether the rows are texts with annotations of version 1.0."""
    marks_of_rows = list(map(_marks, rows))
    return any(marks_of_rows) and None not in marks_of_rows


def matches_old_spans(rows: Sequence[Row]) -> bool:
    """As `matches_old`, with marked spans in any of the rows."""
    if not matches_old(rows):
        return False
    return any(map(_has_old_spans, rows))


def _has_old_spans(row: Row) -> bool:
    return any("start_offset" in mark for mark in row["annotations"])


def convert_old_spans(row: Row, tally: Tally) -> Row:
    """The words of the text with BIO tags; a row without spans has none."""
    marks = _required_marks(row, tally)
    spans = [read_span({**mark, "label": _old_label(mark)}) for mark in marks]
    return {**_others_of_old(row), **tag_words(row["text"], spans)}


def convert_old(row: Row, tally: Tally) -> Row | None:
    """The row with its one label, on which several annotators may agree; None where it has none."""
    marks = _required_marks(row, tally)
    labels = list(dict.fromkeys(map(_old_label, marks)))
    if not labels:
        tally[NO_LABEL] += 1
        return None
    if len(labels) > 1:
        raise Unreadable(f"its labels are {', '.join(labels)}; one label a row is read")
    return {**_others_of_old(row), "text": row["text"], "label": labels[0]}


def _required_marks(row: Row, tally: Tally) -> list[Row]:
    marks = _marks(row)
    if marks is None:
        raise Unreadable("it has no text, or no list of annotations with a label and a user")
    if any("label_name" not in mark and isinstance(mark["label"], int) for mark in marks):
        tally[NUMBERS] += 1
    return marks


def _old_label(mark: Row) -> str:
    return str(mark.get("label_name", mark["label"]))


def _others_of_old(row: Row) -> dict[str, object]:
    return without(row, ("text", "annotations", "annotation_approver", "meta"))


EXPORT = Export(
    "doccano",
    (
        Layout("doccano 1.0", matches_old_spans, convert_old_spans),
        Layout("doccano 1.0", matches_old, convert_old),
        Layout("texts with spans (doccano)", matches_spans, convert_spans),
        Layout("texts with lists of one label (doccano)", matches_classes, convert_classes),
    ),
    is_general=True,
)
