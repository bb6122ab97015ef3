"""The scores of what was answered to rows of the pool, by the plugins of the run; and which of them counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ftp.advise.pool import HELD, Pool
from ftp.advise.types import Metric, Outcome, Situation
from ftp.errors import PluginError, UserError, nearest
from ftp.evaluate.scoring import score
from ftp.types import Model, Prediction, Predictions, Score, StartedRun

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOSS = "loss"


@dataclass(frozen=True)
class Scorer:
    """Scores answers to rows of the pool.

    Attributes:
        run: whose plugins score.
        pool: the rows.
        model: for plugins that ask for it; None: there is none at hand.
        drawn: values on drawn rows, which `ftp.advise.comparison` keeps here.
    """

    run: StartedRun
    pool: Pool
    model: Model | None = None
    drawn: dict[tuple[object, ...], tuple[float, ...]] = field(default_factory=dict)

    def scores(self, outcome: Outcome, chosen: NDArray[np.int64] | None = None) -> list[Score]:
        """All scores of an outcome.

        Args:
            outcome: what was answered.
            chosen: `[rows]` places among its rows, maybe with repeats; None: all of them.
        """
        import numpy as np

        places = np.arange(len(outcome.rows)) if chosen is None else chosen
        losses = outcome.losses[places]
        answers: Sequence[Prediction] = ()
        if outcome.answers:
            answers = [outcome.answers[place] for place in places.tolist()]
        is_scored = np.isfinite(losses)
        loss = float(losses[is_scored].mean()) if is_scored.any() else math.nan
        rows = self.pool.rows.select(outcome.rows[places])
        predictions = Predictions(HELD, rows, answers, loss, losses)
        # hooks promise a model; what scores answers alone does not look at it
        model = cast(Model, self.model)
        return score(self.run, self.pool.data, {HELD: predictions}, model)

    def value(self, metric: Metric, outcome: Outcome, chosen: NDArray[np.int64] | None = None) -> float:
        """One score of an outcome; NaN where these rows do not have it."""
        import numpy as np

        if metric.name == LOSS:
            losses = outcome.losses if chosen is None else outcome.losses[chosen]
            is_scored = np.isfinite(losses)
            return float(losses[is_scored].mean()) if is_scored.any() else math.nan
        try:
            scores = self.scores(outcome, chosen)
        except (PluginError, UserError):  # an average over classes that drawn rows lack, for example
            return math.nan
        return next((own.value for own in scores if own.name == metric.name), math.nan)


def metric_of(situation: Situation, scores: Sequence[Score]) -> Metric:
    """The score that counts: what the user names, else what picks the best of such a run, else the first that it shows.

    Args:
        situation: what was asked, and how much a run of these rows trains.
        scores: those that plugins give of any answers to these rows.

    Raises:
        UserError: the user names a score that no plugin gives, or one that is no better either way.
    """
    # a score that is no better either way decides nothing
    goals = {own.name: own.goal for own in scores if own.goal != "none"}
    goals.setdefault(LOSS, "min")
    asked = situation.question.goal
    if asked is not None:
        if asked not in goals:
            raise UserError(f"--goal {asked}: no plugin of these runs gives such a score",
                            f"{nearest(asked, goals)} there are: {', '.join(goals)}".strip())
        return Metric(asked, goals[asked], "as asked")
    prepared = situation.prepared
    best = prepared.settings.metric_for_best_model
    if best in goals:
        return Metric(str(best), goals[str(best)], prepared.reasons.get("metric_for_best_model", "as such a run picks its best"))
    # the loss counts where there is nothing else: of two classifiers the surer one is not the better one
    first = next((name for name in goals if name != LOSS), LOSS)
    return Metric(first, goals[first], "the first that such a run shows")
