"""Chunks of rows as Arrow tables, gathered in memory or written once to a file that is mapped back."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.data import files
from ftp.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

IN_MEMORY = 64_000_000
"""Bytes of Arrow up to which rows simply stay in memory."""


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


def of_file(path: Path, text_by: str = "line") -> Iterator[pa.Table]:
    """The rows of one file of any known format, in chunks."""
    found = files.known_format(path)
    if found in ("parquet", "arrow"):
        yield from _columnar(path, found)
        return
    kinds = files.number_columns(files.rows(path)) if found in ("csv", "tsv") else None
    for chunk in chunked(files.rows(path, text_by, kinds), files.CHUNK_ROWS):
        yield table(chunk, path)


def chunked(rows: Iterable[files.Numbered], most: int) -> Iterator[list[files.Numbered]]:
    """Rows in lists of `most`, fewer where rows are long."""
    chunk: list[files.Numbered] = []
    size = 0
    for numbered in rows:
        chunk.append(numbered)
        size += sum(len(value) for value in numbered[1].values() if isinstance(value, str | list))
        if len(chunk) >= most or size >= files.CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def fitting(found: pa.Table, schema: pa.Schema, path: Path, numbered: list[files.Numbered]) -> pa.Table:
    """The table under a schema taken from earlier rows; UserError for the first row with more or with other types."""
    if unify([schema, found.schema], str(path)).equals(schema):
        return cast(found, schema)
    place = next(
        (
            line
            for line, row in numbered
            if not unify([schema, table([(line, row)], path).schema], f"{path}, line {line}").equals(schema)
        ),
        None,
    )
    more = [field.name for field in found.schema if field.name not in schema.names]
    odd = more or [field.name for field in found.schema if field.type not in (schema.field(field.name).type, "null")]
    raise UserError(
        f"{path}" + (f", line {place}" if place is not None else "") + f": {', '.join(odd)} has other types or fields than in "
        "the first rows, from which a stream takes its columns",
        "read without streaming, which looks at all rows first, or give the first rows every column and field",
    )


def _columnar(path: Path, found: str) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source = pa.memory_map(str(path)) if path.suffix[1:] == found else pa.BufferReader(files.opened(path).read())
        if found == "parquet":
            batches = pq.ParquetFile(source).iter_batches()
        elif source.read(6) == b"ARROW1":
            reader = pa.ipc.open_file(source)
            batches = (reader.get_batch(place) for place in range(reader.num_record_batches))
        else:
            source.seek(0)
            batches = iter(pa.ipc.open_stream(source))
        for batch in batches:
            yield pa.Table.from_batches([batch])
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise UserError(f"{path} is not a whole {found} file: {error}") from None


def table(numbered: list[files.Numbered], path: Path | None = None) -> pa.Table:
    """Rows as a table with every column that any of them has; UserError where a column changes its type."""
    import pyarrow as pa

    names = dict.fromkeys(name for _, row in numbered for name in row)
    columns = {}
    for name in names:
        values = [row.get(name) for _, row in numbered]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            first = next((value for value in values if value is not None), None)
            line, odd = next(
                ((n, v) for (n, _), v in zip(numbered, values, strict=True) if v is not None and type(v) is not type(first)),
                (numbered[0][0], first),
            )
            raise UserError(
                f"{path or 'rows'}, line {line}: {name} is {odd!r:.60} ({type(odd).__name__}), "
                f"but before it is {type(first).__name__} ({error})",
                "give a column one type in all rows",
            ) from None
    return pa.table(columns)


def unify(schemas: Iterable[pa.Schema], told: str = "") -> pa.Schema:
    """One schema for all: missing columns and fields become null, whole numbers become decimals where needed."""
    import pyarrow as pa

    def pair(left: pa.Schema, right: pa.Schema) -> pa.Schema:
        if left.equals(right):
            return left
        try:
            return pa.unify_schemas([left, right], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            raise UserError(
                f"{told or 'rows'}: a column changes its type between rows or files ({error})",
                "give a column one type in all rows",
            ) from None

    return reduce(pair, schemas)


def cast(found: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns and types of a schema that `unify` made of its own and others."""
    import pyarrow as pa

    if found.schema.equals(schema):
        return found
    return pa.concat_tables([schema.empty_table(), found], promote_options="permissive")


def dataset(chunks: Iterable[pa.Table], path: Path | None = None, told: str = "") -> Dataset:
    """Tables as one data set: in memory while small, else written to `path` (or a temporary file) and mapped."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    held: list[pa.Table] = []
    chunks = iter(chunks)
    for chunk in chunks:
        held.append(chunk)
        if sum(each.nbytes for each in held) > IN_MEMORY:
            path = path or Path(tempfile.mkdtemp(prefix="ftp-")) / "rows.arrow"
            write((each for part in (held, chunks) for each in part), path, told)
            written = opened(path)
            if written is None:
                raise UserError(f"{path} was written but cannot be read back", "check the disk")
            return written
    if not held:
        raise UserError(f"{told or 'the data'} has no rows", "give at least one row")
    schema = unify((each.schema for each in held), told)
    return Dataset(InMemoryTable(pa.concat_tables([cast(each, schema) for each in held]).combine_chunks()))


def write(chunks: Iterable[pa.Table], path: Path, told: str = "") -> int:
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
            wanted = chunk.schema if schema is None else unify([schema, chunk.schema], told)
            if schema is None or writer is None or not wanted.equals(schema):
                if writer is not None:
                    writer.close()
                parts.append(Path(aside) / f"{len(parts)}.arrow")
                schema, writer = wanted, pa.ipc.new_stream(str(parts[-1]), wanted)
            writer.write_table(cast(chunk, schema))
            count += len(chunk)
        if schema is None or writer is None:
            raise UserError(f"{told or 'the data'} has no rows", "give at least one row")
        writer.close()
        if len(parts) > 1:
            merged = Path(aside) / "merged.arrow"
            with pa.ipc.new_stream(str(merged), schema) as whole:
                for part in parts:
                    for batch in pa.ipc.open_stream(pa.memory_map(str(part))):
                        whole.write_table(cast(pa.Table.from_batches([batch]), schema))
            parts = [merged]
        digest = _digest(parts[0], parts[0].stat().st_size)
        with parts[0].open("ab") as file:
            file.write(digest)
            file.flush()
            os.fsync(file.fileno())
        parts[0].replace(path)
    return count


def opened(path: Path) -> Dataset | None:
    """The data set that `write` left at `path`, memory-mapped; None where there is none or where it is damaged."""
    from datasets import Dataset

    try:
        size = path.stat().st_size - 32
        with path.open("rb") as file:
            file.seek(max(size, 0))
            told = file.read(32)
        if size <= 0 or _digest(path, size) != told:
            return None
        return Dataset.from_file(str(path))
    except OSError:
        return None


def _digest(path: Path, size: int) -> bytes:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, 1 << 20))):
            found.update(block)
            size -= len(block)
    return found.digest()


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of `datasets` meanwhile: core shows its own."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    off = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not off:
            enable_progress_bars()
