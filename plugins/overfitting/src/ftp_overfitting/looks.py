"""The numbers: how the held-out loss moved since its best, and how much of what was learnt held-out rows show.

All means weigh rows alike. All bounds are Student's t on per-row losses, at a level that is spent over the evaluations of
a run (alpha spending, after Lan and DeMets 1983): evaluation k (from 0) gets alpha / (3 (k + 1) (k + 2)) for each of three
tests (trend, gap, memory), which adds up to alpha over any number of evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped,unused-ignore]  # scipy.stats takes half a second

from ftp.types import Data, Evaluation

Array = NDArray[np.float64]
LITTLE = 0.05
"""Share of the starting loss below which nothing was learnt that could be lost."""


@dataclass(frozen=True)
class Look:
    """One evaluation: losses in nats of each row of the training sample and of each held-out row; NaN where none."""

    step: int
    train: Array
    held: Array

    @property
    def train_mean(self) -> float:
        return mean(self.train)

    @property
    def held_mean(self) -> float:
        return mean(self.held)


@dataclass(frozen=True)
class Trend:
    """The held-out loss of the last look against the best one before it, row by row.

    `rise`: nats, with a band from `low` to `high`; `relative`: to the best (at least `LITTLE` of the start). `lasting`:
    the look before the last was above the best as well. `train_rose`: so did the training loss (that is no overfitting).
    """

    best_step: int
    step: int
    rise: float
    low: float
    high: float
    relative: float
    lasting: bool
    train_rose: bool
    rows: int


@dataclass(frozen=True)
class Gap:
    """Held-out against training loss at one look. `lost`: share of what training rows gained since the start (`learnt`,
    nats) that held-out rows did not, with a band; None where too little was learnt, or the start is not known."""

    step: int
    gap: float
    gap_low: float
    gap_high: float
    learnt: float | None = None
    lost: float | None = None
    lost_low: float = math.nan
    lost_high: float = math.nan


def mean(losses: Array) -> float:
    """Mean over rows that have a loss."""
    real = losses[np.isfinite(losses)]
    return float(real.mean()) if len(real) else math.nan


def looks(history: Sequence[Evaluation]) -> list[Look]:
    """Evaluations that scored both splits row by row."""
    return [Look(one.step, np.asarray(one.train_losses, dtype=float), np.asarray(one.losses, dtype=float))
            for one in history if one.losses is not None and one.train_losses is not None]


def spent(alpha: float, looked: int) -> float:
    """What evaluation number `looked` (from 0) may spend of `alpha`; adds up to `alpha` over all of them."""
    return alpha / ((looked + 1) * (looked + 2))


def trend(found: Sequence[Look], start: float | None, alpha: float) -> Trend | None:
    """The last look against the best before it. None for fewer than two looks, or without rows scored in both.

    The best is one of several, so each of them gets its share of the level (Bonferroni).
    """
    if len(found) < 2:
        return None
    last, earlier = found[-1], found[:-1]
    best = min(earlier, key=lambda one: one.held_mean if math.isfinite(one.held_mean) else math.inf)
    level = spent(alpha, len(earlier)) / len(earlier)
    rise, low, high, rows = paired(best.held, last.held, level)
    if rows < 2:
        return None
    before = earlier[-1]
    lasting = before is not best and paired(best.held, before.held, 0.05)[1] > 0
    floor = max(best.held_mean, LITTLE * start if start else 0.0, 1e-9)
    train_rose = paired(best.train, last.train, 0.05)[1] > 0
    return Trend(best.step, last.step, rise, low, high, rise / floor, lasting, train_rose, rows)


def paired(before: Array, after: Array, level: float) -> tuple[float, float, float, int]:
    """Mean of `after` less `before` over rows scored in both, its bounds (each wrong with probability `level`), rows."""
    if before.shape != after.shape:
        return math.nan, math.nan, math.nan, 0
    changed = after - before
    changed = changed[np.isfinite(changed)]
    count = len(changed)
    if count < 2:
        return math.nan, math.nan, math.nan, count
    middle, error = float(changed.mean()), float(changed.std(ddof=1)) / math.sqrt(count)
    reach = -float(stdtrit(count - 1, level)) * error
    return middle, middle - reach, middle + reach, count


def gap(look: Look, start: float | None, level: float) -> Gap:
    """The gap at one look; bounds by Student's t and, for `lost`, the delta method."""
    train, held = look.train[np.isfinite(look.train)], look.held[np.isfinite(look.held)]
    t, h = float(train.mean()), float(held.mean())
    vt, vh = float(train.var(ddof=1)) / len(train), float(held.var(ddof=1)) / len(held)
    reach = -float(stdtrit(min(len(train), len(held)) - 1, level))
    error = math.sqrt(vt + vh)
    plain = Gap(look.step, h - t, h - t - reach * error, h - t + reach * error)
    if start is None or not math.isfinite(start):
        return plain
    learnt, carried = start - t, start - h
    if learnt - reach * math.sqrt(vt) <= LITTLE * start:
        return Gap(**{**vars(plain), "learnt": learnt})
    lost = 1 - carried / learnt
    error = math.sqrt(vh / learnt**2 + vt * carried**2 / learnt**4)
    return Gap(**{**vars(plain), "learnt": learnt, "lost": lost, "lost_low": lost - reach * error,
                  "lost_high": lost + reach * error})


def start_loss(data: Data, log: Sequence[Mapping[str, Any]]) -> tuple[float | None, str]:
    """What knowing nothing costs, in nats, and what that is: the entropy of the class shares where there are labels; else
    the loss of the first updates in the log."""
    train = data.splits.get("train")
    if data.labels and train is not None and hasattr(train, "num_rows") and "label" in train.column_names and len(train):
        most = 100_000
        rows = train if len(train) <= most else train.select(
            np.sort(np.random.default_rng(0).choice(len(train), most, replace=False)))
        shares = np.bincount(np.asarray(rows["label"][:], dtype=int)) / len(rows)
        shares = shares[shares > 0]
        return float(-(shares * np.log(shares)).sum()), "entropy of the classes"
    for line in log:
        if line.get("event") == "step" and isinstance(line.get("loss"), (int, float)):
            return float(line["loss"]), f"loss of the first {line.get('step')} updates"
    return None, ""
