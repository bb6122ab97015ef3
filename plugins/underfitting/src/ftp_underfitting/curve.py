"""The curve of the training loss: does it still fall at the end, does it climb, and is it below guessing?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped,unused-ignore]  # scipy.stats takes half a second

from ftp import forms
from ftp.types import Data, Evaluation

Array = NDArray[np.float64]
LINES = 6
"""Lines of the log that a slope needs."""
SURE = 0.01
"""Chance of calling a slope or a climb real when it is none."""


@dataclass(frozen=True)
class Gain:
    """The training loss beside guessing: `before` and `after` in nats a term, rows alike; `gain`: share of `before` that is
    gone, with its band; `p`: chance of this fall without any learning (one-sided t test)."""

    baseline: str
    before: float
    after: float
    gain: float
    low: float
    high: float
    p: float
    rows: int
    step: int | None = None


@dataclass(frozen=True)
class Slope:
    """The last third of the log: nats an update with its standard error, chance of it without a trend (one-sided), and how
    far the loss would fall in as many updates again, relative to what it is now."""

    per_update: float
    error: float
    p: float
    ahead: float
    level: float
    updates: int
    lines: int


def prior(data: Data) -> tuple[float, int] | None:
    """Entropy in nats of the class shares of the training rows (the loss of always giving those), and rows counted; of
    tags likewise, rows alike. None without labels, or with one class only."""
    train = data.splits.get("train")
    classes = forms.get(data.form).of_kind("class", "tags")
    column = classes[0].name if classes and train is not None and classes[0].name in (train.column_names or ()) else None
    if train is None or column is None or not hasattr(train, "num_rows") or not len(train) or not data.labels:
        return None
    is_of_rows = classes[0].kind == "class"
    most = 100_000 if is_of_rows else 5_000
    rows = train if len(train) <= most else train.select(
        np.sort(np.random.default_rng(0).choice(len(train), most, replace=False)))
    values = rows[column][:]
    sets = [[one] for one in values] if is_of_rows else [one for one in values if one]
    flat = [one for group in sets for one in group]
    if not flat or not isinstance(flat[0], (int, np.integer)) or len(set(flat)) < 2:
        return None
    surprise = -np.log(np.maximum(np.bincount(flat) / len(flat), 1e-12))
    return float(np.mean([surprise[group].mean() for group in sets])), len(rows)


def against_prior(history: Sequence[Evaluation], guess: float, min_rows: int) -> Gain | None:
    """The lowest training loss of any evaluation (rows re-scored in evaluation mode) against guessing; `p` is corrected for
    the choice among them (Bonferroni)."""
    best: Gain | None = None
    looked = 0
    for one in history:
        if one.train_losses is None:
            continue
        losses = np.asarray(one.train_losses, dtype=float)
        losses = losses[np.isfinite(losses)]
        looked += len(losses) >= min_rows
        if len(losses) >= min_rows and (best is None or losses.mean() < best.after):
            best = _gain("class shares", guess - losses, guess, one.step)
    return replace(best, p=min(1.0, best.p * looked)) if best is not None else None


def against_untuned(before: Any, after: Any, min_rows: int) -> Gain | None:
    """The same rows before and after training, compared row by row."""
    if before is None or after is None:
        return None
    first, last = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    both = np.isfinite(first) & np.isfinite(last)
    if both.sum() < min_rows:
        return None
    return _gain("untuned model", first[both] - last[both], float(first[both].mean()), None)


def _gain(baseline: str, falls: Array, before: float, step: int | None) -> Gain:
    count, fall = len(falls), float(falls.mean())
    error = float(falls.std(ddof=1)) / math.sqrt(count)
    p = float(stdtr(count - 1, -fall / error)) if error > 0 else float(fall <= 0)
    reach = -float(stdtrit(count - 1, 0.025)) * error
    scale = max(before, 1e-9)
    return Gain(baseline, before, before - fall, fall / scale, (fall - reach) / scale, (fall + reach) / scale, p, count, step)


def steps(log: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
    """Updates and losses of the lines of the log that have both."""
    pairs = [(line["step"], line["loss"]) for line in log
             if line.get("event") == "step" and isinstance(line.get("loss"), (int, float)) and math.isfinite(line["loss"])]
    found = np.array(pairs, dtype=float).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def slope(log: Sequence[Mapping[str, Any]]) -> Slope | None:
    """Least squares over the last third of the log (`LINES` lines at least). None where the log is too short."""
    at, losses = steps(log)
    if len(at) < 2 * LINES:
        return None
    part = max(LINES, len(at) // 3)
    x, y = at[-part:], losses[-part:]
    away = x - x.mean()
    fall = float((away * y).sum() / (away**2).sum())
    rest = y - y.mean() - fall * away
    error = math.sqrt(float((rest**2).sum()) / (part - 2) / float((away**2).sum()))
    updates = round(float(x[-1] - x[0]))
    now = max(float(y.mean() + fall * away[-1]), 0.05 * float(losses[:LINES].mean()), 1e-9)
    p = float(stdtr(part - 2, fall / error)) if error > 0 else float(fall >= 0)
    return Slope(fall, error, p, max(0.0, -fall * updates / now), now, updates, part)


@dataclass(frozen=True)
class Climb:
    """Training got worse: from `low` nats at `step` to `high` at the end; `p`: chance of that without a climb."""

    step: int
    low: float
    high: float
    p: float
    rows: int


def climb(history: Sequence[Evaluation], log: Sequence[Mapping[str, Any]], start: float | None) -> Climb | None:
    """Whether training rows lost more than half of what they had gained, or cost a fifth more than at the start. By the
    training rows of the evaluations, the same ones each time (t test, Bonferroni over evaluations); without them by the
    log, its last third against its best third (Welch's test)."""
    found = [(one.step, np.asarray(one.train_losses, dtype=float)) for one in history if one.train_losses is not None]
    found = [(step, losses) for step, losses in found if np.isfinite(losses).any()]
    if len(found) >= 2:
        step, best = min(found, key=lambda one: float(np.nanmean(one[1])))
        last = found[-1][1]
        if best.shape != last.shape:
            return None
        change = (last - best)[np.isfinite(last - best)]
        if len(change) < 2:
            return None
        low, high = float(np.nanmean(best)), float(np.nanmean(last))
        error = float(change.std(ddof=1)) / math.sqrt(len(change))
        p = float(stdtr(len(change) - 1, -change.mean() / error)) if error > 0 else 1.0
        p = min(1.0, p * max(1, len(found) - 1))
        origin = start if start is not None else float(np.nanmean(found[0][1]))
        worse = high - low > 0.5 * max(origin - low, 0.1 * origin) or high > 1.2 * origin
        return Climb(step, low, high, p, len(change)) if worse and p < SURE else None
    at, losses = steps(log)
    part = len(at) // 3
    if part < 3:
        return None
    first, last = losses[:part], losses[-part:]
    if last.mean() <= 1.2 * first.mean():
        return None
    a, b = float(first.var(ddof=1)) / part, float(last.var(ddof=1)) / part
    freedom = (a + b) ** 2 * (part - 1) / max(a**2 + b**2, 1e-300)  # Welch and Satterthwaite
    p = float(stdtr(freedom, (first.mean() - last.mean()) / math.sqrt(a + b))) if a + b > 0 else 0.0
    if p < SURE:
        return Climb(int(at[part - 1]), float(first.mean()), float(last.mean()), p, 0)
    return None
