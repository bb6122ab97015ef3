"""What every tool's rows are asked for: some of their columns, and what a value of JSON holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeGuard

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


def have_columns(rows: Iterable[Row], *names: str) -> bool:
    """Whether every row has columns of these names."""
    return all(row.keys() >= set(names) for row in rows)


def have_texts(rows: Iterable[Row]) -> bool:
    """Whether the column `text` of every row is a text."""
    return all(isinstance(row.get("text"), str) for row in rows)


def are_texts(values: object) -> TypeGuard[list[str]]:
    """Whether a value is a list of texts, or an empty one."""
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def are_objects(values: object, fields: Collection[str]) -> TypeGuard[list[Row]]:
    """Whether a value is a list of objects that have these fields, and not empty."""
    if not isinstance(values, list) or not values:
        return False
    return all(isinstance(value, dict) and value.keys() >= set(fields) for value in values)
