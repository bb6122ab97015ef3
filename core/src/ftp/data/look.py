"""What a check of rows reads: some rows of a split, and all the text of one. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from ftp.data import tables
from ftp.data.domains import COLUMN
from ftp.types import Row

if TYPE_CHECKING:
    from ftp.data.row_types import Rows

__all__ = ["NO_TEXT", "some", "text_of"]

NO_TEXT = frozenset({"id", "label", "label_name", "source", "licence", COLUMN})
"""Columns whose words are not what a row says."""

NO_WORDS = frozenset({"role", "from", "type", "id", "tool_call_id"})
"""Fields of a message, a part of one or a call of a tool that say nothing in words."""


def some(rows: Rows, most: int) -> Iterator[tuple[int, Row]]:
    """Some rows of a split with their numbers, spread evenly over it; the first ones of a stream.

    Args:
        rows: a split, stored or a stream.
        most: how many rows at most.

    Returns:
        Pairs of a row's number, counted from 0, and the row, in their order.
    """
    if not hasattr(rows, "num_rows"):
        yield from islice(enumerate(rows), most)
        return
    # Python objects of a thousand rows at a time, however many are looked at.
    row_indices = spread(len(rows), most)
    for start in range(0, len(row_indices), 1000):
        part = list(row_indices[start : start + 1000])
        yield from zip(part, tables.to_rows(rows.select(part)), strict=True)


def spread(count: int, most: int) -> Sequence[int]:
    """The numbers of at most `most` of `count` rows, spread evenly."""
    if count <= most:
        return range(count)
    return [i * count // most for i in range(most)]


def text_of(row: Row) -> str:
    """All the text of a row, whatever its form: columns, lists and messages, parted by line ends.

    Args:
        row: one of any form; its columns `NO_TEXT` are left out.
    """
    texts: list[str] = []
    for name, value in row.items():
        if name not in NO_TEXT:
            texts += _texts_in(value)
    return "\n".join(texts)


def _texts_in(value: object) -> Iterator[str]:
    """Every text in a value of any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name not in NO_WORDS:
                yield from _texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts_in(item)
