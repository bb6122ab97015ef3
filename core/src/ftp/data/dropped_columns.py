"""Columns that a file has and its data set lacks, as no column type holds their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ftp.errors import Problem, UserError

if TYPE_CHECKING:
    from ftp.data.row_types import Rows

# Beside the data sets and not in them, as `datasets` has no room for what a set lacks; gone when the set is.
_LEFT_OUT: WeakKeyDictionary[Rows, Mapping[str, Problem]] = WeakKeyDictionary()


def left_out_of(rows: Rows) -> Mapping[str, Problem]:
    """Columns that the file of a data set has and the data set lacks, as no column type holds their values, and why."""
    return _LEFT_OUT.get(rows, {})


def require_held(rows: Rows, names: Iterable[str]) -> None:
    """UserError where the file of a data set has one of these columns and no type holds its values."""
    problems = left_out_of(rows)
    needed = [problems[name] for name in dict.fromkeys(names) if name in problems]
    if needed:
        raise UserError(needed)


def set_left_out(rows: Rows, problems: Mapping[str, Problem]) -> None:
    """Remember columns that were left out, for the error of whoever needs one of them."""
    if problems:
        _LEFT_OUT[rows] = dict(problems)
