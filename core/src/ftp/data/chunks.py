"""A file of any known format -> Arrow tables of a few thousand rows each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ftp.data import arrow, schemas
from ftp.data.readers import COLUMNAR, DataFile, Numbered, known_format, number_columns, read_rows, unit_of
from ftp.errors import Problem, UserError

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 10_000
"""Rows of a chunk at most."""

CHUNK_CHARACTERS = 16_000_000
"""Characters of text (and entries of lists) after which a chunk is full, so that long rows fit into memory."""


def of_file(file: DataFile, problems: dict[str, Problem] | None = None) -> Iterator[pa.Table]:
    """The rows of one file of any known format, in chunks.

    Args:
        problems: gets the columns that no type holds, which are left out; None: each of them is an error.
    """
    kind = known_format(file.path)
    # Columnar files are tables already; their types need no look at each value.
    if kind in COLUMNAR:
        from ftp.data.readers.columnar import read_tables

        unholdable: dict[str, Problem] = {} if problems is None else problems
        yield from read_tables(file, kind, unholdable)
        if problems is None and unholdable:
            raise UserError(unholdable.values())
        return
    where = f"{file.path}, {unit_of(file)}"
    known: pa.Schema | None = None
    for chunk in chunked(read_rows(file, number_columns(file)), CHUNK_ROWS):
        table = arrow.table(chunk, where, problems)
        known = table.schema if known is None else schemas.joined(known, table.schema, chunk, where, problems)
        yield table


def chunked(rows: Iterable[Numbered], most: int) -> Iterator[list[Numbered]]:
    """Rows in lists of `most`, fewer where rows are long."""
    chunk: list[Numbered] = []
    size = 0
    for numbered in rows:
        chunk.append(numbered)
        size += sum(len(value) for value in numbered[1].values() if isinstance(value, str | list))
        if len(chunk) >= most or size >= CHUNK_CHARACTERS:
            yield chunk
            chunk = []
            size = 0
    if chunk:
        yield chunk
