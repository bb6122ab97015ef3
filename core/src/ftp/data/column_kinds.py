"""What a column of each kind is: its type in Arrow, its cells in rows to be answered. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp.data import cells
from ftp.forms import ColumnKind

if TYPE_CHECKING:
    from ftp.data.row_types import ColumnType


@dataclass(frozen=True)
class KindSpec:
    """One kind of column.

    Args:
        meaning: what it is to hold, in words.
        holds: whether a type of `datasets` is that.
        is_canonical: whether a column of this type (None: not known) needs no change where a form has many spellings.
        cell: (value, column) -> the cell as it is read where a model is asked; None: it is not read then.
    """

    meaning: str
    holds: Callable[[ColumnType], bool]
    is_canonical: Callable[[ColumnType | None], bool] = lambda column_type: column_type is not None
    cell: Callable[[object, str], object] | None = None


def is_list(column_type: ColumnType) -> bool:
    """Whether a type is a list of plain values."""
    return hasattr(column_type, "feature") and _is_plain(column_type.feature)


def _is_plain(column_type: ColumnType) -> bool:
    return getattr(column_type, "dtype", None) is not None


def is_text(column_type: ColumnType | None) -> bool:
    """Whether a type is that of texts."""
    from datasets import Value

    # Arrow has two types of texts, by the size of their offsets.
    return column_type in (Value("string"), Value("large_string"))


def _is_texts(column_type: ColumnType) -> bool:
    return is_list(column_type) and is_text(column_type.feature)


def _is_answers(column_type: ColumnType) -> bool:
    return isinstance(column_type, Mapping) and is_list(column_type.get("text"))


def _is_number(column_type: ColumnType) -> bool:
    return str(getattr(column_type, "dtype", "")).startswith(("int", "uint", "float", "decimal"))


def _is_vector(column_type: ColumnType) -> bool:
    return is_list(column_type) and _is_number(column_type.feature)


def _is_classes(column_type: ColumnType) -> bool:
    return is_list(column_type) or _is_plain(column_type)


def _is_anything(column_type: ColumnType) -> bool:
    return True


def _has_answers_of_one_type(column_type: ColumnType) -> bool:
    from datasets import Json

    return not isinstance(column_type, Json)


def _has_messages_read(column_type: ColumnType) -> bool:
    return getattr(column_type, "holds_messages", False)


def _is_boolean(column_type: ColumnType) -> bool:
    return getattr(column_type, "dtype", None) == "bool"


def is_finite(value: float | None) -> bool:
    """Whether a value of a column of numbers is one."""
    return value is not None and math.isfinite(value)


def make_type(kind: ColumnKind) -> ColumnType:
    """The type of `datasets` that a change of rows makes of a column of a kind."""
    from datasets import List, Value

    from ftp.data.json_column import JsonColumn, MessagesColumn

    text = Value("string")
    types: Mapping[ColumnKind, ColumnType] = {
        "text": text, "class": text, "rating": Value("bool"), "number": Value("float64"),
        "texts": List(text), "tokens": List(text), "tags": List(text), "classes": List(text), "vector": List(Value("float64")),
        "answers": {"text": List(text), "answer_start": List(Value("int64"))},
        "messages": MessagesColumn(),
    }  # fmt: skip
    return types.get(kind, JsonColumn())


KINDS: Mapping[ColumnKind, KindSpec] = {
    "text": KindSpec("text", is_text, cell=cells.text_of_cell),
    "texts": KindSpec('a list of texts, as ["yes", "no"]', _is_texts, cell=cells.words_of_cell),
    # Messages and ratings are checked while they are read, which takes many spellings.
    "messages": KindSpec("messages", _is_anything, _has_messages_read, cells.messages_of_cell),
    "rating": KindSpec("a rating (good or bad)", _is_anything, _is_boolean),
    "tokens": KindSpec('a list of words, as ["New", "York"]', is_list, cell=cells.words_of_cell),
    "tags": KindSpec('a list of tags, as ["B-LOC", "I-LOC"]', is_list),
    "class": KindSpec("a class (a word, a whole number, or true/false)", _is_plain),
    "classes": KindSpec('a list of classes, as ["sport", "politics"]', _is_classes, is_list),
    "answers": KindSpec(
        'SQuAD\'s {"text": ["..."], "answer_start": [0]}, both lists empty where there is no answer',
        _is_answers,
        _has_answers_of_one_type,
    ),
    "number": KindSpec("a number", _is_number, _is_number),
    "vector": KindSpec("a list of numbers", _is_vector, cell=cells.numbers_of_cell),
    "any": KindSpec("anything", _is_anything),
    "aside": KindSpec("anything", _is_anything),
}
