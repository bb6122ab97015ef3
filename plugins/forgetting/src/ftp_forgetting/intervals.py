"""Means of documents and rows with their bounds, as verdicts tell them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped,unused-ignore]  # scipy.stats: 0.5 s

from ftp_forgetting import sets

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its bounds."""

    mean: float
    low: float
    high: float


def interval_of(values: Numbers, level: float) -> Interval | None:
    """Mean over documents or rows with bounds by Student's t.

    Args:
        level: probability that each of the bounds is wrong.

    Returns:
        None where fewer than `LEAST_DOCUMENTS` are finite.
    """
    finite = values[np.isfinite(values)]
    if len(finite) < sets.LEAST_DOCUMENTS:
        return None
    mean = float(finite.mean())
    error = float(finite.std(ddof=1)) / math.sqrt(len(finite))
    half_width = -float(stdtrit(len(finite) - 1, level)) * error
    return Interval(mean, mean - half_width, mean + half_width)


def fall_intervals(
    falls: Mapping[str, Numbers], alpha: float
) -> tuple[Interval, dict[str, Interval]]:
    """The fall of accuracy over all tasks, and of each task that has enough rows.

    Each test gets its share of `alpha` (Bonferroni); with one task both are the same test.
    """
    num_tests = len(falls) + 1 if len(falls) > 1 else 1
    level = alpha / num_tests
    overall = interval_of(np.concatenate(list(falls.values())), level)
    assert overall is not None
    of_task = {}
    for name, fall in falls.items():
        interval = interval_of(fall, level)
        if interval is not None:
            of_task[name] = interval
    return overall, of_task


def evidence_of(name: str, interval: Interval) -> dict[str, float | None]:
    return {
        name: rounded(interval.mean),
        f"{name}_low": rounded(interval.low),
        f"{name}_high": rounded(interval.high),
    }


def bounds(interval: Interval) -> list[float | None]:
    """Mean and bounds, as evidence."""
    return [rounded(interval.mean), rounded(interval.low), rounded(interval.high)]


def rounded(value: float) -> float | None:
    """A number to four digits; None where it is not finite, as JSON has no word for that."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
