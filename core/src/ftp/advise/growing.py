"""Looks at growing numbers of rows, and the learning curve through their scores. Heavy: fits each look at each size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftp.advise.comparison import at
from ftp.advise.curve import drawn_values, fit_curve, sizes_up_to
from ftp.advise.lookers import Looker
from ftp.advise.scores import LOSS, Scorer
from ftp.advise.types import Curve, Metric, Outcome, Point, Situation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CURVE_DRAWS = 60
FEWEST_CURVE_ROWS = 16
ROWS_A_CLASS = 2
"""Rows of the smallest size of a curve for each class, at least."""


def cross_fitted(looker: Looker, name: str, folds: Sequence[int], num_rows: int | None = None) -> Outcome | None:
    """One look at all folds."""
    import numpy as np

    began = time.perf_counter()
    rows: list[NDArray[np.int64]] = []
    losses: list[NDArray[np.float64]] = []
    answers = []
    for fold in folds:
        answered = looker.answer(name, fold, num_rows)
        # one look with fewer folds than the others could not be compared with them
        if answered is None:
            return None
        rows.append(answered[0])
        losses.append(np.asarray(answered[1].losses, dtype=np.float64))
        answers += list(answered[1].answers)
    if not rows:
        return None
    num_fitted = looker.num_fitted(name, folds[0])
    return Outcome(name, np.concatenate(rows), np.concatenate(losses), answers, seconds=time.perf_counter() - began,
                   num_train_rows=num_fitted if num_rows is None else num_rows, folds=tuple(folds))


def curve_of(looker: Looker, scorer: Scorer, metric: Metric, name: str, situation: Situation) -> Curve | None:
    """The score of one look at growing numbers of rows, fitted."""
    import numpy as np

    fewest = max(FEWEST_CURVE_ROWS, ROWS_A_CLASS * len(situation.data.labels))
    num_fitted = min(looker.num_fitted(name, fold) for fold in looker.folds)
    outcomes = {}
    for size in sizes_up_to(num_fitted, fewest):
        outcome = cross_fitted(looker, name, looker.folds, size)
        if outcome is not None:
            outcomes[size] = outcome
    points = []
    by_size = []
    between_folds = []
    # one set of draws for all sizes: rows that are hard are hard at each of them, so that the curve is drawn as a whole
    generator = np.random.default_rng(situation.question.seed)
    draws: list[NDArray[np.int64]] = []
    for size, outcome in outcomes.items():
        num_rows = len(outcome.rows)
        draws = draws or [generator.integers(num_rows, size=num_rows) for _ in range(CURVE_DRAWS)]
        drawn = [scorer.value(metric, outcome, chosen) for chosen in draws]
        error = _error_between_folds(looker, scorer, metric, outcome)
        by_size.append(drawn)
        between_folds.append(error)
        # a score of 1 has an error too: one row more or less
        points.append(Point(size, scorer.value(metric, outcome), max(error, float(np.nanstd(drawn)), 1 / num_rows)))
    values = [point.value for point in points]
    # two points fit any curve
    if len(points) < 3 or not np.isfinite(values).all():
        return None
    is_share = metric.name != LOSS and all(0 <= value <= 1 for value in values) and metric.goal == "max"
    drawn_again = drawn_values(by_size, between_folds, situation.question.seed)
    return fit_curve(name, points, drawn_again, is_share, metric.goal)


def _error_between_folds(looker: Looker, scorer: Scorer, metric: Metric, outcome: Outcome) -> float:
    """The standard error of a score that its folds show; 0 where they are too few to say."""
    import numpy as np

    fold_of_row = scorer.pool.fold_of_row[outcome.rows]
    values = []
    for fold in looker.folds:
        of_fold = scorer.value(metric, at(outcome, np.flatnonzero(fold_of_row == fold)))
        if np.isfinite(of_fold):
            values.append(of_fold)
    # of two folds nobody knows a spread
    if len(values) < 3:
        return 0.0
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
