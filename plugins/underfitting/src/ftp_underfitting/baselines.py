"""Is something simpler better than the tuned model, beyond chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftp.types import Comparison, Run

LOSS = "loss"
USUAL_METRICS = ("macro_f1", "accuracy")
"""Scores that stand for the run where nobody named one, the first of them that there is."""


@dataclass(frozen=True)
class Rivals:
    """The run beside its baselines on the rows that count most.

    `metric`: the score that stands for the run; empty: its loss does. `of_metric`: tested by that
    score. `of_loss`: tested by the loss of rows; empty where the loss of the run is not the one
    that baselines are scored by.
    """

    split: str
    metric: str
    of_metric: Sequence[Comparison]
    of_loss: Sequence[Comparison]

    @property
    def tests(self) -> int:
        """How many tests are made, each of which may be wrong by chance."""
        return len(self.of_metric) + len(self.of_loss)

    def ahead_in_metric(self, alpha: float) -> list[Comparison]:
        """Baselines that are better by the metric, the best first.

        Args:
            alpha: chance that any of the tests calls a difference sure that is none (Bonferroni).
        """
        return _surely_ahead(self.of_metric, alpha / max(1, self.tests))

    def ahead_in_loss(self, alpha: float) -> list[Comparison]:
        """Likewise by the loss alone."""
        ahead = _surely_ahead(self.of_loss, alpha / max(1, self.tests))
        by_metric = {comparison.baseline for comparison in self.ahead_in_metric(alpha)}
        return [comparison for comparison in ahead if comparison.baseline not in by_metric]

    def keeps_up_with(self, baseline: str) -> bool:
        """Whether the metric of the run is no worse, as it was measured.

        A baseline that was not tested by the metric is behind the strongest, and so behind the run.
        """
        if not self.metric or not self.of_metric:
            return False
        return all(
            comparison.ahead >= 0
            for comparison in self.of_metric
            if comparison.baseline == baseline
        )


def _surely_ahead(comparisons: Sequence[Comparison], alpha: float) -> list[Comparison]:
    """Baselines with which the run does not keep up (one-sided), the best first."""
    ahead = []
    for comparison in comparisons:
        if comparison.ahead < 0 and comparison.p / 2 < alpha:
            ahead.append(comparison)
    return sorted(ahead, key=lambda comparison: comparison.ahead)


def rivals(run: Run, comparisons: Sequence[Comparison]) -> Rivals | None:
    """What is compared: on test rows where there are any, as the checkpoint was chosen on others.

    None where nothing was.
    """
    splits = [comparison.split for comparison in comparisons]
    if not splits:
        return None
    split = "test" if "test" in splits else splits[0]
    on_split = [comparison for comparison in comparisons if comparison.split == split]
    metric = _metric(run, [comparison.name for comparison in on_split])
    of_loss = []
    if not _is_loss_wrapped(run):
        of_loss = [comparison for comparison in on_split if comparison.name == LOSS]
    of_metric = [comparison for comparison in on_split if metric and comparison.name == metric]
    return Rivals(split, metric, of_metric, of_loss)


def _metric(run: Run, names: Sequence[str]) -> str:
    """The score that stands for the run; empty: its loss."""
    wanted = run.settings.metric_for_best_model
    if wanted is not None:
        return wanted if wanted in names and wanted != LOSS else ""
    for name in USUAL_METRICS:
        if name in names:
            return name
    others = [name for name in names if name != LOSS]
    return others[0] if others else ""


def _is_loss_wrapped(run: Run) -> bool:
    """Whether a plugin adds to the loss or weighs it: baselines are scored without that."""
    return any(how == "wraps" for _, how in run.hooks.who("make_loss"))
