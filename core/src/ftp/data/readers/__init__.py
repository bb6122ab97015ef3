"""Rows out of one file, and a clear word about every file that cannot be read. One module a family of formats.

.csv .tsv (`delimited`), .jsonl .json (`json_rows`), .txt (`text`), .parquet .arrow (`columnar`, as tables); each also compressed
(`archives`). Other packages bring more formats (`registered`) and read what tools for annotation write as JSON (`exports`);
where none is installed, `annotated_rows` and `tagged_words` refuse what core would misread.
Nothing is guessed in silence and nothing is skipped: a broken line is an error that names file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ftp.data.readers import delimited, json_rows, registered, text
from ftp.data.readers.archives import COMPRESSIONS, limit_of, open_bytes, parse_size, read_whole, too_large
from ftp.data.readers.exports import Export, Layout, Tally, Unreadable
from ftp.data.readers.header import name_columns
from ftp.data.readers.lines import raw_lines, read_lines
from ftp.data.readers.names import COLUMNAR, FORMATS, ending_of, format_of, known_format, stem_of
from ftp.data.readers.registered import Reader, endings, reader_of, refuse_stream
from ftp.data.readers.source import DataFile, Numbered, ReadColumns, Rows
from ftp.data.readers.tagged_words import columns_of, holds_tagged_words

__all__ = [
    "COLUMNAR", "COMPRESSIONS", "FORMATS", "DataFile", "Export", "Layout", "Numbered", "ReadColumns", "Reader", "Rows",
    "Tally", "Unreadable", "columns_of", "counts_lines", "ending_of", "endings", "format_of", "holds_tagged_words",
    "known_format", "limit_of", "name_columns", "number_columns", "open_bytes", "parse_size", "raw_lines", "read_lines",
    "read_rows", "read_whole", "reader_of", "refuse_stream", "stem_of", "too_large", "unit_of",
]  # fmt: skip

READERS: dict[str, Callable[[DataFile], Rows]] = {
    "csv": delimited.read_csv,
    "tsv": delimited.read_tsv,
    "jsonl": json_rows.read_jsonl,
    "json": json_rows.read_json,
    "txt": text.read_text,
}
"""Format -> the function that reads it a row at a time. (Columnar formats come as tables: `columnar.read_tables`.)"""

IN_CELLS = ("csv", "tsv")
"""Formats whose cells are strings, of which whole columns are numbers."""

WHOLE_ROWS = ("json", *COLUMNAR)
"""Formats whose rows are no lines."""


def read_rows(file: DataFile, kinds: dict[str, type] | None = None) -> Iterator[Numbered]:
    """The rows of a file with their places, in order.

    Args:
        file: of any format but the columnar ones.
        kinds: of csv and tsv files, the columns that are numbers, as `number_columns` finds them; None: cells stay text.

    Raises:
        UserError: the file, or a row of it, cannot be read.
    """
    known_format(file.path)
    reader = reader_of(file.path)
    own_format = FORMATS.get(ending_of(file.path), "")
    # what is to be read as one document is not looked into
    is_document = own_format == "txt" and file.text_by == "document"
    if reader is not None and not is_document:
        return registered.rows_of(reader, file)
    rows = READERS[own_format](file)
    return delimited.as_numbers(file, rows, kinds) if kinds else rows


def number_columns(file: DataFile, most: int | None = None) -> dict[str, type]:
    """Which columns of a file hold numbers only, as int or float; none where the format has types of its own.

    Args:
        file: of any format but the columnar ones.
        most: rows to look at; None: all.

    Raises:
        UserError: the file, or a row of it, cannot be read.
    """
    from itertools import islice

    if known_format(file.path) not in IN_CELLS:
        return {}
    kinds = delimited.number_columns(islice(read_rows(file), most))
    return {name: kind for name, kind in kinds.items() if name not in file.text_columns}


def counts_lines(path: Path) -> bool:
    """Whether the rows of a file are lines of text, each with the number of the line on which it begins, from 1.

    Args:
        path: of a file that can be read.

    Raises:
        UserError: nothing reads the file.
    """
    reader = reader_of(path)
    return reader.counts_lines if reader is not None else known_format(path) not in WHOLE_ROWS


def unit_of(file: DataFile) -> str:
    """What the number of a row counts: `line`, `row`, or what a registered reader counts.

    Args:
        file: one that can be read.

    Raises:
        UserError: nothing reads the file.
    """
    reader = reader_of(file.path)
    if reader is not None:
        return reader.unit
    return "row" if known_format(file.path) == "json" else "line"
