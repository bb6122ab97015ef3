"""Columns of nested values kept as JSON text, so that each row is given back as its file says it.

Arrow gives all rows of a column of objects the same fields: a field of one row would be null in all others, 1 would become
1.0 beside 2.5, and the order of fields would be lost. `JsonColumn` keeps a JSON text a row instead. It is `datasets.Json`, read
and written by Python's json: the one of pandas, which `datasets` takes, cuts decimals and knows no whole number above 64
bits. Heavy: imports datasets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datasets import Features, Json, List

if TYPE_CHECKING:
    from ftp.data.row_types import ColumnType, ColumnTypes


@dataclass
class JsonColumn(Json):  # type: ignore[misc,unused-ignore]
    """The kind of a column whose rows are JSON text in Arrow, and plain Python objects to whoever reads them."""

    def encode_example(self, example_data: object) -> str | None:
        return dumps_or_none(example_data)

    def decode_example(self, example_data: str | None, token_per_repo_id: object = None) -> object:
        return None if example_data is None else json.loads(example_data)


@dataclass
class MessagesColumn(JsonColumn):
    """A column of lists of `turns.Message`, read and checked."""

    holds_messages = True


def dumps(value: object) -> str:
    """A value as JSON text; what JSON has no word for (a date) as its text."""
    return json.dumps(value, ensure_ascii=False, default=str)


def dumps_or_none(value: object) -> str | None:
    """A value of a JSON column as Arrow holds it."""
    return None if value is None else dumps(value)


def array(values: Sequence[object]) -> pa.Array:
    """Values as a JSON column; None stays a missing value."""
    return pa.array(map(dumps_or_none, values), pa.json_())


def from_arrow(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Any column as a JSON column. In a struct null means that the row has no such field."""
    if is_json(column.type):
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    # A list or struct may hold JSON itself, which must not become JSON text within JSON text.
    return array([without_null_fields(_read_json(value, column.type)) for value in column.to_pylist()])


def with_json_columns(table: pa.Table, types: ColumnTypes | None) -> pa.Table:
    """The table with a JSON column wherever `types` has one."""
    for index, name in enumerate(table.column_names):
        if types is not None and isinstance(types.get(name), Json):
            table = table.set_column(index, name, from_arrow(table.column(name)))
    return table


def without_null_fields(value: object) -> object:
    """A nested value without the fields that are null, at any depth."""
    if isinstance(value, Mapping):
        return {name: without_null_fields(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_null_fields(item) for item in value]
    return value


def as_written(value: object, column_type: ColumnType | None) -> object:
    """A value of a column as its row has it: without the null fields of a struct, and JSON as it is.

    Args:
        column_type: None where it is not known.
    """
    if isinstance(column_type, Mapping) and isinstance(value, Mapping):
        return {name: as_written(item, column_type[name]) for name, item in value.items() if item is not None}
    item_type = getattr(column_type, "feature", None)
    if item_type is not None and isinstance(value, Iterable):
        return [as_written(item, item_type) for item in value]
    return value


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table with their JSON read, also inside of lists and structs."""
    rows: list[dict[str, Any]] = table.to_pylist()
    # Other columns are right as Arrow gives them, and are not walked value by value.
    for field in table.schema:
        if not holds_json(field.type):
            continue
        for row in rows:
            row[field.name] = _read_json(row[field.name], field.type)
    return rows


def holds_json(kind: pa.DataType) -> bool:
    """Whether an Arrow type is that of JSON, or a list or struct with JSON in it at any depth."""
    if is_json(kind):
        return True
    fields = map(kind.field, range(kind.num_fields))
    return any(holds_json(field.type) for field in fields)


def _read_json(value: Any, kind: pa.DataType) -> Any:
    """A value of an Arrow type with its JSON text read."""
    if value is None or not holds_json(kind):
        return value
    if is_json(kind):
        return json.loads(value)
    if pa.types.is_struct(kind):
        return {name: _read_json(item, kind.field(name).type) for name, item in value.items()}
    return [_read_json(item, kind.value_type) for item in value]


def is_json(kind: pa.DataType) -> bool:
    """Whether an Arrow type is that of a JSON column."""
    return isinstance(kind, pa.JsonType)


def holds_structs(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a struct, or a list of them at any depth."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return holds_structs(kind.value_type)
    return bool(pa.types.is_struct(kind))


def is_exact(column: pa.Array, values: Sequence[object]) -> bool:
    """Whether a column of structs gives its rows back as they were: the same fields in the same order, no whole number made
    a decimal; and nothing in them is null, as null could not be told from a field that a row lacks."""
    return not any(map(_has_null, values)) and dumps(column.to_pylist()) == dumps(list(values))


def _has_null(value: object) -> bool:
    """Whether anything inside of a value is null."""
    items: Iterable[object] = ()
    if isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, list):
        items = value
    return any(item is None or _has_null(item) for item in items)


def holds_objects(value: object) -> bool:
    """Whether a value is an object, or a list with one in it at any depth."""
    if isinstance(value, list):
        return any(map(holds_objects, value))
    return isinstance(value, Mapping)


def agree(left: pa.DataType, right: pa.DataType) -> bool:
    """Whether two Arrow types become one without a change to any row: fields may differ only where one has no value at all."""
    if left.equals(right) or pa.types.is_null(left) or pa.types.is_null(right):
        return True
    if pa.types.is_list(left) and pa.types.is_list(right):
        return agree(left.value_type, right.value_type)
    # The order of fields counts: a template renders them in their order.
    if pa.types.is_struct(left) and pa.types.is_struct(right):
        if left.names != right.names:
            return False
        return all(agree(left.field(name).type, right.field(name).type) for name in left.names)
    return False


def with_json(schema: pa.Schema, other: pa.Schema) -> pa.Schema:
    """The schema with a JSON column where rows of both could not share a struct as they are."""
    for index, field in enumerate(schema):
        if field.name not in other.names:
            continue
        theirs = other.field(field.name).type
        if (_is_nested(field.type) or _is_nested(theirs)) and not agree(field.type, theirs):
            schema = schema.set(index, pa.field(field.name, pa.json_()))
    return schema


def _is_nested(kind: pa.DataType) -> bool:
    return is_json(kind) or holds_structs(kind)


def with_json_for_structs(schema: pa.Schema) -> pa.Schema:
    """The schema with a JSON column for each column of structs."""
    for index, field in enumerate(schema):
        if holds_structs(field.type):
            schema = schema.set(index, pa.field(field.name, pa.json_()))
    return schema


def typed(features: Features) -> Features:
    """The features with every JSON column read by `JsonColumn`."""
    return Features(_typed({**features}))


def _typed(column_type: ColumnType) -> ColumnType:
    if isinstance(column_type, Json):
        return JsonColumn()
    if isinstance(column_type, List):
        return List(_typed(column_type.feature), length=column_type.length)
    if isinstance(column_type, Mapping):
        return {name: _typed(field_type) for name, field_type in column_type.items()}
    return column_type
