"""Is a run ahead of its baselines beyond chance? Both answered the same rows, so that rows are compared in pairs.

The loss is a mean over rows: its difference has a standard error in closed form (the paired t test). Any other score is
measured again on rows drawn with replacement (the bootstrap, Efron 1979), by the plugins that give it. A row that both answer
alike adds nothing to either side. Imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ftp.errors import PluginError, UserError
from ftp.evaluate.scoring import score
from ftp.types import Baseline, Comparison, Data, Model, Predictions, Score, StartedRun

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST_ROWS = 10
"""Rows below which nothing is compared."""
SECONDS = 2.0
"""Processor time for all scores of a run that are measured again."""
DRAWS_AT_ONCE = 20
"""Draws after which it is seen whether chance is ruled out already; fewer give no standard error."""
DRAWS_AT_MOST = 60
CLEAR = 4.0
"""Standard errors beyond which no more draws are needed."""
DRAWN = "drawn rows"
"""The split that drawn rows are named after: plugins that know the rows of a split must not take them for these."""

Answered = Mapping[str, Mapping[str, Predictions]]
"""What baselines answered: name of the baseline -> split -> its predictions."""


def compare(
    run: StartedRun,
    data: Data,
    model: Model,
    predictions: Mapping[str, Predictions],
    scores: Sequence[Score],
    answered: Answered,
    baselines: Sequence[Baseline],
) -> list[Comparison]:
    """Each score of a run beside that of its baselines, as far as it can be tested.

    The loss is tested against every baseline; other scores against the strongest one and those that are ahead of the run.

    Args:
        run: the run, whose plugins score drawn rows.
        data: its rows.
        model: the trained model.
        predictions: its answers to held-out rows, by split.
        scores: its scores on them.
        answered: the answers of the baselines.
        baselines: their scores.
    """
    watch = _Watch(run)
    comparisons = []
    # test first: should the time run out, it counts most
    for split in sorted(predictions, key=lambda split: split != "test"):
        of_run = predictions[split]
        others = {name: by_split[split] for name, by_split in answered.items() if split in by_split}
        tested = [own for own in scores if own.split == split and own.goal != "none"]
        if len(of_run.rows) < FEWEST_ROWS:
            continue
        values = {(other.baseline, other.name): other.value for other in baselines if other.split == split}
        comparisons += _compare_losses(of_run, tested, others, values)
        comparisons += _compare_scores(run, data, model, of_run, tested, others, values, watch)
    return comparisons


def with_intervals(baselines: Sequence[Baseline], comparisons: Sequence[Comparison]) -> list[Baseline]:
    """Scores of baselines with how far the run is ahead of them, where that was tested."""
    tested = {(made.baseline, made.name, made.split): made for made in comparisons}
    completed = []
    for other in baselines:
        comparison = tested.get((other.baseline, other.name, other.split))
        if comparison is not None:
            other = dataclasses.replace(other, low=comparison.low, high=comparison.high)
        completed.append(other)
    return completed


# --- the loss ---


def _compare_losses(
    of_run: Predictions, scores: Sequence[Score], others: Mapping[str, Predictions], values: Mapping[tuple[str, str], float]
) -> list[Comparison]:
    own = next((own for own in scores if own.name == "loss"), None)
    if own is None:
        return []
    comparisons = []
    for baseline, other in others.items():
        value = values.get((baseline, own.name))
        tested = paired_means(other.losses, of_run.losses, of_run.counts)
        if value is None or tested is None:
            continue
        ahead, error, num_rows = tested
        comparisons.append(_comparison(own, baseline, value, ahead, error, num_rows))
    return comparisons


def paired_means(
    others: NDArray[np.float64], own: NDArray[np.float64], counts: NDArray[np.float64] | None = None
) -> tuple[float, float, int] | None:
    """How much lower the mean of `own` is than that of `others`, its standard error, and the rows that both have.

    None where these are fewer than ten.

    Args:
        others: `[rows]`, NaN for a row without a value.
        own: of the same rows.
        counts: `[rows]` the terms that a row's value is the mean of; None: each row counts as one.
    """
    import numpy as np

    if len(others) != len(own):
        return None
    weights = np.ones(len(own)) if counts is None else np.nan_to_num(counts)
    in_both = np.isfinite(others) & np.isfinite(own) & (weights > 0)
    num_rows = int(in_both.sum())
    if num_rows < FEWEST_ROWS:
        return None
    differences = (others - own)[in_both]
    weights = weights[in_both] / weights[in_both].mean()
    ahead = float((weights * differences).mean())
    # of a ratio of two sums over rows (Cochran 1977, section 2.11); with equal weights the usual one of a mean
    residuals = weights * (differences - ahead)
    error = math.sqrt(float((residuals**2).sum()) / (num_rows - 1) / num_rows)
    return ahead, error, num_rows


# --- other scores ---


class _Watch:
    """The processor time that is left, by the watch of the main process: all processes must end alike."""

    def __init__(self, run: StartedRun) -> None:
        self.run = run
        self.used = 0.0  # seconds
        self.began = 0.0

    def begin(self) -> None:
        """Begin to count."""
        self.began = time.process_time()

    def has_time_for(self, draws: int, done: int) -> bool:
        """Whether there is time for more draws. Args: done: draws since `begin`."""
        passed = time.process_time() - self.began
        has_time = [self.used + passed * (done + draws) / done <= SECONDS]
        if self.run.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list(has_time)
        return has_time[0]

    def end(self) -> None:
        """Add what passed since `begin`."""
        self.used += time.process_time() - self.began


def _compare_scores(
    run: StartedRun,
    data: Data,
    model: Model,
    of_run: Predictions,
    scores: Sequence[Score],
    others: Mapping[str, Predictions],
    values: Mapping[tuple[str, str], float],
    watch: _Watch,
) -> list[Comparison]:
    """Scores of answers, measured again on drawn rows."""
    import numpy as np

    pairs = _pairs_to_test([own for own in scores if own.name != "loss"], others, values)
    contenders = {baseline: others[baseline] for _, baseline in pairs if _has_answers(others[baseline])}
    if not contenders or not _has_answers(of_run):
        return []
    goals = {own.name: own.goal for own in scores}
    pairs = [(own, baseline) for own, baseline in pairs if baseline in contenders]
    draws: dict[tuple[str, str], list[float]] = {(baseline, own.name): [] for own, baseline in pairs}
    num_rows = len(of_run.rows)
    generator = np.random.default_rng(run.settings.seed)
    for draw in range(1, DRAWS_AT_MOST + 1):
        indices = generator.integers(num_rows, size=num_rows)
        try:
            own_values = _scores_of(run, data, model, of_run, indices)
            for baseline, other in contenders.items():
                other_values = _scores_of(run, data, model, other, indices)
                for name in own_values.keys() & other_values.keys():
                    if (baseline, name) in draws:
                        draws[baseline, name].append(_ahead(goals[name], own_values[name], other_values[name]))
        except (PluginError, UserError):  # an average over classes that the drawn rows lack, for example
            return []
        # The first draw may import what scores, so that the second says what the others cost. Then it is asked after each twenty,
        # so that seldom the clock decides.
        if draw == 1:
            watch.begin()
        elif draw == 2 and not watch.has_time_for(DRAWS_AT_ONCE - 2, draw - 1):
            break
        elif draw % DRAWS_AT_ONCE == 0:
            is_settled = all(map(_is_clear, draws.values()))
            if is_settled or not watch.has_time_for(DRAWS_AT_ONCE, draw - 1):
                break
    watch.end()

    comparisons = []
    for own, baseline in pairs:
        drawn = draws[baseline, own.name]
        if len(drawn) >= DRAWS_AT_ONCE:
            value = values[baseline, own.name]
            ahead = _ahead(own.goal, own.value, value)
            error = float(np.std(drawn, ddof=1))
            comparisons.append(_comparison(own, baseline, value, ahead, error, min(num_rows, len(drawn))))
    return comparisons


def _pairs_to_test(
    scores: Sequence[Score], others: Mapping[str, Predictions], values: Mapping[tuple[str, str], float]
) -> list[tuple[Score, str]]:
    """Each score with the baselines that are ahead of the run in it, or else with the strongest."""
    pairs = []
    for own in scores:
        aheads = {}
        for baseline in others:
            value = values.get((baseline, own.name), math.nan)
            if math.isfinite(value) and math.isfinite(own.value):
                aheads[baseline] = _ahead(own.goal, own.value, value)
        for baseline, ahead in aheads.items():
            if ahead < 0 or ahead == min(aheads.values()):
                pairs.append((own, baseline))
    return pairs


def _has_answers(predictions: Predictions) -> bool:
    return any(prediction.answer is not None for prediction in predictions.answers)


def _scores_of(
    run: StartedRun, data: Data, model: Model, predictions: Predictions, indices: NDArray[np.int64]
) -> dict[str, float]:
    """The scores of drawn rows. What was measured as a mean over a whole split cannot be drawn, and is left out."""
    import numpy as np

    losses = predictions.losses[indices]
    counts = None if predictions.counts is None else predictions.counts[indices]
    weights = np.where(np.isfinite(losses), 1.0 if counts is None else counts, 0.0)
    loss = float((np.nan_to_num(losses) * weights).sum() / weights.sum()) if weights.sum() else math.nan
    answers = [predictions.answers[index] for index in indices.tolist()]
    drawn = Predictions(DRAWN, predictions.rows.select(indices), answers, loss, losses, counts=counts)
    return {own.name: own.value for own in score(run, data, {DRAWN: drawn}, model)}


def _ahead(goal: str, own: float, other: float) -> float:
    return own - other if goal == "max" else other - own


def _is_clear(draws: Sequence[float]) -> bool:
    """Whether a difference is far beyond chance, or none at all."""
    import numpy as np

    if not draws:  # drawn rows lack this score
        return True
    return bool(abs(np.mean(draws)) >= CLEAR * np.std(draws, ddof=1))


def _comparison(own: Score, baseline: str, value: float, ahead: float, error: float, num_rows: int) -> Comparison:
    """A difference with its 95 % interval and two-sided p value, by the t distribution.

    Args:
        ahead: how much better the run is.
        error: its standard error.
        num_rows: that it was measured on, or draws where these are fewer.
    """
    from scipy.special import stdtr, stdtrit  # scipy.stats takes half a second to import

    half_width = float(stdtrit(num_rows - 1, 0.975)) * error
    p = float(ahead == 0)  # where all rows differ alike
    if error > 0:
        p = 2 * float(stdtr(num_rows - 1, -abs(ahead) / error))
    return Comparison(baseline, own.name, own.split, own.value, value, ahead, ahead - half_width, ahead + half_width, p)
