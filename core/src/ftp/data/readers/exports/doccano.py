"""doccano's lines, as others write them too: a text with spans, or with a list of one label; and those of its version 1.0."""

from __future__ import annotations

from typing import Any

from ftp.data.readers.exports.spans import Span, Tally, Unreadable, is_span, read_span, tag_words

SPAN_COLUMNS = ("label", "labels", "entities", "spans", "annotations", "ner")
NO_ROW = "rows left out, as they have no label"
NUMBERS = "rows have labels that are numbers, as doccano 1.0 writes them: its project says their names"


def _span_column(row: dict[str, Any]) -> str | None:
    """The column that holds spans; None where there is none, or where it is empty."""
    for name in SPAN_COLUMNS:
        values = row.get(name)
        if isinstance(values, list) and values and all(is_span(value) for value in values):
            return name
    return None


def matches(rows: list[dict[str, Any]]) -> bool:
    """Whether the rows are texts and any of them has spans, and no tokens of their own."""
    if not all(isinstance(row.get("text"), str) and "tokens" not in row for row in rows):
        return False
    return any(_span_column(row) for row in rows)


def convert(row: dict[str, Any], tally: Tally) -> dict[str, Any]:
    """The words of the text with BIO tags; relations are left out."""
    if not isinstance(row.get("text"), str):
        raise Unreadable("it has no text")
    if row.get("relations"):
        tally["rows have relations, which are left out; their entities are read"] += 1
    spans: list[Span] = []
    for name in SPAN_COLUMNS:
        if isinstance(row.get(name), list):
            spans += [read_span(value) for value in row[name]]
    others = {
        name: value
        for name, value in row.items()
        if name not in (*SPAN_COLUMNS, "text", "relations", "Comments")
    }
    return {**others, **tag_words(row["text"], spans)}


def _classes(row: dict[str, Any]) -> Any:
    return row.get("label", row.get("labels"))


def matches_classes(rows: list[dict[str, Any]]) -> bool:
    """Whether the rows are texts with a list of one label each; rows with several are left to those who read several."""
    classes = [_classes(row) for row in rows]
    if not all(isinstance(row.get("text", row.get("data")), str) for row in rows):
        return False
    if not all(isinstance(names, list) and len(names) < 2 for names in classes):
        return False
    return any(classes) and all(isinstance(name, str) for names in classes for name in names)


def convert_classes(row: dict[str, Any], tally: Tally) -> dict[str, Any] | None:
    """The row with its label as a word."""
    names = _classes(row)
    if (
        not isinstance(names, list)
        or len(names) > 1
        or not all(isinstance(name, str) for name in names)
    ):
        raise Unreadable(f"its label is {names!r:.80}; before, each row has a list of one label")
    if not names:
        tally[NO_ROW] += 1
        return None
    others = {
        name: value
        for name, value in row.items()
        if name not in ("label", "labels", "data", "Comments")
    }
    return {**others, "text": row.get("text", row.get("data")), "label": names[0]}


def _old_annotations(row: dict[str, Any]) -> list[dict[str, Any]] | None:
    """What annotators marked in version 1.0, as `{"label": 2, "user": 1}`; None for rows of another shape."""
    entries = row.get("annotations")
    if not isinstance(row.get("text"), str) or not isinstance(entries, list):
        return None
    if not all(isinstance(entry, dict) and {"label", "user"} <= entry.keys() for entry in entries):
        return None
    return entries


def matches_old(rows: list[dict[str, Any]]) -> bool:
    """Whether the rows are texts with annotations of version 1.0."""
    return any(_old_annotations(row) for row in rows) and all(
        _old_annotations(row) is not None for row in rows
    )


def matches_old_spans(rows: list[dict[str, Any]]) -> bool:
    """As `matches_old`, with marked spans in any of the rows."""
    if not matches_old(rows):
        return False
    return any("start_offset" in entry for row in rows for entry in row["annotations"])


def convert_old_spans(row: dict[str, Any], tally: Tally) -> dict[str, Any]:
    """The words of the text with BIO tags; a row without spans has none."""
    entries = _required_annotations(row)
    spans = [read_span({**entry, "label": _old_label(entry)}) for entry in entries]
    if any(_is_number(entry) for entry in entries):
        tally[NUMBERS] += 1
    return {**_others_of_old(row), **tag_words(row["text"], spans)}


def convert_old(row: dict[str, Any], tally: Tally) -> dict[str, Any] | None:
    """The row with its one label, on which several annotators may agree; None where it has none."""
    entries = _required_annotations(row)
    labels = list(dict.fromkeys(_old_label(entry) for entry in entries))
    if not labels:
        tally[NO_ROW] += 1
        return None
    if len(labels) > 1:
        raise Unreadable(f"its labels are {', '.join(labels)}; one label a row is read")
    if any(_is_number(entry) for entry in entries):
        tally[NUMBERS] += 1
    return {**_others_of_old(row), "text": row["text"], "label": labels[0]}


def _required_annotations(row: dict[str, Any]) -> list[dict[str, Any]]:
    entries = _old_annotations(row)
    if entries is None:
        raise Unreadable("it has no text, or no list of annotations with a label and a user")
    return entries


def _old_label(entry: dict[str, Any]) -> str:
    return str(entry.get("label_name", entry["label"]))


def _is_number(entry: dict[str, Any]) -> bool:
    return "label_name" not in entry and isinstance(entry["label"], int)


def _others_of_old(row: dict[str, Any]) -> dict[str, Any]:
    own = ("text", "annotations", "annotation_approver", "meta")
    return {name: value for name, value in row.items() if name not in own}
