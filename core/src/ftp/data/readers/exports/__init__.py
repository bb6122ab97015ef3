"""Rows as tools of annotation and SQuAD write them -> rows with our columns. One file a tool, one table of all.

What is not for training (rejected, discarded, without an answer) is left out and counted; a row that cannot be read
is an error that names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from ftp.data.readers.exports import argilla, doccano, label_studio, prodigy, squad
from ftp.data.readers.exports.argilla import has_columns
from ftp.data.readers.exports.spans import Tally, Unreadable, spacy_pair
from ftp.data.readers.exports.squad import squad_rows
from ftp.data.readers.names import format_of
from ftp.data.readers.source import DataFile, Rows
from ftp.errors import UserError

__all__ = ["convert", "has_columns", "is_row", "spacy_pair", "squad_rows"]

PEEK_ROWS = 1000
SHOWN = 5  # faulty rows that an error lists


@dataclass(frozen=True)
class Export:
    """How the rows of one tool are known and read.

    Args:
        matches: whether the first rows of a file are of this tool.
        convert: one row with our columns, None for a row that is left out (counted in the tally).
    """

    name: str
    matches: Callable[[list[dict[str, Any]]], bool]
    convert: Callable[[dict[str, Any], Tally], dict[str, Any] | None]


EXPORTS = (
    Export("Label Studio", label_studio.matches_tagging, label_studio.convert_tagging),
    Export("Label Studio", label_studio.matches, label_studio.convert),
    Export("Label Studio (JSON-MIN)", label_studio.matches_flat, label_studio.convert_flat),
    Export(
        "Label Studio (JSON-MIN)", label_studio.matches_flat_whole, label_studio.convert_flat_whole
    ),
    Export("Prodigy", prodigy.matches, prodigy.convert),
    Export("Argilla", argilla.matches, argilla.convert),
    Export("Argilla (a data set of the hub)", argilla.matches_flat, argilla.convert_flat),
    Export(
        "Argilla 1 (a data set of the hub)", argilla.matches_old_flat, argilla.convert_old_flat
    ),
    Export("Argilla 1", argilla.matches_old, argilla.convert_old),
    Export("doccano 1.0", doccano.matches_old_spans, doccano.convert_old_spans),
    Export("doccano 1.0", doccano.matches_old, doccano.convert_old),
    Export("texts with spans (doccano)", doccano.matches, doccano.convert),
    Export(
        "texts with lists of one label (doccano)", doccano.matches_classes, doccano.convert_classes
    ),
    Export("SQuAD's answers", squad.matches, squad.convert),
)
"""Every tool whose exports are read; the first that knows the rows reads them."""


def is_row(row: Mapping[str, Any]) -> bool:
    """Whether an object is a row of one of the tools."""
    return _export_of([dict(row)]) is not None


def _export_of(rows: list[dict[str, Any]]) -> Export | None:
    return next((export for export in EXPORTS if export.matches(rows)), None)


def convert(file: DataFile, rows: Rows) -> Rows:
    """The rows with our columns, where a tool of annotation wrote them; else as they are."""
    first = list(islice(rows, PEEK_ROWS))
    peeked = [row for _, row in first]
    export = _export_of(peeked)
    if export is None:
        yield from chain(first, rows)
        return
    tally: Tally = Counter()
    faults: list[str] = []
    count = 0
    unit = "line" if format_of(file.path) == "jsonl" else "row"
    for number, row in chain(first, rows):
        try:
            converted = export.convert(row, tally)
        except Unreadable as error:
            faults.append(f"{unit} {number}: {error}")
            if file.is_stream:
                break
            continue
        if converted is not None:
            count += 1
            yield number, converted
    if faults:
        raise UserError(
            f"{file.path}, read as {export.name}: {len(faults)} rows cannot be read; the first: "
            + "; ".join(faults[:SHOWN]),
            "mend these annotations, or leave the rows out",
        )
    file.tell(f"read as {export.name}")
    for reason, rows_of_reason in tally.items():
        file.tell(f"{rows_of_reason} {reason}")
    if not count:
        raise UserError(
            f"{file.path}, read as {export.name}: no row is left",
            "; ".join(file.notes[-len(tally) :]),
        )
