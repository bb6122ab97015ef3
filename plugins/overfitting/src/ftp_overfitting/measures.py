"""The numbers: how the held-out loss moved since its best, and how much of what was learnt shows.

All means weigh rows alike. All bounds are Student's t on per-row losses, at a level that is spent
over the evaluations of a run (alpha spending, after Lan and DeMets 1983): evaluation k (from 0)
gets alpha / (3 (k + 1) (k + 2)) for each of three tests (trend, gap, memory), which adds up to
alpha over any number of evaluations.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped,unused-ignore]  # scipy.stats: 0.5 s

from ftp.types import Data, Evaluation, Row

if TYPE_CHECKING:
    from datasets import Dataset

Array = NDArray[np.float64]
LEAST_SHARE = 0.05
"""Share of the starting loss below which too little was learnt for any of it to be lost."""
COMMON_LEVEL = 0.05
"""Level of the side questions, which no verdict rests on alone."""
MOST_LABELS = 100_000
"""Rows whose labels are counted for the entropy of the classes; of more, a sample."""


@dataclass(frozen=True)
class RowLosses:
    """The losses of one evaluation, in nats; NaN where a row has none.

    `train`: [rows of the training sample], `held`: [held-out rows].
    """

    step: int
    train: Array
    held: Array

    @property
    def train_mean(self) -> float:
        return mean(self.train)

    @property
    def held_mean(self) -> float:
        return mean(self.held)

    @property
    def num_rows(self) -> dict[str, int]:
        """Rows of each split that have a loss."""
        return {"train": len(finite(self.train)), "held out": len(finite(self.held))}


@dataclass(frozen=True)
class Trend:
    """The held-out loss of the last evaluation against the best one before it, row by row.

    `rise`: nats, with a band from `low` to `high`; `relative`: to the best (at least `LEAST_SHARE`
    of the start). `lasting`: the evaluation before the last was above the best as well.
    `train_rose`: so did the training loss, which is no overfitting.
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
    """Held-out against training loss at one evaluation.

    `learnt`: nats that training rows gained since the start. `lost`: share of that which held-out
    rows did not gain, with a band; None where too little was learnt, or the start is not known.
    """

    step: int
    gap: float
    gap_low: float
    gap_high: float
    learnt: float | None = None
    lost: float | None = None
    lost_low: float = math.nan
    lost_high: float = math.nan


@dataclass(frozen=True)
class Difference:
    """A mean difference over rows scored twice, with its bounds; NaN below two such rows."""

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    num_rows: int = 0


def finite(losses: Array) -> Array:
    """The losses of rows that have one."""
    return losses[np.isfinite(losses)]


def mean(losses: Array) -> float:
    """Mean over rows that have a loss; NaN where none has."""
    scored = finite(losses)
    return float(scored.mean()) if len(scored) else math.nan


def standard_error(losses: Array) -> float:
    """Standard error of the mean over rows that have a loss; NaN below two such rows."""
    scored = finite(losses)
    if len(scored) < 2:
        return math.nan
    return float(scored.std(ddof=1)) / math.sqrt(len(scored))


def row_losses(history: Sequence[Evaluation]) -> list[RowLosses]:
    """The evaluations that scored both splits row by row."""
    scored = []
    for evaluation in history:
        if evaluation.losses is None or evaluation.train_losses is None:
            continue
        train = np.asarray(evaluation.train_losses, dtype=float)
        held = np.asarray(evaluation.losses, dtype=float)
        scored.append(RowLosses(evaluation.step, train, held))
    return scored


def spend_alpha(alpha: float, index: int) -> float:
    """What evaluation `index` (from 0) may spend of `alpha`; adds up to `alpha` over all of them.
    """
    return alpha / ((index + 1) * (index + 2))


