"""How much a run trains where nobody says it: rows of an update, passes over the rows, and when to stop early.

    rows up to 1,000: 8 an update, up to 8,000: 16, beyond: 32    many or uneven classes: half of it, 8 at least
    passes so that there are 300 updates (many or uneven classes: 600), from 3 passes to 10
    ends after 5 evaluations without a better score, and keeps the best; of classes by accuracy (uneven ones: macro F1), as the
        loss rises with the sureness of wrong answers while answers still get better
    of classes with fewer than 50 validation rows, the last weights: so few rows cannot tell evaluations apart

That is for tasks whose rows each have a short answer (a class, tags, a span, a number: `HeadSpec.follows_rows`), as few large
updates teach a new head little. What writes text, and rows that cannot be counted, take 32 rows and 3 passes. Pure numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

BATCHES = ((1_000, 8), (8_000, 16))
"""Rows at most -> rows of an update."""
LARGE_BATCH = 32
SMALL_BATCH = 8
UPDATES = 300
UPDATES_FOR_HARD_CLASSES = 600
PASSES = 3
"""Passes at least, and those of tasks that write text."""
MOST_PASSES = 10
MANY_CLASSES = 20
"""Classes beyond which each has few rows in an update."""
UNEVEN = 5
"""Classes are uneven where the rarest has less than a fifth of what it would have if all had as many."""
PATIENCE = 5
FEWEST_TO_PICK_BY = 50
"""Validation rows of classes below which no evaluation is picked as the best."""


@dataclass(frozen=True)
class Followed(Generic[T]):
    """A value that follows from the data, and the rule that gave it, in words."""

    value: T
    reason: str


@dataclass(frozen=True)
class TrainingRows:
    """What the rule reads of the training rows.

    Args:
        count: how many there are; None where they cannot be counted (a stream).
        class_counts: rows of each class that has any, where a row has one class.
        num_classes: of the task; 0 where it has none.
        validation_count: rows that evaluations are scored on; None where they are not known.
        have_short_answers: each row has a class, tags, a span or a number, so that the rule for them holds.
    """

    count: int | None
    class_counts: Sequence[int] = ()
    num_classes: int = 0
    have_short_answers: bool = True
    validation_count: int | None = None

    @property
    def fair_share(self) -> float:
        """Rows of a class if all had as many."""
        return sum(self.class_counts) / max(1, len(self.class_counts))

    @property
    def are_uneven(self) -> bool:
        """Whether the rarest class has less than a fifth of its fair share."""
        return len(self.class_counts) > 1 and UNEVEN * min(self.class_counts) < self.fair_share

    @property
    def hard_classes(self) -> str:
        """What makes the classes hard to learn, in words; empty where nothing does."""
        if self.are_uneven:
            return "uneven classes"
        return f"{self.num_classes} classes" if self.num_classes > MANY_CLASSES else ""


def batch_size(rows: TrainingRows) -> Followed[int]:
    """Rows of an update."""
    if not rows.have_short_answers:
        return Followed(LARGE_BATCH, "what tasks of this kind take")
    if rows.count is None:
        return Followed(LARGE_BATCH, "what rows take that are not counted")
    size = LARGE_BATCH
    reason = f"{rows.count:,} training rows, more than {BATCHES[-1][0]:,}"
    for most_rows, batch in reversed(BATCHES):
        if rows.count <= most_rows:
            size = batch
            reason = f"{rows.count:,} training rows, {most_rows:,} at most"
    if rows.hard_classes and size > SMALL_BATCH:
        size //= 2
        reason += f"; {rows.hard_classes} halve it"
    return Followed(size, reason)


def epochs(rows: TrainingRows, batch: int | None) -> Followed[float]:
    """Passes over the rows.

    Args:
        batch: rows of an update; None where its tokens are counted instead.
    """
    if not rows.have_short_answers:
        return Followed(float(PASSES), "what tasks of this kind take")
    if rows.count is None or batch is None:
        return Followed(float(PASSES), "what rows take whose updates cannot be counted")
    wanted = UPDATES_FOR_HARD_CLASSES if rows.hard_classes else UPDATES
    updates_a_pass = max(1, math.ceil(rows.count / batch))
    passes = min(MOST_PASSES, max(PASSES, math.ceil(wanted / updates_a_pass)))
    why = f" for {rows.hard_classes}" if rows.hard_classes else ""
    reason = f"{passes * updates_a_pass:,} updates; {wanted} are wanted{why}, in {PASSES} to {MOST_PASSES} passes"
    return Followed(float(passes), reason)


def picks_best(rows: TrainingRows, is_asked: bool = False) -> Followed[bool]:
    """Whether the weights of the best evaluation are the result, and not the last ones.

    Args:
        is_asked: somebody named the score that picks the best, or the patience for a better one.
    """
    if is_asked:
        return Followed(True, "what picks the best is named")
    if rows.class_counts and rows.validation_count is not None and rows.validation_count < FEWEST_TO_PICK_BY:
        return Followed(False, f"{rows.validation_count:,} validation rows, fewer than {FEWEST_TO_PICK_BY}, cannot tell "
                        "evaluations apart: the last weights are the result")
    return Followed(True, "what tasks of this kind take")


def patience(rows: TrainingRows, picks: bool = True) -> Followed[int]:
    """Evaluations without a better score before training ends; 0: never.

    Args:
        picks: whether an evaluation is picked as the best.
    """
    if not rows.have_short_answers:
        return Followed(0, "what tasks of this kind take")
    if not picks:
        return Followed(0, "no evaluation is picked as the best")
    return Followed(PATIENCE, "later evaluations seldom become the best")


def best_metric(rows: TrainingRows) -> Followed[str | None]:
    """The score that picks the best checkpoint; None: the loss."""
    if rows.are_uneven:
        return Followed("macro_f1", f"the rarest class has {min(rows.class_counts):,} rows, less than a fifth of the "
                        f"{rows.fair_share:,.0f} that it would have if all had as many")
    if rows.class_counts:
        return Followed("accuracy", "the loss rises with the sureness of wrong answers while answers still get better")
    return Followed(None, "what tasks of this kind take")
