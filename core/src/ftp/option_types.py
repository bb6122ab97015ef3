"""The types that an option may have: a word or a TOML value as such a type, and what a message calls it."""

from __future__ import annotations

import types
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, SupportsFloat, Union, get_args, get_origin

UNIONS = (Union, types.UnionType)
"""What `get_origin` says of `Optional[X]`, and of `X | Y`."""
SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
"""The words of a yes-or-no option."""
TYPE_NAMES = {int: "whole number", float: "number", str: "text", bool: "yes or no", Path: "path"}
"""What a message calls a value of each type."""


def plain(kind: object) -> object:
    """`X` for `X | None`."""
    if get_origin(kind) in UNIONS:
        inner = [part for part in get_args(kind) if part is not type(None)]
        if len(inner) == 1:
            return inner[0]
    return kind


def split_at_commas(text: str) -> list[str]:
    """The parts of a text with commas, without blanks around them and without empty ones."""
    parts = map(str.strip, text.split(","))
    return [part for part in parts if part]


def _is_optional(kind: object) -> bool:
    return get_origin(kind) in UNIONS and type(None) in get_args(kind)


def convert(kind: object, value: object) -> object:
    """A value as a type. Raises `ValueError`, `TypeError` or `OverflowError` where it is none of it."""
    if _is_optional(kind) and (value is None or (isinstance(value, str) and value.lower() in ("none", ""))):
        return None
    kind = plain(kind)
    if get_origin(kind) in UNIONS:
        return _to_first(get_args(kind), value)
    if get_origin(kind) is tuple:
        return _to_tuple(get_args(kind)[0], value)
    if get_origin(kind) is Literal:
        return str(value)
    if kind is bool:
        return _to_bool(value)
    if isinstance(value, bool):  # True is not 1 here: `r = true` is a mistake
        raise ValueError(value)
    if kind is int:
        return _to_int(value)
    if kind is float:
        return _to_float(value)
    if kind is Path:
        return Path(str(value)).expanduser()
    if kind is str:
        return str(value)
    raise TypeError(f"options of type {kind!r} are not supported")


def _to_first(kinds: Iterable[object], value: object) -> object:
    """The first of several types that takes the value: `7` is a number for `int | str`."""
    for kind in kinds:
        try:
            return convert(kind, value)
        except (ValueError, TypeError):
            continue
    raise ValueError(value)


def _to_tuple(kind: object, value: object) -> tuple[object, ...]:
    """Each part of a list, or of a text with commas."""
    if isinstance(value, str):
        value = split_at_commas(value)
    if not isinstance(value, list | tuple):
        raise ValueError(value)
    return tuple(convert(kind, part) for part in value)


def _to_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word not in SWITCH:
        raise ValueError(value)
    return SWITCH[word]


def _to_int(value: object) -> int:
    number = _to_float(value)
    if number != int(number):
        raise ValueError(value)
    # a float holds no more than 53 bits of it
    digits = str(value)
    return int(digits) if digits.lstrip("+-").isdigit() else int(number)


def _to_float(value: object) -> float:
    if not isinstance(value, str | SupportsFloat):
        raise TypeError(value)
    return float(value)


def name_of(kind: object) -> str:
    """What a message calls a value of a type."""
    kind = plain(kind)
    if get_origin(kind) is Literal:
        return "word"
    if get_origin(kind) is tuple:
        return f"list of {name_of(get_args(kind)[0])}"
    if get_origin(kind) in UNIONS:
        return " or ".join(map(name_of, get_args(kind)))
    return TYPE_NAMES.get(kind, str(kind)) if isinstance(kind, type) else str(kind)
