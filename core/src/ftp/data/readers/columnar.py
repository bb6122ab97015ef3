"""Tables of .parquet and .arrow files: every batch is proven whole before anything looks into it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftp.data.readers import growth
from ftp.data.readers.archives import COMPRESSIONS, limit_of, read_whole, too_large
from ftp.data.readers.source import DataFile
from ftp.errors import Problem, UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets.table import Table as MappedTable

BATCH_ROWS = 10_000
DEEPEST = 64
"""Lists and objects inside one another at most: what follows walks them by recursion."""


def read_tables(file: DataFile, kind: str, problems: dict[str, Problem]) -> Iterator[pa.Table]:
    """The batches of a file as tables with plain types.

    Args:
        kind: `parquet` or `arrow`.
        problems: gets the columns that are left out because no row of text or numbers can hold them, and why.

    Raises:
        UserError: the file is damaged, grows beyond its bound, or has no column that rows can hold.
    """
    import pyarrow as pa

    size = 0
    limit = limit_of(file)
    try:
        for batch in _batches(file, kind, limit):
            # offsets, lengths and UTF-8: looking into a damaged batch ends the process
            batch.validate(full=True)
            for part in growth.slices(batch, limit):
                table = plain_table(pa.Table.from_batches([part]), file, problems)
                size += growth.size_of(table)
                if size > limit:
                    raise too_large(file, limit)
                yield table
    except UserError:
        raise
    # Arrow raises a dozen types for damaged files, Unicode errors for names among them
    except Exception as error:
        raise UserError(
            f"{file.path} is not a whole {kind} file: {error or type(error).__name__}",
            "the file is cut short or damaged",
        ) from None


def _batches(file: DataFile, kind: str, limit: int) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    # never mapped: a file that another process cuts short would end this one (SIGBUS)
    is_compressed = file.path.suffix.lower() in COMPRESSIONS
    source = pa.BufferReader(read_whole(file)) if is_compressed else pa.OSFile(str(file.path))
    with source:
        if kind == "parquet":
            yield from _parquet_batches(file, source, limit)
            return
        if growth.decompressed_size(source) > limit:
            raise too_large(file, limit)
        source.seek(0)
        if source.read(len(growth.MAGIC)) == growth.MAGIC:
            source.seek(0)
            reader = pa.ipc.open_file(source)
            require_columns(file, reader.schema)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)
        else:
            source.seek(0)
            stream = pa.ipc.open_stream(source)
            require_columns(file, stream.schema)
            yield from stream


def _parquet_batches(file: DataFile, source: pa.NativeFile, limit: int) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(source, page_checksum_verification=True)
    require_columns(file, parquet.schema_arrow)
    size = 0
    for index in range(parquet.num_row_groups):
        size += max(0, parquet.metadata.row_group(index).total_byte_size)  # bytes once decompressed
        if size > limit:
            raise too_large(file, limit)
    for index in range(parquet.num_row_groups):
        # raises where the description of a column is damaged: to look at it as `batch_rows` does would end the process
        next(iter(parquet.iter_batches(1, row_groups=[index])), None)
    yield from parquet.iter_batches(growth.batch_rows(source, parquet.metadata, limit, BATCH_ROWS))


def require_columns(file: DataFile, schema: pa.Schema) -> None:
    """UserError where a table has no column, or two of one name."""
    names = list(schema.names)
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError(
            f"{file.path}: the columns {', '.join(doubled)} are there more than once",
            "give each column a name of its own",
        )
    if not names:
        raise UserError(f"{file.path} has no columns", "write at least one column")
    broken = [name for name in names if "\0" in name]  # a name of `datasets` ends there
    if broken:
        raise UserError(
            f"{file.path}: the name {broken[0]!r:.60} holds a NUL character", "rename this column"
        )


def plain_table(table: pa.Table, file: DataFile, problems: dict[str, Problem]) -> pa.Table:
    """The table with types that `datasets` holds: views, dictionaries and extensions as the plain types they stand for."""
    import pyarrow as pa

    columns: dict[str, pa.ChunkedArray] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        plain = _plain_column(column)
        if plain is None or not _is_holdable(plain.type):
            problems.setdefault(
                field.name,
                Problem(
                    f"{file.path}: the column {field.name} has the type {field.type}, which rows cannot hold",
                    "write it as text, numbers, lists or objects",
                ),
            )
        else:
            columns[field.name] = plain
    if not columns:
        raise UserError(problems.values())
    plain_columns = pa.table(columns)
    return plain_columns.replace_schema_metadata(_proven_metadata(table.schema, plain_columns.schema))


def _plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The column in a plain type; None where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column.type, pa.UuidType):
        return pa.chunked_array([_uuid_texts(storage) for storage in _storages(column)], pa.string())
    if isinstance(column.type, pa.BaseExtensionType) and not _is_of_datasets(column.type):
        return _plain_column(pa.chunked_array(_storages(column), column.type.storage_type))
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    plain = plain_type(column.type)
    if plain is None:
        return None
    return column if plain.equals(column.type) else column.cast(plain)


def _storages(column: pa.ChunkedArray) -> list[pa.Array]:
    """The arrays that hold the values of an extension type."""
    return [chunk.storage for chunk in column.chunks]


def _uuid_texts(storage: pa.Array) -> list[str | None]:
    """Numbers of 16 bytes as 01234567-89ab-cdef-0123-456789abcdef."""
    import uuid

    texts: list[str | None] = []
    for value in storage.to_pylist():
        texts.append(None if value is None else str(uuid.UUID(bytes=value)))
    return texts


def _is_of_datasets(kind: pa.DataType) -> bool:
    """Whether the type is one of the extensions that `datasets` itself registers (fixed arrays)."""
    return type(kind).__module__.startswith("datasets.")


def plain_type(kind: pa.DataType, depth: int = 0) -> pa.DataType | None:
    """The type that stands for another in rows; None where there is none (maps, unions, intervals) or it lies too deep."""
    import pyarrow as pa

    types = pa.types
    if depth > DEEPEST or types.is_map(kind) or types.is_union(kind) or types.is_interval(kind):
        return None
    if types.is_dictionary(kind):
        return plain_type(kind.value_type, depth + 1)
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if types.is_decimal32(kind) or types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if types.is_struct(kind):
        fields = []
        for field in kind:
            inner = plain_type(field.type, depth + 1)
            if inner is None or not _is_named(field):
                return None
            fields.append(pa.field(field.name, inner))
        return pa.struct(fields)
    if types.is_nested(kind) and kind.num_fields == 1:
        inner = plain_type(kind.field(0).type, depth + 1)
        if inner is None or not _is_named(kind.field(0)):
            return None
        if types.is_fixed_size_list(kind):
            return pa.list_(inner, kind.list_size)
        is_large = types.is_large_list(kind) or types.is_large_list_view(kind)
        return pa.large_list(inner) if is_large else pa.list_(inner)
    return kind


def _is_named(field: pa.Field) -> bool:
    """Whether the name of a field is held: it is UTF-8, which damaged files have not, and has no NUL, at which names end."""
    try:
        return "\0" not in field.name
    except UnicodeDecodeError:
        return False


def _is_holdable(kind: pa.DataType) -> bool:
    """Whether `datasets` has a feature for the type."""
    import pyarrow as pa
    from datasets import Features

    try:
        Features.from_arrow_schema(pa.schema([("column", kind)]))
    except Exception:  # ValueError, NotImplementedError, RecursionError: by the type
        return False
    return True


def _proven_metadata(old: pa.Schema, new: pa.Schema) -> dict[bytes, bytes] | None:
    """What `datasets` wrote about the columns (names of classes), where it is whole and fits the table; else nothing."""
    from datasets import Features

    try:
        written = json.loads((old.metadata or {})[b"huggingface"])["info"]["features"]
        every_feature = Features.from_dict(written)
        # columns that rows cannot hold were left out of the table
        features = Features({name: kind for name, kind in every_feature.items() if name in new.names})
        schema = features.arrow_schema
        if any(not new.field(name).type.equals(schema.field(name).type) for name in features):
            return None
        kept = json.dumps({"info": {"features": features.to_dict()}})
    except Exception:  # no such text, or one that was damaged: the types of the columns say enough
        return None
    return {b"huggingface": kept.encode()}


def require_whole(table: MappedTable, where: str) -> None:
    """Check a mapped table that was written by others.

    Args:
        table: of a `datasets.Dataset`.
        where: its folder, which an error names.

    Raises:
        UserError: the table is damaged.
    """
    try:
        for batch in table.to_batches():
            batch.validate(full=True)
    except Exception as error:  # as in `read_tables`
        raise UserError(
            f"{where} is damaged: {error or type(error).__name__}", "write the data set anew"
        ) from None
