"""Rows of Python objects -> an Arrow table, column by column; what no column type holds is named with its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftp.errors import Problem, UserError
from ftp.types import Row

if TYPE_CHECKING:
    import pyarrow as pa

DEEPEST = 64
"""Lists and objects inside one another at most: what follows walks types by recursion."""


def table(
    numbered: Sequence[tuple[int, Row]], where: str = "rows, row", problems: dict[str, Problem] | None = None
) -> pa.Table:
    """Rows as a table with every column that any of them has.

    Args:
        numbered: rows with their numbers, for messages.
        where: file and unit that an error names before the number of a row.
        problems: gets the columns that no type holds, which are left out; None: each of them is an error.

    Raises:
        UserError: a column cannot be held, its name is none, or no column is left.
    """
    import pyarrow as pa

    names: dict[str, None] = {}  # in the order in which rows first have them
    for _, row in numbered:
        names.update(dict.fromkeys(row))
    columns: dict[str, pa.Array] = {}
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
    # Without a column the rows themselves would be gone: that cannot be passed over.
    if not columns and numbered and names:
        raise UserError([wrong[name] for name in names])
    return pa.table(columns)


def _column(values: Sequence[object]) -> pa.Array:
    """The values of a column; as JSON where Arrow could not give its objects back as they are."""
    import pyarrow as pa

    from ftp.data import json_column

    try:
        column = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        # Objects of unlike fields are held as JSON; values of unlike types are a mistake.
        if not any(map(json_column.holds_objects, values)):
            raise
        return json_column.array(values)
    if not json_column.holds_structs(column.type) or _depth(column.type) > DEEPEST:
        return column
    # Arrow fills in the fields that other rows have, and names may end at a NUL: JSON gives back what was read.
    if not _has_names(column.type) or not json_column.is_exact(column, values):
        return json_column.array(values)
    return column


def _unholdable(name: str, values: Sequence[object], numbers: list[int], where: str, error: Exception) -> Problem:
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
                           "correct the row, or write the value as text")  # fmt: skip
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
    types = [kind]
    for parent in types:  # grows while it is read
        for field in _fields(parent):
            if not _is_name(field.name):
                return False
            types.append(field.type)
    return True


def _depth(kind: pa.DataType) -> int:
    """How many lists and objects of this type lie inside one another."""
    level = [kind]
    depth = 0
    while level:
        next_level: list[pa.DataType] = []
        for parent in level:
            next_level += [field.type for field in _fields(parent)]
        level = next_level
        depth += 1
    return depth


def _fields(kind: pa.DataType) -> list[pa.Field]:
    """The fields of a type: those of an object, the one of a list, none of a plain value."""
    return list(map(kind.field, range(kind.num_fields)))
