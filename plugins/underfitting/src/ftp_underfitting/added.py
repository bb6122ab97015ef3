"""Whether training added anything to the fitted head that a run began with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftp.types import Evaluation
from ftp_underfitting.weights import Moves


@dataclass(frozen=True)
class NothingAdded:
    """A run whose training was worth nothing.

    `before`: before the first update. `after`: the evaluation after it whose held-out rows cost
    least. `is_start_kept`: the weights are those from before the first update.
    """

    before: Evaluation
    after: Evaluation
    is_start_kept: bool


def nothing_added(
    history: Sequence[Evaluation], moves: Moves | None, metric: str | None, least: float
) -> NothingAdded | None:
    """What was measured where training added nothing; None where it did, or where nothing tells.

    Args:
        metric: the score that picks the best evaluation; None: the loss does.
        least: share of the loss that must go, of training or of held-out rows.
    """
    if len(history) < 2 or history[0].step:
        return None
    before = history[0]
    later = history[1:]
    after = min(later, key=lambda evaluation: evaluation.loss)
    # weights that are put back are the same to the last digit, whatever training did to them
    is_start_kept = moves is not None and bool(moves.still) and not moves.ratio
    if is_start_kept:
        # where they never moved, something else is wrong: all evaluations are alike
        is_alike = all(evaluation.loss == before.loss for evaluation in later)
        return None if is_alike else NothingAdded(before, after, is_start_kept)
    if _falls(before.loss, [evaluation.loss for evaluation in later], least):
        return None
    train_losses = []
    for evaluation in later:
        if evaluation.train_loss is not None:
            train_losses.append(evaluation.train_loss)
    if before.train_loss is not None and _falls(before.train_loss, train_losses, least):
        return None
    if any(_is_better(evaluation, before, metric) for evaluation in later):
        return None
    return NothingAdded(before, after, is_start_kept)


def _falls(before: float, later: Sequence[float], least: float) -> bool:
    """Whether any later loss is lower by this share."""
    return any(loss < before * (1 - least) for loss in later)


def _is_better(evaluation: Evaluation, before: Evaluation, metric: str | None) -> bool:
    """Whether the score that picks the best evaluation is higher, or lower where that is better."""
    values = {score.name: score.value for score in before.scores if score.name == metric}
    return any(score.name in values and score.beats(values[score.name]) for score in evaluation.scores)
