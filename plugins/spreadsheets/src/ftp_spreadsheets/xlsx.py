"""Rows of .xlsx files: the first sheet that has rows; its first row names the columns. Read by python-calamine."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import TypeAlias

from ftp import UserError
from ftp.data.readers import DataFile, Rows, name_columns, read_whole
from ftp_spreadsheets.archive import SAVE_ANEW, require_bounded

Cell: TypeAlias = int | float | str | bool | time | date | datetime | timedelta
"""What the library gives for a cell; an empty text where it is empty."""
CellRow: TypeAlias = Sequence[Cell]

LARGEST_EXACT = 2**53
"""From here on floats skip whole numbers."""


def read_xlsx(file: DataFile) -> Rows:
    """Rows of a spreadsheet. Empty rows are left out; dates become text as 2024-05-31.

    Raises:
        UserError: the file is damaged or too large, has no rows, or a cell in a column without a name.
    """
    content = read_whole(file)
    require_bounded(file, content)
    sheets = _sheets(file, content)
    filled = [name for name, rows in sheets.items() if any(map(_has_values, rows))]
    if not filled:
        raise UserError(f"{file.path} has no rows", "give at least one row")
    others = [name for name in sheets if name != filled[0]]
    if others:
        file.tell(f"the sheet '{filled[0]}' is read; not: {', '.join(others)}")
    yield from _rows(file, filled[0], sheets[filled[0]])


def _sheets(file: DataFile, content: bytes) -> dict[str, Sequence[CellRow]]:
    """Name of a sheet -> its cells, in the order of the file."""
    import python_calamine

    sheets: dict[str, Sequence[CellRow]] = {}
    try:
        workbook = python_calamine.load_workbook(io.BytesIO(content))
        for name in workbook.sheet_names:
            sheets[name] = workbook.get_sheet_by_name(name).to_python(skip_empty_area=False)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        what = f"{file.path} is not a whole spreadsheet: {type(error).__name__}: {error}"
        raise UserError(what, SAVE_ANEW) from None
    return sheets


def _has_values(row: CellRow) -> bool:
    return any(cell != "" for cell in row)


def _rows(file: DataFile, sheet: str, cell_rows: Sequence[CellRow]) -> Rows:
    mixed = _mixed_columns(cell_rows)
    header: list[str] = []
    for number, cells in enumerate(cell_rows, 1):
        where = f"{file.path}, sheet '{sheet}', row {number}"
        if not _has_values(cells):
            continue
        if not header:
            header = name_columns(where, _header_texts(cells))
            continue
        for cell in cells[len(header) :]:
            if cell != "":
                raise UserError(
                    f"{where}: {cell!r:.40} stands in a column without a name",
                    "name the column in the first row, or empty the cell",
                )
        row: dict[str, object] = {}
        for index, (name, cell) in enumerate(zip(header, cells, strict=False)):
            row[name] = _plain(cell)
            if index in mixed and row[name] is not None:
                row[name] = str(row[name])
                file.tell(f"the column {name} holds numbers and text; all of it is read as text")
        yield number, row


def _mixed_columns(cell_rows: Sequence[CellRow]) -> set[int]:
    """Columns that hold text in some rows and numbers in others, the header aside."""
    has_text: set[int] = set()
    has_numbers: set[int] = set()
    filled = filter(_has_values, cell_rows)
    next(filled, None)  # the header
    for cells in filled:
        for index, cell in enumerate(cells):
            if cell == "":
                continue
            if isinstance(_plain(cell), str):
                has_text.add(index)
            else:
                has_numbers.add(index)
    return has_text & has_numbers


def _header_texts(cells: CellRow) -> list[str]:
    """The cells of the first row as text, without the empty ones at its end."""
    texts: list[str] = []
    for cell in cells:
        value = _plain(cell)
        texts.append("" if value is None else str(value))
    while texts and not texts[-1].strip():
        texts.pop()
    return texts


def _plain(cell: Cell) -> str | float | None:
    """A cell as text, a number, true or false, or None where it is empty; whole numbers without a point."""
    if cell == "":
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < LARGEST_EXACT:
        return int(cell)
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell)
    return cell