def measure_trend(
    evaluations: Sequence[RowLosses], start: float | None, alpha: float
) -> Trend | None:
    """Compare the last evaluation with the best before it.

    The best is one of several, so each of them gets its share of the level (Bonferroni).

    Args:
        start: loss of knowing nothing, in nats; None: not known.

    Returns:
        None for fewer than two evaluations, or without rows scored in both.
    """
    if len(evaluations) < 2:
        return None
    *earlier, last = evaluations
    best = min(earlier, key=_held_mean_or_inf)
    level = spend_alpha(alpha, len(earlier)) / len(earlier)
    rise = paired_difference(best.held, last.held, level)
    if rise.num_rows < 2:
        return None
    # one bad evaluation is often noise of the weights: a rise is lasting once two had it
    previous = earlier[-1]
    previous_rise = paired_difference(best.held, previous.held, COMMON_LEVEL)
    is_lasting = previous is not best and previous_rise.low > 0
    train_rise = paired_difference(best.train, last.train, COMMON_LEVEL)
    # a best near 0 would make any rise enormous
    floor = max(best.held_mean, LEAST_SHARE * start if start else 0.0, 1e-9)
    return Trend(
        best_step=best.step,
        step=last.step,
        rise=rise.mean,
        low=rise.low,
        high=rise.high,
        relative=rise.mean / floor,
        lasting=is_lasting,
        train_rose=train_rise.low > 0,
        rows=rise.num_rows,
    )


def _held_mean_or_inf(evaluation: RowLosses) -> float:
    is_known = math.isfinite(evaluation.held_mean)
    return evaluation.held_mean if is_known else math.inf


def paired_difference(before: Array, after: Array, level: float) -> Difference:
    """Mean of `after` less `before` over rows scored in both.

    Args:
        level: probability that each of the bounds is wrong.
    """
    if before.shape != after.shape:
        return Difference()
    changes = finite(after - before)
    num_rows = len(changes)
    if num_rows < 2:
        return Difference(num_rows=num_rows)
    middle = float(changes.mean())
    error = float(changes.std(ddof=1)) / math.sqrt(num_rows)
    half_width = -float(stdtrit(num_rows - 1, level)) * error
    return Difference(middle, middle - half_width, middle + half_width, num_rows)


def measure_gap(evaluation: RowLosses, start: float | None, level: float) -> Gap:
    """The gap at one evaluation; bounds by Student's t and, for `lost`, the delta method.

    Args:
        start: loss of knowing nothing, in nats; None: not known.
        level: probability that each of the bounds is wrong.
    """
    train = finite(evaluation.train)
    held = finite(evaluation.held)
    train_mean = float(train.mean())
    held_mean = float(held.mean())
    train_variance = float(train.var(ddof=1)) / len(train)  # of the mean
    held_variance = float(held.var(ddof=1)) / len(held)
    # the degrees of freedom of the smaller sample: never less cautious than Welch's
    quantile = -float(stdtrit(min(len(train), len(held)) - 1, level))
    half_width = quantile * math.sqrt(train_variance + held_variance)
    difference = held_mean - train_mean
    gap = Gap(evaluation.step, difference, difference - half_width, difference + half_width)
    if start is None or not math.isfinite(start):
        return gap
    learnt = start - train_mean
    carried_over = start - held_mean
    gap = dataclasses.replace(gap, learnt=learnt)
    if learnt - quantile * math.sqrt(train_variance) <= LEAST_SHARE * start:
        return gap
    lost = 1 - carried_over / learnt
    # the variance of a ratio of two means, to first order
    error = math.sqrt(held_variance / learnt**2 + train_variance * carried_over**2 / learnt**4)
    lost_low = lost - quantile * error
    return dataclasses.replace(gap, lost=lost, lost_low=lost_low, lost_high=lost + quantile * error)


@dataclass(frozen=True)
class StartLoss:
    """What knowing nothing costs, in nats, and where the number is from; None: not known."""

    nats: float | None = None
    source: str = ""


def start_loss(data: Data, log: Sequence[Row]) -> StartLoss:
    """The entropy of the class shares where there are labels, else the loss of the first updates.

    Args:
        log: the lines of the run's log.
    """
    train = data.splits.get("train")
    if data.labels and train is not None and _has_labels(train):
        return StartLoss(_label_entropy(train), "entropy of the classes")
    for line in log:
        if line.get("event") == "step" and isinstance(line.get("loss"), (int, float)):
            return StartLoss(float(line["loss"]), f"loss of the first {line.get('step')} updates")
    return StartLoss()


def _has_labels(rows: Dataset) -> bool:
    """Whether rows are stored, not streamed, and have a label each."""
    return hasattr(rows, "num_rows") and "label" in rows.column_names and len(rows) > 0


def _label_entropy(rows: Dataset) -> float:
    """Entropy of the shares of classes, in nats."""
    if len(rows) > MOST_LABELS:
        random = np.random.default_rng(0)
        rows = rows.select(np.sort(random.choice(len(rows), MOST_LABELS, replace=False)))
    shares = np.bincount(np.asarray(rows["label"][:], dtype=int)) / len(rows)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
