"""What training took away from the loss of knowing nothing: guessing, or the untuned model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped,unused-ignore]  # scipy.stats: 0.5 s

from ftp import forms
from ftp.types import Data, Evaluation

if TYPE_CHECKING:
    from datasets import Dataset

Array = NDArray[np.float64]
CLASS_SHARES, UNTUNED = "class shares", "untuned model"
"""What the training loss is held against."""
MOST_ROWS = {"class": 100_000, "tags": 5_000}
"""Rows that are counted of each kind of column; of more, a sample."""


@dataclass(frozen=True)
class Gain:
    """The training loss beside what knowing nothing costs.

    `before` and `after` in nats a term, rows alike; `gain`: share of `before` that is gone, with
    its band; `p`: chance of this fall without any learning (one-sided t test).
    """

    baseline: str
    before: float
    after: float
    gain: float
    low: float
    high: float
    p: float
    rows: int
    step: int | None = None


def guessing_loss(data: Data) -> float | None:
    """The loss in nats of always giving the class shares of the training rows: their entropy.

    Of tags likewise, rows alike. None without labels, or with one class only.
    """
    train = data.splits.get("train")
    if train is None or not data.labels or not hasattr(train, "num_rows") or not len(train):
        return None
    columns = forms.get(data.form).of_kind("class", "tags")
    if not columns or columns[0].name not in train.column_names:
        return None
    kind = columns[0].kind
    values = _sample(train, MOST_ROWS[kind])[columns[0].name][:]
    classes_of_rows = [[label] for label in values]
    if kind == "tags":
        classes_of_rows = [tags for tags in values if tags]
    classes: list[int] = []
    for classes_of_row in classes_of_rows:
        classes += classes_of_row
    if not classes or not isinstance(classes[0], (int, np.integer)) or len(set(classes)) < 2:
        return None
    shares = np.bincount(classes) / len(classes)
    cost = -np.log(np.maximum(shares, 1e-12))  # nats of each class
    return float(np.mean([cost[classes_of_row].mean() for classes_of_row in classes_of_rows]))


def _sample(rows: Dataset, most: int) -> Dataset:
    if len(rows) <= most:
        return rows
    return rows.select(np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False)))


def against_guessing(
    history: Sequence[Evaluation], guess: float, min_rows: int
) -> Gain | None:
    """Compare the lowest training loss of any evaluation with guessing.

    Training rows are scored again in evaluation mode. `p` is corrected for the choice among the
    evaluations (Bonferroni).

    Args:
        guess: what `guessing_loss` gives.
        min_rows: evaluations of fewer rows do not count.
    """
    best: Gain | None = None
    num_evaluations = 0
    for evaluation in history:
        if evaluation.train_losses is None:
            continue
        losses = np.asarray(evaluation.train_losses, dtype=float)
        losses = losses[np.isfinite(losses)]
        if len(losses) < min_rows:
            continue
        num_evaluations += 1
        if best is None or losses.mean() < best.after:
            best = _gain(CLASS_SHARES, guess - losses, guess, evaluation.step)
    if best is None:
        return None
    return replace(best, p=min(1.0, best.p * num_evaluations))


def against_untuned(before: Any, after: Any, min_rows: int) -> Gain | None:
    """Compare the same rows before and after training, row by row.

    Args:
        before, after: [rows] nats, NaN where a row has no loss; None: not scored.
    """
    if before is None or after is None:
        return None
    before = np.asarray(before, dtype=float)
    after = np.asarray(after, dtype=float)
    in_both = np.isfinite(before) & np.isfinite(after)
    if in_both.sum() < min_rows:
        return None
    falls = before[in_both] - after[in_both]
    return _gain(UNTUNED, falls, float(before[in_both].mean()), None)


def _gain(baseline: str, falls: Array, before: float, step: int | None) -> Gain:
    """The gain of rows whose loss fell by `falls` nats, from `before` on average."""
    num_rows = len(falls)
    fall = float(falls.mean())
    error = float(falls.std(ddof=1)) / math.sqrt(num_rows)
    p = float(fall <= 0)  # where all rows fell alike
    if error > 0:
        p = float(stdtr(num_rows - 1, -fall / error))
    half_width = -float(stdtrit(num_rows - 1, 0.025)) * error  # of a 95 % band
    scale = max(before, 1e-9)
    return Gain(
        baseline=baseline,
        before=before,
        after=before - fall,
        gain=fall / scale,
        low=(fall - half_width) / scale,
        high=(fall + half_width) / scale,
        p=p,
        rows=num_rows,
        step=step,
    )
