"""Numbers about a model, and the same numbers for something simpler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Goal = Literal["max", "min", "none"]
"""Which way a number is better; `none`: neither."""


@dataclass(frozen=True)
class Score:
    """One number about the model. `goal`: `max` or `min`, which way is better, or `none`: it is only to be known."""

    name: str
    value: float
    goal: Goal = "max"
    split: str = ""
    n: int = 0

    def beats(self, value: float) -> bool:
        """Whether it is better than another value of the same score; never where it has no goal."""
        return self.value > value if self.goal == "max" else self.goal == "min" and self.value < value


@dataclass(frozen=True)
class Baseline:
    """The same number for something simpler, measured in the same run (majority class, untuned model)."""

    baseline: str
    name: str
    value: float
    split: str = ""
    n: int = 0


@dataclass(frozen=True)
class Reward:
    """One reward for each completion; several are summed by weight."""

    name: str
    values: Sequence[float]
    weight: float = 1.0
