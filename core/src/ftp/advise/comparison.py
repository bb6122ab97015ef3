"""Is one way of answering better than another? Both answered the same rows of the pool, so that rows are compared in pairs."""

from __future__ import annotations

from dataclasses import dataclass

from ftp.advise.scores import LOSS, Scorer
from ftp.advise.types import Metric, Outcome
from ftp.evaluate.paired import paired_means

DRAWS = 100
SHARE = 0.9
"""Of the intervals."""
NORMAL = 1.645
"""Standard errors to each side of a 90 % interval."""


@dataclass(frozen=True)
class Ahead:
    """How far one outcome is ahead of another on the rows that both answered.

    Attributes:
        value: of the difference, above 0 where the first is better; NaN where nothing can be compared.
        low: the lower end of its 90 % interval.
        high: the upper end.
        rows: that both answered.
    """

    value: float
    low: float
    high: float
    rows: int

    @property
    def is_surely_better(self) -> bool:
        return self.low > 0

    @property
    def is_surely_worse(self) -> bool:
        return self.high < 0


NOT_COMPARED = Ahead(float("nan"), float("-inf"), float("inf"), 0)


def ahead_in(scorer: Scorer, metric: Metric, own: Outcome, other: Outcome, seed: int = 0) -> Ahead:
    """How far an outcome is ahead of another in a score: the loss by the paired t test, any other score by the bootstrap.

    Args:
        scorer: scores drawn rows.
        metric: the score.
        own: the one.
        other: the other.
        seed: of the draws.
    """
    import numpy as np

    # rows that one of them did not answer would compare rows, not answers
    own, other = in_common(own, other)
    num_rows = len(own.rows)
    if metric.name == LOSS:
        tested = paired_means(other.losses, own.losses)
        if tested is None:
            return NOT_COMPARED
        value, error, num_rows = tested
        return Ahead(value, value - NORMAL * error, value + NORMAL * error, num_rows)
    if not num_rows:
        return NOT_COMPARED
    value = metric.ahead(scorer.value(metric, own), scorer.value(metric, other))
    own_values = drawn_values(scorer, metric, own, seed)
    other_values = drawn_values(scorer, metric, other, seed)
    drawn = [metric.ahead(own_value, other_value) for own_value, other_value in zip(own_values, other_values, strict=True)]
    # a draw may lack a class that a score asks for: a few such draws say nothing, many make the interval worthless
    finite = np.asarray(drawn)[np.isfinite(drawn)]
    if not np.isfinite(value) or len(finite) < DRAWS // 2:
        return NOT_COMPARED
    tail = (1 - SHARE) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Ahead(value, float(low), float(high), num_rows)


def drawn_values(scorer: Scorer, metric: Metric, outcome: Outcome, seed: int) -> tuple[float, ...]:
    """A score of an outcome on rows drawn with replacement, the same draws for every outcome of the same rows; measured once.

    Args:
        scorer: scores drawn rows, and keeps the values.
        metric: the score.
        outcome: what was answered.
        seed: of the draws.
    """
    import numpy as np

    # the same answers are compared with each other entry in turn, and a hundred scores take seconds
    key = (metric.name, outcome.entry, outcome.updates, outcome.num_train_rows, outcome.rows.tobytes(), seed)
    if key not in scorer.drawn:
        num_rows = len(outcome.rows)
        generator = np.random.default_rng(seed)
        values = []
        for _ in range(DRAWS):
            values.append(scorer.value(metric, outcome, generator.integers(num_rows, size=num_rows)))
        scorer.drawn[key] = tuple(values)
    return scorer.drawn[key]


def in_common(own: Outcome, other: Outcome) -> tuple[Outcome, Outcome]:
    """Both outcomes on the rows that both answered, in the order of their numbers."""
    import numpy as np

    rows, own_places, other_places = np.intersect1d(own.rows, other.rows, return_indices=True)
    del rows
    return at(own, own_places), at(other, other_places)


def at(outcome: Outcome, places: object) -> Outcome:
    """An outcome on some of its rows.

    Args:
        outcome: of more rows.
        places: `[rows] int64` among them.
    """
    import dataclasses

    import numpy as np

    chosen = np.asarray(places, dtype=np.int64)
    answers = [outcome.answers[place] for place in chosen.tolist()] if outcome.answers else ()
    return dataclasses.replace(outcome, rows=outcome.rows[chosen], losses=outcome.losses[chosen], answers=answers)
