"""How far apart methods usually are, before a row of a question was looked at.

A few hundred rows show a difference of two scores with an error of some points. What they show is therefore moved towards what is
usual, the more so the less they show: the mean of the posterior of two normal distributions (Gelman et al. 2013, Bayesian Data
Analysis, section 2.5). docs/advice.md has the measurements that the numbers below are from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ftp.advise.comparison import NORMAL, Ahead
from ftp.advise.types import Entry, Metric
from ftp.advise.wording import is_share


@dataclass(frozen=True)
class Usual:
    """How far one entry is ahead of another in whole runs, as a share: the mean and the standard deviation over data sets."""

    mean: float
    spread: float


TRAINING = Usual(0.03, 0.06)
"""A network that was trained, ahead of a linear model of what the same network gives untrained."""
ALIKE = Usual(0.0, 0.015)
"""Two ways of training one network."""
OTHER_MODEL = Usual(0.0, 0.1)
"""Two networks: not measured, and so wide that the rows decide."""
FIRST_STAGE = Usual(0.0, 0.03)
"""After a first stage on plain text and without one: not measured, and wide for that."""


def usual_difference(own: Entry, other: Entry) -> Usual:
    """How far an entry usually is ahead of another."""
    usual = ALIKE if own.model == other.model else OTHER_MODEL
    # a first stage leaves a model of its own
    if own.first != other.first:
        usual = FIRST_STAGE
    if own.trains == other.trains:
        return usual
    mean = TRAINING.mean if own.trains else -TRAINING.mean
    return Usual(mean, max(TRAINING.spread, usual.spread))


def expected_gain(ahead: Ahead, usual: Usual, error: float = 0.0) -> float:
    """How far an entry will be ahead in whole runs, by what rows show and what is usual.

    Args:
        ahead: what the rows show; where they show nothing, what is usual is expected.
        usual: what is known without them.
        error: standard error of what the pilots left undone, beside that of the rows.
    """
    if not math.isfinite(ahead.value):
        return usual.mean
    # where both are right in the same rows, one row more could still have told them apart
    of_rows = max((ahead.high - ahead.low) / (2 * NORMAL), 1 / max(1, ahead.rows))
    variance = of_rows**2 + error**2
    weight = usual.spread**2 / (usual.spread**2 + variance)
    return weight * ahead.value + (1 - weight) * usual.mean


def has_usual(metric: Metric, value: float | None) -> bool:
    """Whether something is known of differences in a score: it is a share, and a higher one is better."""
    return metric.goal == "max" and is_share(value)
