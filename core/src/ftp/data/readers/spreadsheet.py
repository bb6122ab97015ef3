"""Rows of .xlsx files: the first sheet that has rows; its first row names the columns. Read by python-calamine."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import date, datetime, time, timedelta
from typing import Any

from ftp.data.readers.archives import limit_of, read_whole, too_large
from ftp.data.readers.header import name_columns
from ftp.data.readers.source import DataFile, Rows
from ftp.errors import UserError

# where a cell or a row stands, as r="AB12" or r="12"; the library takes small letters as well
PLACE = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{0,3})([0-9]{1,7})["']""")
NO_PLACE = re.compile(rb"""\br\s*=\s*["'](?:[A-Za-z]{4}|[A-Za-z]{0,3}[0-9]{8})""")  # the library counts wrong
CELLS = (
    50_000_000  # cells of the rectangle that a sheet spans; the library holds all of them in memory
)
BLOCK = 1 << 20
PLACE_BYTES = 24  # of the longest place, with some blanks


def read_xlsx(file: DataFile) -> Rows:
    """Rows of a spreadsheet. Empty rows are left out; dates become text as 2024-05-31."""
    try:
        import python_calamine
    except ImportError:
        raise UserError(
            f"{file.path}: spreadsheets are read by a library that is not installed",
            "install it with the command below, or save the sheet as .csv",
            "pip install python-calamine",
        ) from None
    content = read_whole(file)
    _require_bounded(file, content)
    try:
        workbook = python_calamine.load_workbook(io.BytesIO(content))
        sheets = {
            name: workbook.get_sheet_by_name(name).to_python(skip_empty_area=False)
            for name in workbook.sheet_names
        }
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        raise UserError(
            f"{file.path} is not a whole spreadsheet: {type(error).__name__}: {error}",
            "save it anew, or save it as .csv",
        ) from None
    filled = {name: rows for name, rows in sheets.items() if any(map(_has_values, rows))}
    if not filled:
        raise UserError(f"{file.path} has no rows", "give at least one row")
    name, cells = next(iter(filled.items()))
    if len(sheets) > 1:
        others = [other for other in sheets if other != name]
        file.tell(f"the sheet '{name}' is read; not: {', '.join(others)}")
    yield from _rows(file, name, cells)


def _has_values(row: list[Any]) -> bool:
    return any(cell not in ("", None) for cell in row)


def _rows(file: DataFile, sheet: str, cells: list[list[Any]]) -> Rows:
    mixed = _mixed_columns(cells)
    header: list[str] = []
    for number, row in enumerate(cells, 1):
        if not _has_values(row):
            continue
        if not header:
            header = name_columns(f"{file.path}, sheet '{sheet}', row {number}", _texts(row))
            continue
        outside = [cell for cell in row[len(header) :] if cell not in ("", None)]
        if outside:
            raise UserError(
                f"{file.path}, sheet '{sheet}', row {number}: {outside[0]!r:.40} stands in a column without a name",
                "name the column in the first row, or empty the cell",
            )
        values = {name: _plain(cell) for name, cell in zip(header, row, strict=False)}
        for index, name in enumerate(header):
            if index in mixed and values[name] is not None:
                values[name] = str(values[name])
                file.tell(f"the column {name} holds numbers and text; all of it is read as text")
        yield number, values


def _mixed_columns(cells: list[list[Any]]) -> set[int]:
    """Columns that hold text in some rows and numbers in others, the header aside."""
    kinds: dict[int, set[bool]] = {}
    filled = [row for row in cells if _has_values(row)]
    for row in filled[1:]:
        for index, cell in enumerate(row):
            if cell not in ("", None):
                kinds.setdefault(index, set()).add(isinstance(_plain(cell), str))
    return {index for index, found in kinds.items() if len(found) > 1}


def _texts(row: list[Any]) -> list[str]:
    """The cells of the first row as text, without the empty ones at its end."""
    texts = ["" if cell in ("", None) else str(_plain(cell)) for cell in row]
    while texts and not texts[-1].strip():
        texts.pop()
    return texts


def _plain(cell: Any) -> Any:
    """A cell as text, a number, true or false, or None where it is empty; whole numbers without a point."""
    if cell == "":
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell)
    return cell


def _require_bounded(file: DataFile, content: bytes) -> None:
    """UserError where the parts of the file, which is a zip archive, are damaged, too large, or span too many cells."""
    limit = limit_of(file)
    size = 0
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for part in archive.infolist():
                last_row, last_column, rest = 0, 0, b""
                with archive.open(part) as source:
                    while block := source.read(BLOCK):
                        size += len(block)
                        if size > limit:
                            raise too_large(file, limit)
                        if not part.filename.startswith("xl/worksheets/"):
                            continue
                        if NO_PLACE.search(rest + block):
                            raise UserError(
                                f"{file.path}, {part.filename}: a cell stands where no sheet has one",
                                "save it anew, or save it as .csv",
                            )
                        for column, row in PLACE.findall(rest + block):
                            last_row = max(last_row, int(row))
                            last_column = max(last_column, _number_of(column.upper()))
                        rest = block[-PLACE_BYTES:]  # a place may lie across two blocks
                if last_row * last_column > CELLS:
                    raise UserError(
                        f"{file.path}, {part.filename}: its cells span {last_row} rows and {last_column} columns",
                        "delete the far cells, or save the sheet as .csv",
                    )
    except UserError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, NotImplementedError, EOFError: whatever a damaged archive gives
        raise UserError(
            f"{file.path} is not a whole spreadsheet: {error}", "save it anew, or save it as .csv"
        ) from None


def _number_of(column: bytes) -> int:
    """27 for `AA`."""
    number = 0
    for letter in column:
        number = 26 * number + letter - ord("A") + 1
    return number
