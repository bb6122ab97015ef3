"""Scores beside those of the baselines, the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ftp.types import Baseline, Score

Beats = Literal["yes", "no difference", "no", "ahead", "behind", "-"]
"""Whether a score is better than every baseline: `yes` and `no` only beyond chance, `no difference` where the rows cannot tell,
`ahead` and `behind` where that was not tested; `-` where it is not known or not asked."""


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
    baseline_of = {}
    for baseline in baselines:
        baseline_of[baseline.baseline, baseline.name, baseline.split] = baseline
    compared = []
    for score in by_split(scores):
        others = [baseline_of.get((name, score.name, score.split)) for name in names]
        known = [baseline for baseline in others if baseline is not None]
        values = [None if baseline is None else baseline.value for baseline in others]
        compared.append(ComparedScore(score, values, _beats(score, known)))
    return compared


def _beats(score: Score, baselines: Sequence[Baseline]) -> Beats:
    if not baselines or score.goal == "none":
        return "-"
    # one that is surely better is the answer, whatever the others are
    if any(baseline.high is not None and baseline.high < 0 for baseline in baselines):
        return "no"
    strongest = [baseline for baseline in baselines if not any(_is_better(score, other, baseline) for other in baselines)]
    tested = [baseline.low for baseline in strongest or baselines if baseline.low is not None]
    if tested:
        return "yes" if min(tested) > 0 else "no difference"
    return "ahead" if all(score.beats(baseline.value) for baseline in baselines) else "behind"


def _is_better(score: Score, one: Baseline, other: Baseline) -> bool:
    return one.value > other.value if score.goal == "max" else one.value < other.value
