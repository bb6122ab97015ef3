"""Numbers about a model, and the same numbers for something simpler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Goal = Literal["max", "min", "none"]
"""Which way a number is better; `none`: neither."""


@dataclass(frozen=True)
class Score:
    """One number about the model.

    Attributes:
        name: what it measures, as `accuracy`.
        value: the number.
        goal: which way it is better; `none`: it is only to be known.
        split: the rows that it was measured on.
        n: how many of them; 0 where nobody counted.
    """

    name: str
    value: float
    goal: Goal = "max"
    split: str = ""
    n: int = 0

    def beats(self, value: float) -> bool:
        """Whether it is better than another value of the same score; never where it has no goal.

        Args:
            value: the other value.
        """
        if self.goal == "max":
            return self.value > value
        return self.goal == "min" and self.value < value


@dataclass(frozen=True)
class Baseline:
    """The same number for something simpler, measured in the same run (majority class, untuned model).

    Attributes:
        baseline: what was measured.
        name: that of the score.
        value: the number.
        split: the rows that it was measured on.
        n: how many of them; 0 where nobody counted.
        low: the lower end of the 95 % interval of how far the run is ahead of it (below 0: behind); None: not tested.
        high: the upper end.
    """

    baseline: str
    name: str
    value: float
    split: str = ""
    n: int = 0
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A score of the run beside that of a baseline, tested on the same rows in pairs.

    Attributes:
        baseline: what the run is compared with.
        name: that of the score.
        split: the rows that both answered.
        value: the run's.
        other: the baseline's.
        ahead: how much better the run is, whichever way the score is better; below 0: it is worse.
        low: the lower end of the 95 % interval of `ahead`.
        high: the upper end.
        p: the chance of a difference as large as this one where there is none (two-sided).
    """

    baseline: str
    name: str
    split: str
    value: float
    other: float
    ahead: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Reward:
    """One reward for each completion; several are summed by weight.

    Attributes:
        name: for logs.
        values: one number a completion, higher is better.
        weight: what they are multiplied by in the sum.
    """

    name: str
    values: Sequence[float]
    weight: float = 1.0
