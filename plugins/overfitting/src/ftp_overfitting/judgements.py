"""What each test says: its level and its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp.types import Evaluation, Level
from ftp_overfitting.measures import Gap, Trend
from ftp_overfitting.memory import Membership, Verbatim

if TYPE_CHECKING:
    from ftp_overfitting import Overfitting

NOTED_AUC = 0.6
NOTED_SHARE = 0.05
"""Above these bounds of `Membership` (`low`, `below_low`) what is known by heart is a note."""


@dataclass(frozen=True)
class Judgement:
    """What one test says. An empty text adds nothing to the finding."""

    level: Level
    text: str


def judge_trend(
    limits: Overfitting, trend: Trend, history: Sequence[Evaluation], unit: str
) -> Judgement:
    """Whether the held-out loss rose since its best, while the training loss fell."""
    band = f"{trend.rise:+.3f}{unit}, between {trend.low:+.3f} and {trend.high:+.3f}"
    best = f"update {trend.best_step}"
    if trend.rise <= 0:
        return Judgement("ok", f"the held-out loss is at its best after update {trend.step}")
    if trend.low <= 0:
        return Judgement(
            "ok", f"the held-out loss has not risen beyond chance since its best ({best}): {band}"
        )
    if trend.train_rose:
        return Judgement(
            "ok",
            f"the held-out loss rose since {best} and so did the training loss: no overfitting",
        )
    text = (
        f"since {best} the held-out loss rose by {trend.relative:.0%} ({band}) while the training "
        f"loss fell{_score_change(history, trend)}; the weights of the best evaluation are kept"
    )
    if not trend.lasting:
        return Judgement("note", f"at the last evaluation alone, {text}")
    if trend.relative >= limits.stop_rise:
        return Judgement("stop", text)
    return Judgement("warn" if trend.relative >= limits.rise else "note", text)


def _score_change(history: Sequence[Evaluation], trend: Trend) -> str:
    """What became of the first score whose goal is max: a loss may rise for rows still right."""
    evaluations = {evaluation.step: evaluation for evaluation in history}
    before = {}
    for score in evaluations[trend.best_step].scores:
        if score.goal == "max":
            before[score.name] = score.value
    for score in evaluations[trend.step].scores:
        if score.name in before:
            return f" ({score.name} went from {before[score.name]:.3f} to {score.value:.3f})"
    return ""


def judge_gap(limits: Overfitting, gap: Gap, unit: str) -> Judgement:
    """Whether what training rows gained shows on held-out rows."""
    band = f"{gap.gap_low:+.3f} to {gap.gap_high:+.3f}"
    difference = f"held-out rows cost {gap.gap:+.3f}{unit} more than training rows ({band})"
    if gap.learnt is None:
        return Judgement("ok", difference)
    gained = f"training rows gained {gap.learnt:.3f}{unit} since the start"
    if gap.lost is None:
        return Judgement("ok", f"{difference}, and the {gained}: too little to be lost")
    text = (
        f"of the {gap.learnt:.3f}{unit} that training rows gained since the start, {gap.lost:.0%} "
        f"({gap.lost_low:.0%} to {gap.lost_high:.0%}) do not show on held-out rows"
    )
    if gap.lost >= 1:
        text = (
            f"{gained}, and held-out rows cost {gap.gap:.3f} more than they ({gap.gap_low:.3f} to "
            f"{gap.gap_high:.3f}): nothing of it carries over"
        )
    if gap.lost_low >= limits.warn_lost:
        return Judgement("warn", text)
    return Judgement("note" if gap.lost_low >= limits.note_lost else "ok", text)


def judge_memory(limits: Overfitting, measured: Membership) -> Judgement:
    """Whether the loss tells training rows from held-out ones."""
    text = (
        f"the loss tells a training row from a held-out one in {measured.auc:.0%} of pairs "
        f"({measured.low:.0%} to {measured.high:.0%}; 50 %: not at all), and "
        f"{measured.below:.1%} of training rows are better known than the best 1 % of held-out ones"
    )
    if measured.low >= limits.auc:
        return Judgement("warn", text)
    is_noted = measured.low > NOTED_AUC or measured.below_low > NOTED_SHARE
    return Judgement("note" if is_noted else "ok", text)


def judge_verbatim(limits: Overfitting, repeated: Verbatim) -> Judgement:
    """Whether training rows are gone on with word for word more often than held-out ones."""
    text = (
        f"{repeated.train} of {repeated.train_of} training rows were gone on with word for word "
        f"for {repeated.tokens} tokens, {repeated.held} of {repeated.held_of} held-out ones"
    )
    is_more_than_chance = repeated.p < limits.alpha and repeated.train > 0
    return Judgement("warn" if is_more_than_chance else "ok", text)
