"""Chunks of rows as Arrow tables, gathered in memory or written once to a file that is mapped back."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ftp.data.readers import COLUMNAR, DataFile, Numbered, known_format, number_columns, read_rows, unit_of
from ftp.errors import Problem, UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo, Features

IN_MEMORY = 64_000_000
"""Bytes of Arrow up to which rows simply stay in memory."""
CHUNK_ROWS, CHUNK_CHARACTERS = 10_000, 16_000_000
DEEPEST = 64
"""Lists and objects inside one another at most: what follows walks types by recursion."""

_LEFT_OUT: WeakKeyDictionary[Any, Mapping[str, Problem]] = WeakKeyDictionary()


def left_out_of(rows: Any) -> Mapping[str, Problem]:
    """Columns that the file of a data set has and the data set lacks, as no column type holds their values, and why."""
    return _LEFT_OUT.get(rows, {})


def require_held(rows: Any, names: Iterable[str]) -> None:
    """UserError where the file of a data set has one of these columns and no type holds its values."""
    problems = left_out_of(rows)
    wanted = [problems[name] for name in dict.fromkeys(names) if name in problems]
    if wanted:
        raise UserError(wanted)


def set_left_out(rows: Any, problems: Mapping[str, Problem]) -> None:
    """Remember columns that were left out, for the error of whoever needs one of them."""
    if problems:
        _LEFT_OUT[rows] = dict(problems)


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
        made = table(chunk, where, problems)
        known = made.schema if known is None else _joined(known, made.schema, chunk, where, problems)
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


def _joined(
    known: pa.Schema, own: pa.Schema, numbered: list[Numbered], where: str, problems: dict[str, Problem] | None
) -> pa.Schema:
    """The schema of earlier chunks and the next one. A column whose types cannot be joined is a problem that names its row."""
    late: dict[str, Problem] = {}
    try:
        schema = unify([known, own], where, late)
    except UserError:  # no column is left
        raise UserError(_changes(known, numbered, where, late).values()) from None
    late = _changes(known, numbered, where, late)
    if late and problems is None:
        raise UserError(late.values())
    if problems is not None:
        for name, problem in late.items():
            problems.setdefault(name, problem)
    return schema


def _changes(
    known: pa.Schema, numbered: list[Numbered], where: str, late: Mapping[str, Problem]
) -> dict[str, Problem]:
    """The problems of columns that change their type, each with the first row that does."""
    located: dict[str, Problem] = {}
    for name, problem in late.items():
        before = known.field(name)
        number, value = _first_misfit(before, numbered, _is_joinable)
        if number is None:
            located[name] = problem
            continue
        located[name] = Problem(
            f"{where} {number}: {name} is {value!r:.60} ({type(value).__name__}), but before it is {before.type}",
            "give a column one type in all rows",
        )
    return located


def _first_misfit(
    before: pa.Field, numbered: list[Numbered], fits: Callable[[pa.Field, pa.Field], bool]
) -> tuple[int | None, Any]:
    """The number and value of the first row whose own value does not fit a column; None where none alone does not."""
    for number, row in numbered:
        value = row.get(before.name)
        if value is not None and not fits(before, table([(number, {before.name: value})]).schema.field(0)):
            return number, value
    return None, None


def _is_joinable(before: pa.Field, own: pa.Field) -> bool:
    return _unjoinable(before, own, "") is None


def _holds(before: pa.Field, own: pa.Field) -> bool:
    """Whether values of one column type become those of an earlier one without a change of that type."""
    import pyarrow as pa

    try:
        return bool(unify([pa.schema([before]), pa.schema([own])]).field(0).equals(before))
    except UserError:
        return False


def misfits(chunk: pa.Table, schema: pa.Schema, file: DataFile, numbered: list[Numbered]) -> dict[str, Problem]:
    """Columns of a later chunk of a stream that do not fit the schema of its first rows, each with the first such row.

    Args:
        numbered: the rows of the chunk; none for formats whose tables have no row numbers.
    """
    problems: dict[str, Problem] = {}
    for own in chunk.schema:
        is_new = own.name not in schema.names
        if not is_new and _holds(schema.field(own.name), own):
            continue
        if is_new:
            values = [(number, row[own.name]) for number, row in numbered if own.name in row]
            number, value = values[0] if values else (None, None)
        else:
            number, value = _first_misfit(schema.field(own.name), numbered, _holds)
        where = str(file.path) if number is None else f"{file.path}, {unit_of(file)} {number}"
        shown = "" if number is None else f": {value!r:.60}"
        problems[own.name] = Problem(
            f"{where}: {own.name} has other types or fields than in the first rows, from which a stream takes its columns"
            + shown,
            "read without streaming, which looks at all rows first, or give the first rows every column and field",
        )
    return problems


def table(
    numbered: list[Numbered], where: str = "rows, row", problems: dict[str, Problem] | None = None
) -> pa.Table:
    """Rows as a table with every column that any of them has.

    Args:
        where: file and unit that an error names before the number of a row.
        problems: gets the columns that no type holds, which are left out; None: each of them is an error.
    """
    import pyarrow as pa

    names = dict.fromkeys(name for _, row in numbered for name in row)
    columns: dict[str, Any] = {}
    wrong: dict[str, Problem] = {} if problems is None else problems
    for name in names:
        values = [row.get(name) for _, row in numbered]
        if not _is_name(name):
            raise UserError(f"{where} {numbered[0][0]}: the name {name!r:.60} is no valid text", "rename this column")
        try:
            column = _column(values)
        except (pa.ArrowException, UnicodeError, OverflowError, RecursionError, ValueError, TypeError) as error:
            if name not in wrong:
                wrong[name] = _unholdable(name, values, [number for number, _ in numbered], where, error)
            continue
        if _depth(column.type) > DEEPEST:
            wrong.setdefault(name, Problem(f"{where} {numbered[0][0]}: {name} holds lists or objects too deep inside one another",
                                           "write the column flatter"))
        else:
            columns[name] = column
    if problems is None and wrong:
        raise UserError(wrong.values())
    if not columns and numbered and names:
        raise UserError([wrong[name] for name in names])
    return pa.table(columns)


def _column(values: list[Any]) -> pa.Array:
    """The values of a column; as JSON where Arrow could not give its objects back as they are."""
    import pyarrow as pa

    from ftp.data import json_column

    try:
        column = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        if not any(map(json_column.holds_objects, values)):
            raise
        return json_column.array(values)
    if not json_column.holds_structs(column.type) or _depth(column.type) > DEEPEST:
        return column
    if not _has_names(column.type) or not json_column.is_exact(column, values):
        return json_column.array(values)
    return column


def _unholdable(name: str, values: list[Any], numbers: list[int], where: str, error: Exception) -> Problem:
    """Why no column type holds these values, with the first row that shows it."""
    import pyarrow as pa

    first = next((value for value in values if value is not None), None)
    for number, value in zip(numbers, values, strict=True):
        is_other = value is not None and type(value) is not type(first)
        if is_other and {type(value), type(first)} != {int, float}:  # whole numbers become decimals
            return Problem(
                f"{where} {number}: {name} is {value!r:.60} ({type(value).__name__}), "
                f"but before it is {type(first).__name__} ({error})",
                "give a column one type in all rows",
            )
        try:
            pa.array([value])
        except (pa.ArrowException, UnicodeError, OverflowError, RecursionError, ValueError, TypeError) as alone:
            reason = "half of a surrogate pair" if isinstance(alone, UnicodeError) else str(alone)
            return Problem(f"{where} {number}: {name} is {value!r:.60}, which no column holds ({reason:.200})",
                           "mend the row, or write the value as text")  # fmt: skip
    return Problem(f"{where} {numbers[0]}: {name} holds values of several types ({error})", "give a column one type in all rows")


def _is_name(name: str) -> bool:
    """Whether Arrow and `datasets` both hold this name: no half of a surrogate pair, and no NUL, at which names end."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def _has_names(kind: pa.DataType) -> bool:
    """Whether every field of a type has a name that is held, at any depth."""
    level = [kind]
    for inner in level:  # grows while it is read
        fields = [inner.field(index) for index in range(inner.num_fields)]
        if not all(_is_name(field.name) for field in fields):
            return False
        level += [field.type for field in fields]
    return True


