"""What a check of rows reads: some rows of a split, and all the text of one. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ftp.data import tables
from ftp.data.domains import COLUMN
from ftp.types import Row

__all__ = ["NO_TEXT", "some", "text_of"]

NO_TEXT = frozenset({"id", "label", "label_name", "source", "licence", COLUMN})
"""Columns whose words are not what a row says."""


NO_WORDS = frozenset({"role", "from", "type", "id", "tool_call_id"})
"""Fields of a message, a part of one or a call of a tool that say nothing in words."""


def some(rows: Any, most: int) -> Iterator[tuple[int, Row]]:
    """At most `most` rows of a split with their numbers (from 0), spread evenly over it; the first ones of a stream."""
    if not hasattr(rows, "num_rows"):
        yield from islice(enumerate(rows), most)
        return
    numbers = spread(len(rows), most)
    for start in range(0, len(numbers), 1000):
        part = list(numbers[start : start + 1000])
        yield from zip(part, tables.to_rows(rows.select(part)), strict=True)


def spread(count: int, most: int) -> Sequence[int]:
    """The numbers of at most `most` of `count` rows, spread evenly."""
    return range(count) if count <= most else [number * count // most for number in range(most)]


def text_of(row: Row) -> str:
    """All the text of a row, whatever its form: columns, lists and messages, parted by line ends."""
    return "\n".join(text for name, value in row.items() if name not in NO_TEXT for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name not in NO_WORDS:
                yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
