"""Rows out of one file, and a clear word about every file that cannot be read. One module a family of formats.

.csv .tsv (`delimited`), .jsonl .json (`json_rows`, with the `exports` of tools for annotation), .txt (`text`), tagged
words (`conll`), .xlsx (`spreadsheet`), .parquet .arrow (`columnar`, as tables); each also compressed (`archives`); and what
other packages bring (`registered`).
Nothing is guessed in silence and nothing is skipped: a broken line is an error that names file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ftp.data.readers import conll, delimited, json_rows, registered, spreadsheet, text
from ftp.data.readers.archives import COMPRESSIONS, open_bytes, parse_size
from ftp.data.readers.lines import raw_lines
from ftp.data.readers.names import COLUMNAR, FORMATS, format_of, known_format, stem_of
from ftp.data.readers.registered import Reader, endings, reader_of, refuse_stream
from ftp.data.readers.source import DataFile, Numbered, ReadColumns, Rows

__all__ = [
    "COLUMNAR", "COMPRESSIONS", "FORMATS", "READERS", "DataFile", "Numbered", "ReadColumns", "Reader", "Rows", "endings",
    "format_of", "known_format", "number_columns", "open_bytes", "parse_size", "raw_lines", "read_rows", "reader_of",
    "refuse_stream", "stem_of", "unit_of",
]  # fmt: skip

READERS: dict[str, Callable[[DataFile], Rows]] = {
    "csv": delimited.read_csv,
    "tsv": delimited.read_tsv,
    "jsonl": json_rows.read_jsonl,
    "json": json_rows.read_json,
    "txt": text.read_text,
    "conll": conll.read_conll,
    "conllu": conll.read_conllu,
    "xlsx": spreadsheet.read_xlsx,
}
"""Format -> the function that reads it a row at a time. (Columnar formats come as tables: `columnar.read_tables`.)"""

IN_CELLS = ("csv", "tsv")
"""Formats whose cells are strings, of which whole columns are numbers."""


def read_rows(file: DataFile, kinds: dict[str, type] | None = None) -> Iterator[Numbered]:
    """The rows of a file with their places. `kinds`: number columns of csv and tsv files."""
    kind = known_format(file.path)
    reader = reader_of(file.path)
    rows = registered.rows_of(reader, file) if reader is not None else READERS[kind](file)
    return delimited.as_numbers(file, rows, kinds) if kinds else rows


def number_columns(file: DataFile, most: int | None = None) -> dict[str, type]:
    """Which columns of a file hold numbers only; none where the format has types of its own. `most`: rows to look at."""
    from itertools import islice

    if known_format(file.path) not in IN_CELLS:
        return {}
    kinds = delimited.number_columns(islice(read_rows(file), most))
    return {name: kind for name, kind in kinds.items() if name not in file.text_columns}


def unit_of(file: DataFile) -> str:
    """What the number of a row counts: lines, or rows."""
    reader = reader_of(file.path)
    if reader is not None:
        return reader.unit
    return "row" if known_format(file.path) in ("json", "xlsx") else "line"
