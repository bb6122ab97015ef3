"""Whether a run gives the score that is to pick its best checkpoint, known before it trains."""

from __future__ import annotations

from ftp.data.encode import encode, whole_answers
from ftp.data.look import spread
from ftp.errors import PluginError
from ftp.evaluate.predict import predict
from ftp.evaluate.scoring import score, to_minimise
from ftp.types import Data, Loss, Model, Score, StartedRun

ROWS = 16
"""Held-out rows that are answered to learn which scores there are."""


def check_metric(run: StartedRun, data: Data, model: Model, loss: Loss, is_rule: bool = False) -> bool:
    """Check `--metric-for-best-model` against the scores that this run's plugins give: whether it is one of them.

    Args:
        is_rule: nobody named the score, a rule did: it is told where no plugin gives it.

    Raises:
        UserError: somebody named a score that no plugin gives, or one for which neither way is better.
    """
    metric = run.settings.metric_for_best_model
    if metric in (None, "loss"):  # the loss is always there
        return True
    scores = scores_of_few_rows(run, data, model, loss)
    if is_rule and metric not in {score.name for score in scores}:
        run.tell(f"no plugin of this run gives {metric}: the validation loss picks the best checkpoint")
        return False
    if scores:
        to_minimise(metric, scores)
    return True


def scores_of_few_rows(run: StartedRun, data: Data, model: Model, loss: Loss) -> list[Score]:
    """The scores of a few validation rows, answered by the untuned model: their names are those of all evaluations.

    None where these rows have no trained term, or where a plugin cannot score so few.
    """
    rows = data.splits["validation"]
    numbers = spread(len(rows), ROWS)
    if data.domains:  # their held-out rows take turns, so that each has some among the first
        numbers = range(min(len(rows), max(ROWS, len(data.domains))))
    few = rows.select(list(numbers))
    encoded = encode(few, loss.encode_to_score, "validation", key=loss.key)
    encoded = whole_answers(encoded, run.settings.truncated_answers)
    if not len(encoded):
        return []
    predictions = predict(run, model, loss, few, encoded, "validation")
    try:
        return score(run, data, {"validation": predictions}, model)
    except PluginError:  # an average over classes that the few rows lack, for example: the evaluation will tell
        return []
