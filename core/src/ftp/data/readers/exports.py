"""Rows as tools for annotation export them -> rows with our columns. Packages bring the tools (entry-point group `ftp.exports`).

An export is known by what is in it. What is not for training (rejected, discarded, without an answer) is left out and counted;
a row that cannot be read is an error that names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice

from ftp import registry
from ftp.data.readers import annotated_rows
from ftp.data.readers.names import format_of
from ftp.data.readers.source import DataFile, Numbered, Rows
from ftp.errors import RowError, UserError, describe
from ftp.registry import registered
from ftp.types import Row

GROUP = "ftp.exports"
OWN = ("ftp.data.readers.squad:EXPORT",)
PEEK_ROWS = 1000
SHOWN = 5
"""Rows that cannot be read which an error lists."""

Tally = Counter[str]
"""What a user should know about the rows of an export: how many there are of which kind."""


class Unreadable(RowError):
    """A row of an export cannot be read; the message says why, and core adds which row it is."""


@dataclass(frozen=True)
class Layout:
    """One way in which a tool writes its rows.

    Args:
        title: the tool, as the user is told: `read as TITLE`.
        matches: whether the first rows of a file (at least one) are written so.
        convert: a row with our columns; None for a row that is left out, which is counted in the tally. Raises `Unreadable`.
    """

    title: str
    matches: Callable[[Sequence[Row]], bool]
    convert: Callable[[Row, Tally], Row | None]


@dataclass(frozen=True)
class Export:
    """A tool for annotation whose .json and .jsonl files are read.

    Args:
        name: that of the entry point.
        layouts: the first that matches reads the rows.
        is_general: other tools write rows of the same shape with more in them, so that all other exports are asked first.
        has_columns: whether a table (.parquet, a data set of the hub) with columns of these names is one of the tool; None: it
            writes no tables.
        object_of: a row that is a list or another value as an object with columns, None where it is of another tool; None: its
            rows are objects.
        version: changes when other rows come of the same file, so that kept rows are read again.
    """

    name: str
    layouts: tuple[Layout, ...]
    is_general: bool = False
    has_columns: Callable[[Collection[str]], bool] | None = None
    object_of: Callable[[object], Row | None] | None = None
    version: str = "1"


@cache
def all_exports() -> Mapping[str, Export]:
    """Every registered export by name, in the order in which they are asked."""
    exports = registered(GROUP, Export, OWN, checked_by_caller=("convert",))
    return dict(sorted(exports.items(), key=lambda item: item[1].is_general))


def versions() -> list[str]:
    """What the rows of a file depend on: the exports that are read, and their versions."""
    return [f"{export.name} {export.version}" for export in all_exports().values()]


def is_row(row: Row) -> bool:
    """Whether an object is a row of a tool, be it one that is read or one that is refused."""
    return _layout_of([row]) is not None or bool(annotated_rows.sign_of_annotations([row]))


def has_columns(names: Collection[str]) -> bool:
    """Whether a table has the columns of a tool, be it one that is read or one that is refused."""
    if annotated_rows.has_answer_columns(names):
        return True
    return any(export.has_columns is not None and export.has_columns(names) for export in all_exports().values())


def object_of(value: object) -> Row | None:
    """A row that is no object, as one; None where no tool writes such rows."""
    for export in all_exports().values():
        row = export.object_of(value) if export.object_of is not None else None
        if row is not None:
            return row
    return None


def _layout_of(rows: Sequence[Row]) -> Layout | None:
    if not rows:
        return None
    for export in all_exports().values():
        for layout in export.layouts:
            if layout.matches(rows):
                return layout
    return None


def convert(file: DataFile, rows: Rows) -> Rows:
    """The rows with our columns, where a tool for annotation wrote them; else as they are.

    Raises:
        UserError: rows cannot be read, or no installed package reads what a tool has written.
    """
    first = list(islice(rows, PEEK_ROWS))
    peeked = [row for _, row in first]
    layout = _layout_of(peeked)
    if layout is not None:
        yield from _converted(file, layout, chain(first, rows))
        return
    annotated_rows.refuse_unread(file, peeked)
    yield from chain(first, rows)


def _converted(file: DataFile, layout: Layout, rows: Iterator[Numbered]) -> Rows:
    tally: Tally = Counter()
    faults: list[str] = []
    num_rows = 0
    unit = "line" if format_of(file.path) == "jsonl" else "row"
    for number, row in rows:
        try:
            converted = layout.convert(row, tally)
        # an export of another package may meet what its tool never writes, and raise anything
        except Exception as error:
            reason = str(error) if isinstance(error, Unreadable) else f"reading it failed: {describe(error)}"
            faults.append(f"{unit} {number}: {reason}")
            # the rows before were used already, so that the rest of a stream need not be looked at
            if file.is_stream:
                break
            continue
        if converted is not None:
            num_rows += 1
            yield number, dict(converted)
    if faults:
        raise UserError(
            f"{file.path}, read as {layout.title}: {len(faults)} rows cannot be read; the first: {'; '.join(faults[:SHOWN])}",
            "correct these annotations, or leave the rows out",
        )
    file.tell(f"read as {layout.title}")
    for reason, count in tally.items():
        file.tell(f"{count} {reason}")
    if not num_rows:
        raise UserError(f"{file.path}, read as {layout.title}: no row is left", "; ".join(file.notes[-len(tally) :]))


def forget() -> None:
    """Look at the installed packages again (in tests that install one)."""
    all_exports.cache_clear()
    registry.forget()