def _depth(kind: pa.DataType) -> int:
    """How many lists and objects of this type lie inside one another."""
    level, depth = [kind], 0
    while level:
        level = [inner.field(index).type for inner in level for index in range(inner.num_fields)]
        depth += 1
    return depth


def unify(schemas: Iterable[pa.Schema], told: str = "", problems: dict[str, Problem] | None = None) -> pa.Schema:
    """One schema for all: missing columns become null, whole numbers become decimals where needed, objects whose fields differ
    become JSON.

    Args:
        problems: gets the columns whose types cannot be joined, which are left out; None: each of them is an error.
    """
    import pyarrow as pa

    from ftp.data import json_column

    def pair(left: pa.Schema, right: pa.Schema) -> pa.Schema:
        left, right = _without(left, problems or ()), _without(right, problems or ())
        if left.equals(right):
            return left
        left, right = json_column.with_json(left, right), json_column.with_json(right, left)
        try:
            return pa.unify_schemas([left, right], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            if problems is None:
                raise UserError(
                    f"{told or 'rows'}: a column changes its type between rows or files ({error})",
                    "give a column one type in all rows",
                ) from None
        for name in set(left.names) & set(right.names):
            if (problem := _unjoinable(left.field(name), right.field(name), told)) is not None:
                problems[name] = problem
        joined = pa.unify_schemas([_without(left, problems), _without(right, problems)], promote_options="permissive")
        if not joined.names:
            raise UserError(problems.values())
        return joined

    return reduce(pair, schemas)


def _without(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    for name in names:
        if name in schema.names:
            schema = schema.remove(schema.get_field_index(name))
    return schema


def _unjoinable(left: pa.Field, right: pa.Field, told: str) -> Problem | None:
    """Why a column that has one type here and another there cannot be one column; None where it can."""
    import pyarrow as pa

    try:
        pa.unify_schemas([pa.schema([left]), pa.schema([right])], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        return Problem(
            f"{told or 'rows'}: the column {left.name} changes its type between rows or files ({error})",
            "give a column one type in all rows",
        )
    return None


def cast(found: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns and types of a schema that `unify` made of its own and others."""
    import pyarrow as pa

    from ftp.data import json_column

    if found.schema.equals(schema):
        return found
    found = found.select([name for name in found.column_names if name in schema.names])
    for place, name in enumerate(found.column_names):
        if json_column.is_json(schema.field(name).type):
            found = found.set_column(place, schema.field(name), json_column.from_arrow(found.column(name)))
    return pa.concat_tables([schema.empty_table(), found], promote_options="permissive")


def dataset(
    chunks: Iterable[pa.Table], path: Path | None = None, told: str = "", problems: dict[str, Problem] | None = None
) -> Dataset:
    """Tables as one data set: in memory while small, else written to `path` (or a temporary file) and mapped. `problems`: as in
    `unify`."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    held: list[pa.Table] = []
    chunks = iter(chunks)
    for chunk in chunks:
        held.append(chunk)
        if sum(each.nbytes for each in held) > IN_MEMORY:
            path = path or Path(tempfile.mkdtemp(prefix="ftp-")) / "rows.arrow"
            write((each for part in (held, chunks) for each in part), path, told, problems)
            written = opened(path)
            if written is None:
                raise UserError(f"{path} was written but cannot be read back", "check the disk")
            return written
    if not held:
        raise UserError(f"{told or 'the data'} has no rows", "give at least one row")
    schema = unify((each.schema for each in held), told, problems)
    whole = pa.concat_tables([cast(each, schema) for each in held]).combine_chunks()
    return Dataset(InMemoryTable(whole), info=_info(whole.schema))


def _info(schema: pa.Schema) -> DatasetInfo:
    """The kinds of a table's columns, as `datasets` wants them."""
    from datasets import DatasetInfo, Features

    from ftp.data import json_column

    return DatasetInfo(features=json_column.typed(Features.from_arrow_schema(schema)))


def write(
    chunks: Iterable[pa.Table], path: Path, told: str = "", problems: dict[str, Problem] | None = None
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
            wanted = chunk.schema if schema is None else unify([schema, chunk.schema], told, problems)
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
    import pyarrow as pa
    from datasets import Dataset

    try:
        size = path.stat().st_size - 32
        with path.open("rb") as file:
            file.seek(max(size, 0))
            told = file.read(32)
        if size <= 0 or _digest(path, size) != told:
            return None
        with pa.memory_map(str(path)) as source:
            schema = pa.ipc.open_stream(source).schema
        return Dataset.from_file(str(path), info=_info(schema))
    except OSError:
        return None


def to_rows(part: Dataset) -> list[dict[str, Any]]:
    """The rows of a data set as Python objects (`Dataset.to_list` reads JSON columns with fewer digits)."""
    columns: dict[str, list[Any]] = part[:]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def from_rows(rows: Sequence[Mapping[str, Any]], features: Features | None = None) -> Dataset:
    """Rows as a data set that gives each of them back as it is (`Dataset.from_list` fills fields of other rows in).

    `features`: the kinds of its columns, where they are known.
    """
    from datasets import Dataset, DatasetInfo
    from datasets.table import InMemoryTable, table_cast

    from ftp.data import json_column

    made = table([(number, dict(row)) for number, row in enumerate(rows)])
    if features is None:
        return dataset([made])
    made = table_cast(json_column.with_kinds(made, features).select(list(features)), features.arrow_schema)
    return Dataset(InMemoryTable(made), info=DatasetInfo(features=features))


def _digest(path: Path, size: int) -> bytes:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, 1 << 20))):
            found.update(block)
            size -= len(block)
    return found.digest()
