"""What a model answers to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftp.types.scores import Goal

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


@dataclass(frozen=True)
class Prediction:
    """The model's answer to one row: `answer` (class number, tags of the words, text of a span, generated text) and,
    where there are classes, the probability of each in `scores`."""

    answer: Any
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Predictions:
    """The model's answers to the rows of one split, in row order, made once and gathered from all ranks.

    `losses`: [rows] mean loss of each row in nats; NaN for a row without a trained term.
    `metrics`: means of what the objective measures (`rewards/margins`, ...); `goals`: which way each is better.
    `counts`: [rows] number of terms of each row; None where each counts as one. `domain_metrics`: `metrics` of the rows of each
    domain alone, where a run has several.
    """

    split: str
    rows: Dataset
    answers: Sequence[Prediction]
    loss: float
    losses: np.ndarray
    metrics: Mapping[str, float] = field(default_factory=dict)
    goals: Mapping[str, Goal] = field(default_factory=dict)
    counts: np.ndarray | None = None
    domain_metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
