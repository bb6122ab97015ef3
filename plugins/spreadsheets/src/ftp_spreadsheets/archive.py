"""What an .xlsx file, which is a zip archive, becomes in memory: bounded before the library reads it."""

from __future__ import annotations

import io
import re
import zipfile

from ftp import UserError
from ftp.data.readers import DataFile, limit_of, too_large

# where a cell or a row stands, as r="AB12" or r="12"; the library takes small letters as well
REFERENCE = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{0,3})([0-9]{1,7})["']""")
# the library counts wrong beyond three letters and seven digits
NO_REFERENCE = re.compile(rb"""\br\s*=\s*["'](?:[A-Za-z]{4}|[A-Za-z]{0,3}[0-9]{8})""")
MOST_CELLS = 50_000_000
"""Cells of the rectangle that a sheet spans; the library holds all of them in memory."""
BLOCK = 1 << 20
REFERENCE_BYTES = 24
"""Bytes of the longest reference, with some blanks."""
SAVE_ANEW = "save it anew, or save it as .csv"


def require_bounded(file: DataFile, content: bytes) -> None:
    """Check the parts of an archive before anything reads them.

    Args:
        content: the bytes of the file.

    Raises:
        UserError: they are damaged, too large, or span too many cells.
    """
    limit = limit_of(file)
    size = 0
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for part in archive.infolist():
                size = _require_bounded_part(file, archive, part, size, limit)
    except UserError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, NotImplementedError, EOFError: whatever a damaged archive gives
        raise UserError(f"{file.path} is not a whole spreadsheet: {error}", SAVE_ANEW) from None


def _require_bounded_part(
    file: DataFile, archive: zipfile.ZipFile, part: zipfile.ZipInfo, size: int, limit: int
) -> int:
    """Check one part; gives the bytes of all parts so far. `size`: of the parts before it."""
    is_sheet = part.filename.startswith("xl/worksheets/")
    last_row = 0
    last_column = 0
    rest = b""
    with archive.open(part) as source:
        while block := source.read(BLOCK):
            size += len(block)
            if size > limit:
                raise too_large(file, limit)
            if not is_sheet:
                continue
            # a reference may lie across two blocks
            text = rest + block
            if NO_REFERENCE.search(text):
                raise UserError(f"{file.path}, {part.filename}: a cell stands where no sheet has one", SAVE_ANEW)
            for column, row in REFERENCE.findall(text):
                last_row = max(last_row, int(row))
                last_column = max(last_column, _number_of(column.upper()))
            rest = block[-REFERENCE_BYTES:]
    if last_row * last_column > MOST_CELLS:
        raise UserError(
            f"{file.path}, {part.filename}: its cells span {last_row} rows and {last_column} columns",
            "delete the far cells, or save the sheet as .csv",
        )
    return size


def _number_of(column: bytes) -> int:
    """27 for `AA`."""
    number = 0
    for letter in column:
        number = 26 * number + letter - ord("A") + 1
    return number
