"""Groups and dates: rows of one author, document, patient or case in two splits; training rows
later than evaluation."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray

NAMES = re.compile(
    r"^((author|user|username|speaker|writer|annotator|reviewer|patient|document|doc|article|thread"
    r"|session|dialogue|dialog|conversation|case|docket|citation|title|url)"
    r"(_?(id|name|number|no|key))?"
    r"|(customer|client|subject|person|paper|page|product|video|group|source|encounter)"
    r"_?(id|name|number|no|key))$",
    re.IGNORECASE,
)
"""Column names that tell where a row comes from (`subject` alone is a topic, `subject_id` a
person)."""
REPEATS = 1.2  # rows a value at least: a column of values that hardly repeat groups nothing
LARGEST = 0.2  # share of rows of one value at most: a few values of `domain` are topics, no origins
FEWEST = 5  # values at least


def find_group_columns(splits: Mapping[str, Dataset], text_columns: Sequence[str]) -> list[str]:
    """Columns of all splits that look as if they said where a row comes from: by their name, and by
    having many values that repeat. Columns that are read as text are no such columns."""
    if not splits:
        return []
    shared = set.intersection(*(set(rows.column_names) for rows in splits.values()))
    columns = []
    for column in sorted(shared - set(text_columns)):
        if not NAMES.match(column):
            continue
        counts: Counter[str] = Counter()
        for rows in splits.values():
            counts.update(key for key in group_keys(rows, column) if key is not None)
        total = counts.total()
        repeats = total >= REPEATS * len(counts)
        if len(counts) >= FEWEST and repeats and max(counts.values()) <= LARGEST * total:
            columns.append(column)
    return columns


def group_keys(rows: Dataset, column: str) -> list[str | None]:
    """The group of each row, case and blanks at the ends aside (`P7`, ` p7 `; 7, 7.0, `7`); None
    where it has none."""
    return [_group_key(value) for value in rows[column][:]]


def _group_key(value: object) -> str | None:
    is_nan = value != value
    if value is None or is_nan:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return unicodedata.normalize("NFKC", str(value)).casefold().strip() or None


def shared_groups(
    keys: Sequence[str | None], other_keys: Sequence[str | None]
) -> dict[str, tuple[list[int], list[int]]]:
    """Groups in both splits: key -> its rows in each."""
    rows_of: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            rows_of.setdefault(key, []).append(row)
    shared: dict[str, tuple[list[int], list[int]]] = {}
    for row, key in enumerate(other_keys):
        if key in rows_of:
            _, other_rows = shared.setdefault(key, (rows_of[key], []))
            other_rows.append(row)
    return shared


def read_dates(rows: Dataset, column: str) -> NDArray[np.float64]:
    """[rows] float64 dates as seconds since 1970; NaN where a cell is no date. Numbers are taken as
    they are (years, stamps)."""
    import numpy as np
    import pandas as pd

    values = rows[column][:]
    if all(value is None or _is_number(value) for value in values):
        return np.array([np.nan if value is None else float(value) for value in values])
    texts = pd.Series([None if value is None else str(value) for value in values])
    parsed = pd.to_datetime(texts, errors="coerce", utc=True, format="mixed")
    stamps: NDArray[np.float64] = parsed.astype("int64").to_numpy().astype(float)
    # pandas keeps dates in a unit that depends on its version and on what they hold
    unit = getattr(parsed.dtype, "unit", "ns")
    stamps /= {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    stamps[parsed.isna().to_numpy()] = np.nan
    return stamps


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def rows_beyond_cut(
    dates: NDArray[np.float64], later_dates: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of two splits that must go so that the first ends before the second begins: those on the
    wrong side of the date that keeps the largest part of both (the product of the shares kept).

    Args:
        dates: [rows] those of the first split, NaN where unknown.
        later_dates: [rows] those of the second split, NaN where unknown.
    """
    import numpy as np

    early = np.sort(dates[~np.isnan(dates)])
    late = np.sort(later_dates[~np.isnan(later_dates)])
    candidates = np.unique(late)
    num_before = np.searchsorted(early, candidates, side="left")
    num_after = len(late) - np.searchsorted(late, candidates, side="left")
    cut = candidates[np.argmax(num_before * num_after)]
    return np.flatnonzero(dates >= cut), np.flatnonzero(later_dates < cut)
