"""What every tool's rows are asked for: some of their columns, and what a value of JSON holds."""

from __future__ import annotations

from collections.abc import Collection

from ftp.types import Row


def without(row: Row, names: Collection[str]) -> dict[str, object]:
    """The columns of a row but those of these names."""
    return {name: value for name, value in row.items() if name not in names}


def texts_of(row: Row) -> dict[str, str]:
    """The columns of a row that are texts."""
    return {name: value for name, value in row.items() if isinstance(value, str)}


def with_id(row: Row, converted: Row) -> Row:
    """A converted row with the `id` that it had, where it had one."""
    if row.get("id") is None:
        return converted
    return {"id": row["id"], **converted}


def objects_in(values: object) -> list[Row]:
    """The objects of a list; none of anything else."""
    if not isinstance(values, list):
        return []
    return [value for value in values if isinstance(value, dict)]
