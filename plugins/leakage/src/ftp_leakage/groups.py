"""Groups and dates: rows of one author, document, patient or case in two splits; training rows later than evaluation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

NAMES = re.compile(
    r"^((author|user|username|speaker|writer|annotator|reviewer|patient|document|doc|article|thread|session|dialogue|dialog"
    r"|conversation|case|docket|citation|title|url)(_?(id|name|number|no|key))?"
    r"|(customer|client|subject|person|paper|page|product|video|group|source|encounter)_?(id|name|number|no|key))$",
    re.IGNORECASE,
)
"""Column names that tell where a row comes from (`subject` alone is a topic, `subject_id` a person)."""
REPEATS = 1.2  # rows a value at least: a column of values that hardly repeat groups nothing
LARGEST = 0.2  # share of rows of one value at most: `domain` or `subject` with a few values is a topic, no origin
FEWEST = 5  # values at least


def detect(splits: Mapping[str, Any], read: Sequence[str]) -> list[str]:
    """Columns of all splits that look as if they said where a row comes from: by their name, and by having many values
    that repeat. Columns that are read as text are no such columns."""
    shared = set.intersection(*(set(rows.column_names) for rows in splits.values())) if splits else set()
    found = []
    for name in sorted(shared - set(read)):
        if NAMES.match(name):
            values = [value for rows in splits.values() for value in keys(rows, name)]
            counts: dict[Any, int] = {}
            for value in values:
                if value is not None:
                    counts[value] = counts.get(value, 0) + 1
            total = sum(counts.values())
            if len(counts) >= FEWEST and total >= REPEATS * len(counts) and max(counts.values()) <= LARGEST * total:
                found.append(name)
    return found


def keys(rows: Any, name: str) -> list[str | None]:
    """The group of each row, case and blanks at the ends aside (`P7`, ` p7 `; 7, 7.0, `7`); None where it has none."""
    return [_key(value) for value in rows[name][:]]


def _key(value: Any) -> str | None:
    if value is None or value != value:
        return None
    whole = isinstance(value, float) and value.is_integer()
    return unicodedata.normalize("NFKC", str(int(value) if whole else value)).casefold().strip() or None


def shared(first: Sequence[Any], second: Sequence[Any]) -> dict[Any, tuple[list[int], list[int]]]:
    """Groups in both splits: value -> its rows in each."""
    left: dict[Any, list[int]] = {}
    for row, value in enumerate(first):
        if value is not None:
            left.setdefault(value, []).append(row)
    found: dict[Any, tuple[list[int], list[int]]] = {}
    for row, value in enumerate(second):
        if value in left:
            found.setdefault(value, (left[value], []))[1].append(row)
    return found


def dates(rows: Any, name: str) -> Any:
    """[rows] dates as seconds since 1970; NaN where a cell is no date. Numbers are taken as they are (years, stamps)."""
    import numpy as np
    import pandas as pd

    values = rows[name][:]
    if all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values):
        return np.array([float("nan") if value is None else float(value) for value in values])
    parsed = pd.to_datetime(pd.Series([None if value is None else str(value) for value in values]), errors="coerce",
                            utc=True, format="mixed")
    stamps = parsed.astype("int64").to_numpy().astype(float)
    unit = getattr(parsed.dtype, "unit", "ns")
    stamps /= {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    stamps[parsed.isna().to_numpy()] = float("nan")
    return stamps


def cut(mine: Any, theirs: Any) -> tuple[Any, Any]:
    """Rows of two splits that must go so that the first ends before the second begins: those on the wrong side of the date
    that keeps the largest part of both (the product of the shares kept). `mine`, `theirs`: [rows] dates, NaN where unknown."""
    import numpy as np

    at = np.unique(theirs[~np.isnan(theirs)])
    early, late = np.sort(mine[~np.isnan(mine)]), np.sort(theirs[~np.isnan(theirs)])
    kept = np.searchsorted(early, at, side="left") * (len(late) - np.searchsorted(late, at, side="left"))
    date = at[np.argmax(kept)]
    return np.flatnonzero(mine >= date), np.flatnonzero(theirs < date)
