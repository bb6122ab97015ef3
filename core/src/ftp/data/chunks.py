"""A file of any known format -> Arrow tables of a few thousand rows each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from ftp.data import arrow, schemas
from ftp.data.readers import COLUMNAR, DataFile, Numbered, known_format, number_columns, read_rows, unit_of
from ftp.errors import Problem, UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, IterableDataset

    Rows: TypeAlias = Dataset | IterableDataset

CHUNK_ROWS, CHUNK_CHARACTERS = 10_000, 16_000_000


def of_file(file: DataFile, problems: dict[str, Problem] | None = None) -> Iterator[pa.Table]:
    """The rows of one file of any known format, in chunks.

    Args:
        problems: gets the columns that no type holds, which are left out; None: each of them is an error.
    """
    kind = known_format(file.path)
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
        made = arrow.table(chunk, where, problems)
        known = made.schema if known is None else schemas.joined(known, made.schema, chunk, where, problems)
        yield made


def chunked(rows: Iterable[Numbered], most: int) -> Iterator[list[Numbered]]:
    """Rows in lists of `most`, fewer where rows are long."""
    chunk: list[Numbered] = []
    size = 0
    for numbered in rows:
        chunk.append(numbered)
        size += sum(len(value) for value in numbered[1].values() if isinstance(value, str | list))
        if len(chunk) >= most or size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
