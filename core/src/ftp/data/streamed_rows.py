"""Files -> rows that come as they are read, with the column types of the first ones."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from ftp.data import (
    arrow,
    chunks,
    dropped_columns,
    readers,
    schemas,
    stored_rows,
)
from ftp.data.readers import DataFile, Numbered
from ftp.errors import Problem, UserError
from ftp.types import Row

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import IterableDataset

PEEK = 1000
"""First rows of a file, from which a stream takes its columns and their types; also the rows of a chunk."""


def stream_rows(files: list[DataFile]) -> IterableDataset:
    """The rows of files as a stream, whose columns are those of the first rows of the first file."""
    from datasets import Features, IterableDataset

    from ftp.data import json_column

    for file in files:
        readers.refuse_stream(file.path)
    first = files[0]
    kinds = readers.number_columns(first, PEEK)
    problems: dict[str, Problem] = {}
    if readers.known_format(first.path) in readers.COLUMNAR:
        head = next(chunks.of_file(first, problems), None)
    else:
        peek = list(islice(readers.read_rows(first, kinds), PEEK))
        where = f"{first.path}, {readers.unit_of(first)}"
        head = arrow.table(peek, where, problems) if peek else None
    if head is None or not len(head):
        raise UserError(f"{first.path} has no rows", "give at least one row")
    first.notes.extend(stored_rows.left_out_notes(problems))
    # Later rows may have objects with other fields than the first ones: only JSON holds both.
    schema = json_column.with_json_for_structs(head.schema)
    rows = IterableDataset.from_generator(
        partial(_rows, kinds=kinds, schema=schema, left_out=tuple(problems)),
        features=json_column.typed(Features.from_arrow_schema(schema)),
        gen_kwargs={"files": files},
    )
    dropped_columns.set_left_out(rows, problems)
    return rows


def _rows(
    files: list[DataFile], *, kinds: dict[str, type], schema: pa.Schema, left_out: tuple[str, ...]
) -> Iterator[Row]:
    """Rows of all files, with the types of the first rows; nothing is bent to fit them.

    A column that does not fit them later on is an error where it is read, and else empty from there on.
    """
    from ftp.data.json_column import rows_of

    gone = set(left_out)
    for file in files:
        for numbered, chunk, problems in _chunks(file, kinds):
            late = {name: problem for name, problem in problems.items() if name not in gone}
            chunk = _without_columns(chunk, gone)
            late |= schemas.mismatches(chunk, schema, file, numbered)
            # `leave_out` raises where somebody reads one of these columns.
            if late:
                file.columns.leave_out(late)
                gone |= late.keys()
                chunk = _without_columns(chunk, gone)
            if not chunk.column_names:
                raise UserError(late.values() or f"{file.path} has none of the columns of the first rows")
            yield from rows_of(schemas.cast(chunk, schema))


def _without_columns(chunk: pa.Table, names: set[str]) -> pa.Table:
    return chunk.drop_columns(sorted(names.intersection(chunk.column_names)))


Chunk: TypeAlias = "tuple[list[Numbered], pa.Table, dict[str, Problem]]"


def _chunks(file: DataFile, kinds: dict[str, type]) -> Iterator[Chunk]:
    """Some rows of a stream with their numbers, as a table, and the columns that no type holds."""
    if readers.known_format(file.path) in readers.COLUMNAR:
        problems: dict[str, Problem] = {}
        for chunk in chunks.of_file(file, problems):
            yield [], chunk, problems
        return
    where = f"{file.path}, {readers.unit_of(file)}"
    for numbered in chunks.chunked(readers.read_rows(file, kinds), PEEK):
        problems = {}
        yield numbered, arrow.table(numbered, where, problems), problems
