"""Cells of rows that a finished run is asked about, each as what its column holds, or a word about what it lacks."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from ftp.host.terminal import is_unicode, visible


class Unreadable(ValueError):
    """A cell that cannot be read as what its column holds; says why, as in `has no text`."""


def text_of_cell(value: object, column: str) -> str:
    """A cell as text: numbers, dates and true/false as they are written.

    Raises:
        Unreadable: it is empty (null, NaN), holds several values, or a text that UTF-8 cannot hold.
    """
    if value is None or value != value:
        raise Unreadable(f"has no {column}")
    if isinstance(value, str):
        if not is_unicode(value):  # tokenizers take no such text; a terminal that is not UTF-8 gives it
            raise Unreadable(f"has no UTF-8 text in {column} ({visible(value):.40})")
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple | bytes):
        raise Unreadable(f"holds a {type(value).__name__} in {column}, not text")
    return str(value)


def words_of_cell(value: object, column: str) -> list[str]:
    """A cell as a list of words.

    Raises:
        Unreadable: it is empty or no list, or one of its words is.
    """
    if value is None:
        raise Unreadable(f"has no {column}")
    if not isinstance(value, list | tuple):
        raise Unreadable(f'holds a {type(value).__name__} in {column}, not a list of words, as ["New", "York"]')
    return [text_of_cell(word, f"word {number} in {column}") for number, word in enumerate(value)]


def messages_of_cell(value: object, column: str) -> object:
    """A cell of messages, which a chat template reads later; a plain value is a text.

    Raises:
        Unreadable: it is empty.
    """
    return value if isinstance(value, list | tuple | Mapping) else text_of_cell(value, column)


def numbers_of_cell(value: object, column: str) -> list[float]:
    """A cell as a list of numbers.

    Raises:
        Unreadable: it is empty, no list, or holds something else.
    """
    if value is None:
        raise Unreadable(f"has no {column}")
    if not isinstance(value, list | tuple) or not all(isinstance(number, int | float) for number in value):
        raise Unreadable(f"holds a {type(value).__name__} in {column}, not a list of numbers")
    return [float(number) for number in value]
