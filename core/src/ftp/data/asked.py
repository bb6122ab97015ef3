"""Rows that a finished run is asked about: their columns as text, or a word about what they lack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ftp import forms
from ftp.data.cells import Unreadable, text_of_cell
from ftp.data.column_kinds import KINDS, is_text
from ftp.errors import Problem, UserError
from ftp.types import Row

if TYPE_CHECKING:
    from ftp.data.row_types import RowsT

SHOWN = 5
"""Row numbers that are listed at most."""


def plain_values_as_text(rows: RowsT, columns: Iterable[str]) -> RowsT:
    """The rows with numbers, dates and true/false in these columns as texts; empty cells stay empty."""
    from datasets import Features, Value

    from ftp.host.quiet import without_progress_bars

    types = rows.features or {}
    # Texts stay the columns that they are, and lists are told of later, with their rows.
    plain = [column for column in columns if isinstance(types.get(column), Value) and not is_text(types[column])]
    if not plain:
        return rows
    features = Features({**types, **dict.fromkeys(plain, Value("string"))})
    with without_progress_bars():
        return rows.map(partial(_cells_as_text, columns=plain), batched=True, features=features)


def _cells_as_text(batch: Mapping[str, list[object]], *, columns: Iterable[str]) -> dict[str, list[str | None]]:
    texts: dict[str, list[str | None]] = {}
    for column in columns:
        texts[column] = [_text_or_none(value, column) for value in batch[column]]
    return texts


def _text_or_none(value: object, column: str) -> str | None:
    is_empty = value is None or value != value  # NaN
    return None if is_empty else text_of_cell(value, column)


def names_of_text(form: str, theirs_by_ours: Mapping[str, str]) -> frozenset[str]:
    """Names that the columns of text of a form may have in a file, to be read as they are written.

    Args:
        theirs_by_ours: columns that `--columns`, or the run, maps.
    """
    names: set[str] = set()
    for column in forms.get(form).asked_columns:
        names.update((column.name, theirs_by_ours.get(column.name, column.name)), forms.other_names(column.name))
    return frozenset(names)


def readable_rows(rows: Iterable[Row], form: str, start: int = 0) -> list[dict[str, Any]]:
    """The rows with the columns of their form as text (or words, or messages).

    Args:
        start: the number of the first row, counted from 0, for messages.

    Raises:
        UserError: rows lack a value, or hold another kind; all of them are counted.
    """
    asked_columns = forms.get(form).asked_columns
    readable: list[dict[str, Any]] = []
    # why a row cannot be read -> the rows of which that is so
    wrong: dict[str, list[int]] = {}
    for index, row in enumerate(rows, start):
        cells = dict(row)
        for column in asked_columns:
            read_cell = KINDS[column.kind].cell
            if column.name not in cells or read_cell is None:
                continue
            try:
                cells[column.name] = read_cell(cells[column.name], column.name)
            except Unreadable as error:
                wrong.setdefault(str(error), []).append(index)
        readable.append(cells)
    if wrong:
        fix = "rows count from 0; fill these rows in, or leave them out"
        raise UserError(Problem(f"{_which(indices)} {why}", fix) for why, indices in wrong.items())
    return readable


def _which(indices: list[int]) -> str:
    """`row 1`, or `row 1 (and 3, 5: 3 rows in all)`."""
    if len(indices) == 1:
        return f"row {indices[0]}"
    shown = list(map(str, indices[1:SHOWN]))
    if len(indices) > SHOWN:
        shown.append("...")
    return f"row {indices[0]} (and {', '.join(shown)}; {len(indices)} rows in all)"
