"""JSON-MIN of Label Studio, whose tasks are flat: each kind of result is a column beside the columns of the data."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.data.readers import Tally, Unreadable
from ftp.types import Row
from ftp_labelling.columns import are_objects, have_columns, have_texts, with_id, without
from ftp_labelling.label_studio import conversations, preferences
from ftp_labelling.label_studio.results import spans_of
from ftp_labelling.spans import Span
from ftp_labelling.words import tag_words

OWN_COLUMNS = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time")
SPAN_FIELDS = frozenset({"start", "end", "labels"})


def _column_with(row: Row, fields: frozenset[str]) -> str:
    """The column whose values have these fields, as `{"selected": "left"}`; empty: there is none."""
    for name, values in row.items():
        if are_objects(values, fields):
            return name
    return ""


def matches_spans(rows: Sequence[Row]) -> bool:
    """Whether the rows are those of JSON-MIN, with spans in any of them."""
    if not have_columns(rows, "annotation_id") or not have_texts(rows):
        return False
    return any(_column_with(row, SPAN_FIELDS) for row in rows)


def convert_spans(row: Row, tally: Tally) -> Row:
    """The words of the text with BIO tags; a row without spans has none."""
    if not isinstance(row.get("text"), str):
        raise Unreadable("it has no text")
    column = _column_with(row, SPAN_FIELDS)
    spans: list[Span] = []
    for value in row[column] if column else ():
        spans += spans_of(row["text"], value)
    return {**without(row, (column, "text", *OWN_COLUMNS)), **tag_words(row["text"], spans)}


WHOLE_ROWS = (("pairwise", frozenset({"selected"})), ("chatmessage", frozenset({"chatmessage"})))
"""Types of results that make the whole row, and the field by which their values are known."""


def matches_whole_rows(rows: Sequence[Row]) -> bool:
    """Whether the rows are those of JSON-MIN, with a pairwise choice or chat messages in any of them."""
    return have_columns(rows, "annotation_id") and any(map(_is_whole_row, rows))


def _is_whole_row(row: Row) -> bool:
    return any(_column_with(row, fields) for _, fields in WHOLE_ROWS)


def convert_whole_row(row: Row, tally: Tally) -> Row | None:
    """The row as a preference, or as messages; None where nobody has chosen or written."""
    for result_type, fields in WHOLE_ROWS:
        column = _column_with(row, fields)
        if not column:
            continue
        # as the results of a task, so that both layouts are read by one function
        results = [{"type": result_type, "to_name": column, "value": value} for value in row[column]]
        data = without(row, (column, "id", *OWN_COLUMNS))
        if result_type == "pairwise":
            converted = preferences.preference(data, results)
        else:
            converted = {"messages": conversations.messages(data, results, tally)}
        return with_id(row, converted)
    tally["rows left out, as nothing was chosen or written"] += 1
    return None
