"""Scores beside those of the baselines, the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ftp.types import Baseline, Score

Beats = Literal["yes", "no", "-"]
"""Whether a score is better than every baseline; `-` where that is not known or not asked."""


@dataclass(frozen=True)
class ComparedScore:
    """A score, and the same number for each baseline in the order of their names; None: unknown."""

    score: Score
    baselines: Sequence[float | None]
    beats: Beats


def held_out(scores: Sequence[Score]) -> list[Score]:
    """The scores on rows that were not trained on."""
    return [score for score in scores if score.split != "train"]


def by_split(scores: Sequence[Score]) -> list[Score]:
    """Sort scores: test first, as it counts most, then validation, then any other split."""
    ranks = {"test": 0, "validation": 1}
    return sorted(scores, key=lambda score: ranks.get(score.split, len(ranks)))


def baseline_names(baselines: Sequence[Baseline]) -> list[str]:
    """The name of each baseline once, in their order."""
    return list(dict.fromkeys(baseline.baseline for baseline in baselines))


def compare(scores: Sequence[Score], baselines: Sequence[Baseline]) -> list[ComparedScore]:
    """Put the numbers of the baselines beside each score."""
    names = baseline_names(baselines)
    values = {}
    for baseline in baselines:
        values[baseline.baseline, baseline.name, baseline.split] = baseline.value
    compared = []
    for score in by_split(scores):
        others = [values.get((name, score.name, score.split)) for name in names]
        compared.append(ComparedScore(score, others, _beats(score, others)))
    return compared


def _beats(score: Score, others: Sequence[float | None]) -> Beats:
    known = [value for value in others if value is not None]
    if not known or score.goal == "none":
        return "-"
    return "yes" if all(score.beats(value) for value in known) else "no"
