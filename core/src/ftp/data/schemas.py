"""One schema for all chunks of a data set, and the first row that does not fit it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

from ftp.data import arrow
from ftp.data.readers import DataFile, Numbered, unit_of
from ftp.errors import Problem, UserError

if TYPE_CHECKING:
    import pyarrow as pa


def unify(schemas: Iterable[pa.Schema], source_name: str = "", problems: dict[str, Problem] | None = None) -> pa.Schema:
    """One schema for all: missing columns become null, whole numbers become decimals where needed, objects whose fields differ
    become JSON.

    Args:
        problems: gets the columns whose types cannot be joined, which are left out; None: each of them is an error.
    """
    import pyarrow as pa

    from ftp.data import json_column

    def pair(left: pa.Schema, right: pa.Schema) -> pa.Schema:
        left = without_columns(left, problems or ())
        right = without_columns(right, problems or ())
        if left.equals(right):
            return left
        # Each takes the JSON columns of the other, as they were before.
        left, right = json_column.with_json(left, right), json_column.with_json(right, left)
        try:
            return pa.unify_schemas([left, right], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            if problems is None:
                raise UserError(
                    f"{source_name or 'rows'}: a column changes its type between rows or files ({error})",
                    "give a column one type in all rows",
                ) from None
        # Arrow names no column in its error: each is tried by itself, and those that fail are left out.
        for name in set(left.names) & set(right.names):
            if (problem := _unjoinable(left.field(name), right.field(name), source_name)) is not None:
                problems[name] = problem
        left = without_columns(left, problems)
        right = without_columns(right, problems)
        joined = pa.unify_schemas([left, right], promote_options="permissive")
        if not joined.names:
            raise UserError(problems.values())
        return joined

    return reduce(pair, schemas)


def without_columns(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """The schema less the columns of these names that it has."""
    for name in names:
        if name in schema.names:
            schema = schema.remove(schema.get_field_index(name))
    return schema


def _unjoinable(left: pa.Field, right: pa.Field, source_name: str) -> Problem | None:
    """Why a column that has one type here and another there cannot be one column; None where it can."""
    import pyarrow as pa

    try:
        pa.unify_schemas([pa.schema([left]), pa.schema([right])], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        return Problem(
            f"{source_name or 'rows'}: the column {left.name} changes its type between rows or files ({error})",
            "give a column one type in all rows",
        )
    return None


def cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns and types of a schema that `unify` made of its own and others."""
    import pyarrow as pa

    from ftp.data import json_column

    if table.schema.equals(schema):
        return table
    table = table.select([name for name in table.column_names if name in schema.names])
    for i, name in enumerate(table.column_names):
        if json_column.is_json(schema.field(name).type):
            table = table.set_column(i, schema.field(name), json_column.from_arrow(table.column(name)))
    # Beside an empty table of the schema, Arrow adds missing columns and makes whole numbers decimals.
    return pa.concat_tables([schema.empty_table(), table], promote_options="permissive")


def joined(
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
        number, value = _first_mismatch(before, numbered, _is_joinable)
        if number is None:
            located[name] = problem
            continue
        located[name] = Problem(
            f"{where} {number}: {name} is {value!r:.60} ({type(value).__name__}), but before it is {before.type}",
            "give a column one type in all rows",
        )
    return located


def _first_mismatch(
    before: pa.Field, numbered: list[Numbered], fits: Callable[[pa.Field, pa.Field], bool]
) -> tuple[int | None, Any]:
    """The number and value of the first row whose own value does not fit a column; None where none alone does not."""
    for number, row in numbered:
        value = row.get(before.name)
        if value is not None and not fits(before, arrow.table([(number, {before.name: value})]).schema.field(0)):
            return number, value
    return None, None


def _is_joinable(before: pa.Field, own: pa.Field) -> bool:
    """Whether one column can hold values of both types, whichever its own type is then."""
    return _unjoinable(before, own, "") is None


def _holds(before: pa.Field, own: pa.Field) -> bool:
    """Whether values of one column type become those of an earlier one without a change of that type."""
    import pyarrow as pa

    try:
        return bool(unify([pa.schema([before]), pa.schema([own])]).field(0).equals(before))
    except UserError:
        return False


def mismatches(chunk: pa.Table, schema: pa.Schema, file: DataFile, numbered: list[Numbered]) -> dict[str, Problem]:
    """Columns of a later chunk of a stream that do not fit the schema of its first rows, each with the first such row.

    Args:
        numbered: the rows of the chunk; none for formats whose tables have no row numbers.
    """
    problems: dict[str, Problem] = {}
    for own in chunk.schema:
        is_new = own.name not in schema.names
        if not is_new and _holds(schema.field(own.name), own):
            continue
        # A new column is wrong from the first row that has it; else the value is looked for that does not fit.
        if is_new:
            values = [(number, row[own.name]) for number, row in numbered if own.name in row]
            number, value = values[0] if values else (None, None)
        else:
            number, value = _first_mismatch(schema.field(own.name), numbered, _holds)
        where = str(file.path)
        shown = ""
        if number is not None:
            where = f"{file.path}, {unit_of(file)} {number}"
            shown = f": {value!r:.60}"
        problems[own.name] = Problem(
            f"{where}: {own.name} has other types or fields than in the first rows, from which a stream takes its columns"
            + shown,
            "read without streaming, which looks at all rows first, or give the first rows every column and field",
        )
    return problems
