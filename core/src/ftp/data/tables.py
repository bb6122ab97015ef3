"""Arrow tables as data sets: held in memory while small, else written once to a file that is mapped back."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.data import arrow, schemas
from ftp.errors import Problem, UserError
from ftp.types import Row

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo, Features

__all__ = ["from_rows", "to_rows"]

IN_MEMORY = 64_000_000
"""Bytes of Arrow up to which rows simply stay in memory."""

DIGEST_BYTES = 32
"""Bytes of the sha256 at the end of a file."""


def cache_home() -> Path | None:
    """Where what is worth keeping between runs lies: `FTP_CACHE`, else the user's cache folder.

    None for a user without a home.
    """
    if named := os.environ.get("FTP_CACHE"):
        return Path(named)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base, "ftp")
    try:
        return Path.home() / ".cache" / "ftp"
    except RuntimeError:  # HOME is not set, and the system does not know the user (containers)
        return None


def dataset(
    chunks: Iterable[pa.Table], path: Path | None = None, source_name: str = "", problems: dict[str, Problem] | None = None
) -> Dataset:
    """Tables as one data set: in memory while small, else written to `path` (or a temporary file) and mapped.

    Args:
        problems: as in `schemas.unify`.
    """
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    held: list[pa.Table] = []
    held_bytes = 0
    chunks = iter(chunks)
    for chunk in chunks:
        held.append(chunk)
        held_bytes += chunk.nbytes
        if held_bytes > IN_MEMORY:
            # Too many to hold: what is held and all that follows goes to the file.
            path = path or Path(tempfile.mkdtemp(prefix="ftp-")) / "rows.arrow"
            write(chain(held, chunks), path, source_name, problems)
            written = opened(path)
            if written is None:
                raise UserError(f"{path} was written but cannot be read back", "check the disk")
            return written
    if not held:
        raise UserError(f"{source_name or 'the data'} has no rows", "give at least one row")
    schema = schemas.unify((table.schema for table in held), source_name, problems)
    whole = pa.concat_tables([schemas.cast(table, schema) for table in held]).combine_chunks()
    return Dataset(InMemoryTable(whole), info=_info(whole.schema))


def _info(schema: pa.Schema) -> DatasetInfo:
    """The kinds of a table's columns, as `datasets` wants them."""
    from datasets import DatasetInfo, Features

    from ftp.data import json_column

    return DatasetInfo(features=json_column.typed(Features.from_arrow_schema(schema)))


def write(
    chunks: Iterable[pa.Table], path: Path, source_name: str = "", problems: dict[str, Problem] | None = None
) -> int:
    """Write tables to `path` as an Arrow stream followed by its sha256, whole or not at all. Returns the row count.

    Written aside, synced and renamed, so a reader sees the old file or the new one; when two processes write the same
    file, either may win. A column that gains fields on the way (null at first) makes a second pass.
    """
    import pyarrow as pa

    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem[:16]}-", ignore_cleanup_errors=True) as aside:
        parts: list[Path] = []
        schema: pa.Schema | None = None
        writer: pa.RecordBatchStreamWriter | None = None
        for chunk in chunks:
            next_schema = chunk.schema
            if schema is not None:
                next_schema = schemas.unify([schema, chunk.schema], source_name, problems)
            # A stream has one schema: rows of a wider one begin the next part.
            if schema is None or writer is None or not next_schema.equals(schema):
                if writer is not None:
                    writer.close()
                parts.append(Path(aside) / f"{len(parts)}.arrow")
                schema = next_schema
                writer = pa.ipc.new_stream(str(parts[-1]), schema)
            writer.write_table(schemas.cast(chunk, schema))
            count += len(chunk)
        if schema is None or writer is None:
            raise UserError(f"{source_name or 'the data'} has no rows", "give at least one row")
        writer.close()
        whole = parts[0] if len(parts) == 1 else _merge(parts, schema, Path(aside) / "merged.arrow")
        _append_digest(whole)
        whole.replace(path)
    return count


def _merge(parts: Iterable[Path], schema: pa.Schema, path: Path) -> Path:
    """Write the rows of Arrow streams into one of a schema that holds all of them; its path."""
    import pyarrow as pa

    with pa.ipc.new_stream(str(path), schema) as writer:
        for part in parts:
            for batch in pa.ipc.open_stream(pa.memory_map(str(part))):
                writer.write_table(schemas.cast(pa.Table.from_batches([batch]), schema))
    return path


def _append_digest(path: Path) -> None:
    """Write the sha256 of a file at its end, and all of it to the disk."""
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(digest)
        file.flush()
        os.fsync(file.fileno())


def opened(path: Path) -> Dataset | None:
    """The data set that `write` left at `path`, memory-mapped; None where there is none or where it is damaged."""
    import pyarrow as pa
    from datasets import Dataset

    try:
        size = path.stat().st_size - DIGEST_BYTES
        with path.open("rb") as file:
            file.seek(max(size, 0))
            written_digest = file.read(DIGEST_BYTES)
        # A file that was cut short, or whose bits flipped, may well be valid Arrow with other rows.
        if size <= 0 or _digest(path, size) != written_digest:
            return None
        with pa.memory_map(str(path)) as source:
            schema = pa.ipc.open_stream(source).schema
        return Dataset.from_file(str(path), info=_info(schema))
    except OSError:
        return None


def to_rows(part: Dataset) -> list[Row]:
    """The rows of a data set as Python objects (`Dataset.to_list` reads JSON columns with fewer digits).

    Args:
        part: a data set of which all rows fit into memory.
    """
    return as_rows(part[:])


def as_rows(columns: Mapping[str, Sequence[object]]) -> list[Row]:
    """Columns of equal length as a list of rows.

    Args:
        columns: name -> the values of a column, as a slice of a data set gives them.
    """
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def from_rows(rows: Sequence[Row], features: Features | None = None) -> Dataset:
    """Rows as a data set that gives each of them back as it is (`Dataset.from_list` fills fields of other rows in).

    Args:
        rows: at least one; a column that a row lacks is null in it.
        features: the types of its columns; None: they are found from the values.

    Raises:
        UserError: a column has values of several types, or no type holds them.
    """
    from datasets import Dataset, DatasetInfo
    from datasets.table import InMemoryTable, table_cast

    from ftp.data import json_column

    table = arrow.table(list(enumerate(rows)))
    if features is None:
        return dataset([table])
    # Cast as `datasets` would, but with JSON read by us, and not by pandas.
    table = json_column.with_json_columns(table, features).select(list(features))
    table = table_cast(table, features.arrow_schema)
    return Dataset(InMemoryTable(table), info=DatasetInfo(features=features))


def _digest(path: Path, size: int) -> bytes:
    """The sha256 of the first `size` bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
    return digest.digest()
