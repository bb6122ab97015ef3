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
    """The model's answer to one row.

    Attributes:
        answer: class number, tags of the words, text of a span, generated text, as the objective gives it; None: not
            answered.
        scores: the probability of each class, where there are classes; else None.
    """

    answer: Any
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Predictions:
    """The model's answers to the rows of one split, in row order, made once and gathered from all ranks.

    Attributes:
        split: name of the split.
        rows: its rows.
        answers: one a row; empty where the objective only scores.
        loss: mean over the terms of all rows, in nats as a rule.
        losses: `[rows] float64`, mean loss of each row; NaN for a row without a trained term.
        metrics: means of what the objective measures (`rewards/margins`, ...).
        goals: which way each metric is better.
        counts: `[rows] float64`, number of terms of each row; None where each counts as one.
        domain_metrics: `metrics` of the rows of each domain alone, where a run has several.
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

    @classmethod
    def of_rows(
        cls, split: str, rows: Dataset, answers: Sequence[Prediction], losses: np.ndarray
    ) -> Predictions:
        """Answers to rows that have one term each, so that the loss is the mean of theirs.

        Args:
            split: name of the split.
            rows: its rows.
            answers: one a row.
            losses: `[rows] float64`, the loss of each row.
        """
        return cls(split, rows, answers, float(losses.mean()), losses)
