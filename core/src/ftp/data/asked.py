"""Rows that a finished run is asked about: their columns as text, or a word about what they lack."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ftp.data import forms
from ftp.errors import Problem, UserError
from ftp.host.terminal import is_unicode, visible
from ftp.types import Form

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    Rows = TypeVar("Rows", Dataset, IterableDataset)

SHOWN = 5
"""Row numbers that are listed at most."""


class Unreadable(ValueError):
    """A cell that cannot be read as what its column holds; says why, as in `has no text`."""


def text_of_cell(value: Any, column: str) -> str:
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


def plain_values_as_text(rows: Rows, columns: Iterable[str]) -> Rows:
    """The rows with numbers, dates and true/false in these columns as texts; empty cells stay empty."""
    from datasets import Features, Value

    from ftp.host.quiet import without_progress_bars

    kinds = rows.features or {}
    texts = (Value("string"), Value("large_string"))
    plain = [column for column in columns if isinstance(kinds.get(column), Value) and kinds[column] not in texts]
    if not plain:
        return rows
    features = Features({**kinds, **dict.fromkeys(plain, Value("string"))})
    with without_progress_bars():
        return rows.map(partial(_cells_as_text, columns=plain), batched=True, features=features)


def _cells_as_text(batch: Mapping[str, list[Any]], *, columns: Iterable[str]) -> dict[str, list[str | None]]:
    return {column: [_text_or_none(value, column) for value in batch[column]] for column in columns}


def _text_or_none(value: Any, column: str) -> str | None:
    is_empty = value is None or value != value  # NaN
    return None if is_empty else text_of_cell(value, column)


def words_of_cell(value: Any, column: str) -> list[str]:
    """A cell as a list of words.

    Raises:
        Unreadable: it is empty or no list, or one of its words is.
    """
    if value is None:
        raise Unreadable(f"has no {column}")
    if not isinstance(value, list | tuple):
        raise Unreadable(f'holds a {type(value).__name__} in {column}, not a list of words, as ["New", "York"]')
    return [text_of_cell(word, f"word {number} in {column}") for number, word in enumerate(value)]


def messages_of_cell(value: Any, column: str) -> Any:
    """A cell of messages, which a chat template reads later; a plain value is a text.

    Raises:
        Unreadable: it is empty.
    """
    return value if isinstance(value, list | tuple | Mapping) else text_of_cell(value, column)


CELLS: Mapping[str, Callable[[Any, str], Any]] = {
    "text": text_of_cell,
    "text_pair": text_of_cell,
    "question": text_of_cell,
    "context": text_of_cell,
    "tokens": words_of_cell,
    "messages": messages_of_cell,
    "prompt": messages_of_cell,
}
"""How the columns of a question are read."""

COLUMNS: Mapping[Form, tuple[str, ...]] = {
    "text": ("text",),
    "labelled": ("text", "text_pair"),
    "tagged": ("tokens",),
    "question": ("question", "context"),
    "conversation": ("messages", "prompt", "text"),
    "preference": ("messages", "prompt", "text"),
    "feedback": ("messages", "prompt", "text"),
    "prompt": ("messages", "prompt", "text"),
}
"""The columns that are read of each form, where a row has them."""


def names_of_text(form: Form, theirs_by_ours: Mapping[str, str]) -> frozenset[str]:
    """Names that the columns of text of a form may have in a file, to be read as they are written.

    Args:
        theirs_by_ours: columns that `--columns`, or the run, maps.
    """
    names: set[str] = set()
    for column in COLUMNS[form]:
        names.update((column, theirs_by_ours.get(column, column)), forms.ALIASES.get(column, ()))
    return frozenset(names)


def readable_rows(rows: Iterable[Mapping[str, Any]], form: Form, start: int = 0) -> list[dict[str, Any]]:
    """The rows with the columns of their form as text (or words, or messages).

    Args:
        start: the number of the first row, counted from 0, for messages.

    Raises:
        UserError: rows lack a value, or hold another kind; all of them are counted.
    """
    readable: list[dict[str, Any]] = []
    wrong: dict[str, list[int]] = {}
    for index, row in enumerate(rows, start):
        cells = dict(row)
        for column in COLUMNS[form]:
            if column not in cells:
                continue
            try:
                cells[column] = CELLS[column](cells[column], column)
            except Unreadable as error:
                wrong.setdefault(str(error), []).append(index)
        readable.append(cells)
    if wrong:
        fix = "rows count from 0; fill these rows in, or leave them out"
        raise UserError(Problem(f"{_which(indices)} {why}", fix) for why, indices in wrong.items())
    return readable


def _which(indices: list[int]) -> str:
    """`row 1`, or `row 1 (and 3, 5: 3 rows in all)`."""
    if len(indices) == 1:
        return f"row {indices[0]}"
    others = ", ".join(map(str, indices[1:SHOWN])) + (", ..." if len(indices) > SHOWN else "")
    return f"row {indices[0]} (and {others}; {len(indices)} rows in all)"
