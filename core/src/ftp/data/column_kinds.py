"""What a column of each kind is: its type in Arrow, its cells in rows to be answered. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ftp.data import cells
from ftp.forms import ColumnKind


@dataclass(frozen=True)
class KindSpec:
    """One kind of column.

    Args:
        meaning: what it is to hold, in words.
        holds: whether a type of `datasets` is that.
        feature: the type of `datasets` that a change of rows makes of it.
        is_canonical: whether a column of this type (None: not known) needs no change where a form has many spellings.
        cell: (value, column) -> the cell as it is read where a model is asked; None: it is not read then.
    """

    meaning: str
    holds: Callable[[Any], bool]
    feature: Callable[[], Any]
    is_canonical: Callable[[Any], bool] = lambda kind: kind is not None
    cell: Callable[[Any, str], Any] | None = None


def is_list(kind: Any) -> bool:
    """Whether a type is a list of plain values."""
    return hasattr(kind, "feature") and getattr(kind.feature, "dtype", None) is not None


def _is_plain(kind: Any) -> bool:
    return getattr(kind, "dtype", None) is not None


def _is_text(kind: Any) -> bool:
    from datasets import Value

    return kind in (Value("string"), Value("large_string"))


def _is_texts(kind: Any) -> bool:
    return is_list(kind) and _is_text(kind.feature)


def _is_answers(kind: Any) -> bool:
    return isinstance(kind, Mapping) and is_list(kind.get("text"))


def _is_number(kind: Any) -> bool:
    name = str(getattr(kind, "dtype", ""))
    return name.startswith(("int", "uint", "float", "decimal"))


def _is_vector(kind: Any) -> bool:
    return is_list(kind) and _is_number(kind.feature)


def _is_classes(kind: Any) -> bool:
    return is_list(kind) or _is_plain(kind)


def _text() -> Any:
    from datasets import Value

    return Value("string")


def _texts() -> Any:
    from datasets import List, Value

    return List(Value("string"))


def _answers() -> Any:
    from datasets import List, Value

    return {"text": List(Value("string")), "answer_start": List(Value("int64"))}


def _messages() -> Any:
    from ftp.data.json_column import MessagesColumn

    return MessagesColumn()


def _rating() -> Any:
    from datasets import Value

    return Value("bool")


def _number() -> Any:
    from datasets import Value

    return Value("float64")


def _vector() -> Any:
    from datasets import List, Value

    return List(Value("float64"))


def _json() -> Any:
    from ftp.data.json_column import JsonColumn

    return JsonColumn()


def _has_answers_of_one_type(kind: Any) -> bool:
    from datasets import Json

    return not isinstance(kind, Json)


def is_finite(value: Any) -> bool:
    """Whether a value of a column of numbers is one."""
    return value is not None and math.isfinite(value)


KINDS: Mapping[ColumnKind, KindSpec] = {
    "text": KindSpec("text", _is_text, _text, cell=cells.text_of_cell),
    "texts": KindSpec('a list of texts, as ["yes", "no"]', _is_texts, _texts, cell=cells.words_of_cell),
    "messages": KindSpec(
        "messages",
        lambda kind: True,  # messages are checked while they are read
        _messages,
        lambda kind: getattr(kind, "holds_messages", False),
        cells.messages_of_cell,
    ),
    "tokens": KindSpec('a list of words, as ["New", "York"]', is_list, _texts, cell=cells.words_of_cell),
    "tags": KindSpec('a list of tags, as ["B-LOC", "I-LOC"]', is_list, _texts),
    "class": KindSpec("a class (a word, a whole number, or true/false)", _is_plain, _text),
    "classes": KindSpec('a list of classes, as ["sport", "politics"]', _is_classes, _texts, is_list),
    "rating": KindSpec(
        "a rating (good or bad)", lambda kind: True, _rating, lambda kind: getattr(kind, "dtype", None) == "bool"
    ),
    "answers": KindSpec(
        'SQuAD\'s {"text": ["..."], "answer_start": [0]}, both lists empty where there is no answer',
        _is_answers,
        _answers,
        _has_answers_of_one_type,
    ),
    "number": KindSpec("a number", _is_number, _number, _is_number),
    "vector": KindSpec("a list of numbers", _is_vector, _vector, cell=cells.numbers_of_cell),
    "any": KindSpec("anything", lambda kind: True, _json),
    "aside": KindSpec("anything", lambda kind: True, _json),
}
