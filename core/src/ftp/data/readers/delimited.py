"""Rows of .csv and .tsv files: a header line, then a row a line; cells are strings until a column is known to be numbers."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from ftp.data.readers.header import name_columns
from ftp.data.readers.lines import read_lines
from ftp.data.readers.source import DataFile, Numbered, Rows
from ftp.data.readers.tagged_words import refuse_tagged_words
from ftp.errors import UserError

WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
# whole numbers of more digits than a float holds are ids, whose last digits count: their column stays text
DECIMAL = re.compile(r"-?(0|[1-9]\d*)?\.\d+([eE][-+]?\d+)?|-?(0|[1-9]\d{0,14})")
# Excel's first line, which names the separator
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
PEEK_LINES = 200
"""Lines from which the separator of a .csv file is found, and whether a .tsv file has quoted cells."""


@dataclass(frozen=True)
class Dialect:
    """How a .csv file is written.

    Args:
        skip: lines before the header.
        other: another separator that fits the first lines as well, where commas do.
    """

    separator: str = ","
    skip: int = 0
    other: str = ""


def read_csv(file: DataFile) -> Rows:
    """Rows of a .csv file, separated by commas, or by what its header and first lines are separated by throughout."""
    # the default refuses cells above 131,072 characters
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    dialect = _dialect(file)
    if dialect.separator != ",":
        name = SEPARATORS.get(dialect.separator, repr(dialect.separator))
        file.tell(f"its cells are separated by {name}")
    if dialect.other:
        file.tell(
            f"its cells are separated by commas; {SEPARATORS[dialect.other]} would fit as well, "
            f"and are taken where its first line is sep={dialect.other}"
        )
    yield from _read_quoted(file, dialect)


def _read_quoted(file: DataFile, dialect: Dialect) -> Rows:
    """Rows whose cells may be quoted, with separators and line breaks inside the quotes."""
    lines = islice(read_lines(file), dialect.skip, None)
    reader = csv.reader(lines, strict=True, delimiter=dialect.separator)
    header: list[str] = []
    while True:
        line = reader.line_num + dialect.skip + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{file.path}, line {line}: {error}",
                "quote a cell that has quotes, and double the quotes inside it",
            ) from None
        if cells is None:
            return
        if not cells:
            continue
        if header:
            yield line, _row(file, line, header, cells)
        else:
            header = name_columns(f"{file.path}, line {line}", cells)


def _dialect(file: DataFile) -> Dialect:
    lines = list(islice(read_lines(file), PEEK_LINES))
    first = SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
    if first is not None:
        return Dialect(first[1], skip=1)
    separators = [separator for separator in SEPARATORS if _is_consistent(lines, separator)]
    if not separators:
        return Dialect()
    # commas win where they fit, as the name of the file says them
    other = separators[1] if separators[0] == "," and len(separators) > 1 else ""
    return Dialect(separators[0], other=other)


def _is_consistent(lines: list[str], separator: str) -> bool:
    """Whether the header has several cells with this separator, and every row as many."""
    widths: list[int] = []
    try:
        for cells in csv.reader(lines, strict=True, delimiter=separator):
            if cells:
                widths.append(len(cells))
    except csv.Error:
        # a quoted cell that goes on beyond the lines looked at is no fault
        if len(lines) < PEEK_LINES:
            return False
    return len(widths) > 1 and widths[0] > 1 and len(set(widths)) == 1


def read_tsv(file: DataFile) -> Rows:
    """Rows of a .tsv file, a line each. Quotes are text, unless they enclose a cell and are doubled inside.

    Where the first lines have different numbers of cells, and one number once quoted cells may hold tabs and line
    breaks (as spreadsheet programs write them), they are read so, which is told.
    """
    refuse_tagged_words(file)
    lines = read_lines(file)
    first = list(islice(lines, PEEK_LINES))
    widths = {text.count("\t") for text in first if text.strip("\r\n")}
    if len(widths) > 1 and _is_consistent(first, "\t"):
        file.tell("tabs and line breaks inside its quoted cells are read as text")
        yield from _read_quoted(file, Dialect("\t"))
        return
    header: list[str] = []
    for line, text in enumerate(chain(first, lines), 1):
        if not text.strip("\r\n"):
            continue
        cells = [_unquoted(cell) for cell in text.rstrip("\r\n").split("\t")]
        if header:
            yield line, _row(file, line, header, cells)
        else:
            header = name_columns(f"{file.path}, line {line}", cells)


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _row(file: DataFile, line: int, header: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    if len(cells) != len(header):
        shown = ", ".join(header[:10])
        if len(header) > 10:
            shown += ", ..."
        raise UserError(
            f"{file.path}, line {line}: {len(cells)} cells, but the header has {len(header)} ({shown})",
            "quote cells that hold the separator or a line break, or check for a missing cell",
        )
    return dict(zip(header, cells, strict=True))


def number_columns(rows: Iterable[Numbered]) -> dict[str, type]:
    """Which columns of strings hold numbers only: int (plain whole numbers, empty cells aside) or float."""
    kinds: dict[str, type | None] = {}
    has_values: set[str] = set()
    for _, row in rows:
        for name, cell in row.items():
            kind = kinds.setdefault(name, int)
            if kind is None or not cell:
                continue
            has_values.add(name)
            if kind is int and not WHOLE.fullmatch(cell):
                kind = float
            if kind is float and not DECIMAL.fullmatch(cell):
                kind = None
            kinds[name] = kind
    return {name: kind for name, kind in kinds.items() if kind and name in has_values}


def as_numbers(file: DataFile, rows: Iterable[Numbered], kinds: Mapping[str, type]) -> Iterator[Numbered]:
    """The rows with these columns as numbers; an empty cell of theirs becomes None."""
    for line, row in rows:
        for name, kind in kinds.items():
            try:
                row[name] = kind(row[name]) if row[name] else None
            except ValueError:
                if not file.columns.has(name):
                    continue  # left out with its text, as any column that turns mixed
                raise UserError(
                    f"{file.path}, line {line}: {name} is {row[name]!r:.80}, but its first rows are numbers",
                    "read without streaming, which looks at all rows first, or correct the row",
                ) from None
        yield line, row
