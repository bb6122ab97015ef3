"""What a check looks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class CheckOptions:
    """What to look for.

    Args:
        threshold: least similarity of near duplicates.
        within: look inside of each split as well.
        group_column: a column of which no value may be in two splits.
        date_column: a column by which no training row may be later than the first evaluation row.
        benchmarks: benchmark file -> its rows (part -> text), which must not be in train.
        most_rows: rows of a split looked at; of more, a sample is.
    """

    threshold: float = 0.8
    within: bool = False
    group_column: str | None = None
    date_column: str | None = None
    benchmarks: Mapping[str, Iterable[Mapping[str, str]]] = field(default_factory=dict)
    most_rows: int = MOST_ROWS
    seed: int = 0
