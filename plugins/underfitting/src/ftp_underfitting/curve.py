"""The curve of the training loss: does it still fall at the end, or does it climb?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr  # type: ignore[import-untyped,unused-ignore]  # scipy.stats: 0.5 s

from ftp.types import Evaluation

Array = NDArray[np.float64]
LINES = 6
"""Lines of the log that a slope needs."""
SURE = 0.01
"""Chance of calling a slope or a climb real when it is none."""
WORSE = 1.2
"""Training rows that cost this many times what they cost at first: training diverged."""
LOST_SHARE = 0.5
"""So it did where training rows lost more than this share of what they had gained."""


@dataclass(frozen=True)
class Slope:
    """The last third of the log.

    `per_update`: nats an update, with its standard error `error`; `p`: chance of it without a trend
    (one-sided); `ahead`: how far the loss would fall in as many updates again, relative to what it
    is now (`level`).
    """

    per_update: float
    error: float
    p: float
    ahead: float
    level: float
    updates: int
    lines: int


def losses_of_steps(log: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
    """Updates and losses of the lines of the log that have both."""
    pairs = []
    for line in log:
        loss = line.get("loss")
        is_number = isinstance(loss, (int, float)) and math.isfinite(loss)
        if line.get("event") == "step" and is_number:
            pairs.append((line["step"], loss))
    table = np.array(pairs, dtype=float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def slope(log: Sequence[Mapping[str, Any]]) -> Slope | None:
    """Least squares over the last third of the log (`LINES` lines at least).

    None where the log is too short.
    """
    steps, losses = losses_of_steps(log)
    if len(steps) < 2 * LINES:
        return None
    num_lines = max(LINES, len(steps) // 3)
    x = steps[-num_lines:]
    y = losses[-num_lines:]
    centred = x - x.mean()
    per_update = float((centred * y).sum() / (centred**2).sum())
    residuals = y - y.mean() - per_update * centred
    variance = float((residuals**2).sum()) / (num_lines - 2)
    error = math.sqrt(variance / float((centred**2).sum()))
    p = float(per_update >= 0)  # where the lines lie on a line
    if error > 0:
        p = float(stdtr(num_lines - 2, per_update / error))
    updates = round(float(x[-1] - x[0]))
    # the loss now, by the fitted line; a loss near 0 would make any fall enormous
    fitted = float(y.mean() + per_update * centred[-1])
    level = max(fitted, 0.05 * float(losses[:LINES].mean()), 1e-9)
    ahead = max(0.0, -per_update * updates / level)
    return Slope(per_update, error, p, ahead, level, updates, num_lines)


@dataclass(frozen=True)
class Climb:
    """Training got worse: from `low` nats at `step` to `high` at the end.

    `p`: chance of that without a climb. `rows`: compared; 0 where the log was.
    """

    step: int
    low: float
    high: float
    p: float
    rows: int


def climb(
    history: Sequence[Evaluation], log: Sequence[Mapping[str, Any]], start: float | None
) -> Climb | None:
    """Whether training got worse; by the training rows of the evaluations where there are some.

    Args:
        start: the loss of a row before training, in nats; None: not known.
    """
    scored = []
    for evaluation in history:
        if evaluation.train_losses is None:
            continue
        losses = np.asarray(evaluation.train_losses, dtype=float)
        if np.isfinite(losses).any():
            scored.append((evaluation.step, losses))
    if len(scored) >= 2:
        return _climb_of_rows(scored, start)
    return _climb_of_log(log)


def _climb_of_rows(scored: Sequence[tuple[int, Array]], start: float | None) -> Climb | None:
    """Compare the last evaluation with the best: the same rows, by a t test.

    Args:
        scored: update and losses of each evaluation.
    """
    step, best = min(scored, key=lambda pair: float(np.nanmean(pair[1])))
    _, first = scored[0]
    _, last = scored[-1]
    if best.shape != last.shape:
        return None
    changes = (last - best)[np.isfinite(last - best)]
    if len(changes) < 2:
        return None
    low = float(np.nanmean(best))
    high = float(np.nanmean(last))
    error = float(changes.std(ddof=1)) / math.sqrt(len(changes))
    p = float(stdtr(len(changes) - 1, -changes.mean() / error)) if error > 0 else 1.0
    p = min(1.0, p * max(1, len(scored) - 1))  # Bonferroni: the best is one of several
    if start is None:
        start = float(np.nanmean(first))
    gained = max(start - low, 0.1 * start)
    is_worse = high - low > LOST_SHARE * gained or high > WORSE * start
    return Climb(step, low, high, p, len(changes)) if is_worse and p < SURE else None


def _climb_of_log(log: Sequence[Mapping[str, Any]]) -> Climb | None:
    """Compare the last third of the log with the first, which are other rows: Welch's test."""
    steps, losses = losses_of_steps(log)
    num_lines = len(steps) // 3
    if num_lines < 3:
        return None
    first = losses[:num_lines]
    last = losses[-num_lines:]
    if last.mean() <= WORSE * first.mean():
        return None
    first_variance = float(first.var(ddof=1)) / num_lines  # of the mean
    last_variance = float(last.var(ddof=1)) / num_lines
    variance = first_variance + last_variance
    # degrees of freedom after Welch and Satterthwaite
    squares = max(first_variance**2 + last_variance**2, 1e-300)
    freedom = variance**2 * (num_lines - 1) / squares
    p = 0.0
    if variance > 0:
        p = float(stdtr(freedom, (first.mean() - last.mean()) / math.sqrt(variance)))
    if p >= SURE:
        return None
    return Climb(int(steps[num_lines - 1]), float(first.mean()), float(last.mean()), p, 0)
