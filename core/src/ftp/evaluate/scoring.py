"""Scores of all plugins of a run, and which of them picks the best checkpoint."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ftp.data.domains import COLUMN
from ftp.errors import UserError, nearest
from ftp.plugins.several import joined_domains
from ftp.settings import Settings
from ftp.types import Data, Model, Predictions, Score, StartedRun

if TYPE_CHECKING:
    from datasets import Dataset


def score(run: StartedRun, data: Data, predictions: Mapping[str, Predictions], model: Model) -> list[Score]:
    """Scores of all plugins. The same score of the same split from two of them is an error.

    In a run of several domains each of these scores its own rows alone, and all other plugins score all rows together and those
    of each domain: `medical/loss` is the loss on the rows of `medical`.
    """
    if not data.domains:
        return _scores(run, data, predictions, model)
    # plugins of domains know the answers that their own rows ask for; all others score any rows
    domains = set(data.domains)
    domains.update(plugin.name for plugin in joined_domains(run.hooks.picked))
    scores = _scores(run, data, predictions, model, without=domains)
    for domain, splits in data.domains.items():
        own = {}
        for split, of_all in predictions.items():
            if (of_domain := predictions_of(domain, of_all, splits)) is not None:
                own[split] = of_domain
        if not own:
            continue
        own_data = dataclasses.replace(data, splits=splits, domains={})
        for own_score in _scores(run, own_data, own, model, without=domains - {domain}):
            scores.append(dataclasses.replace(own_score, name=f"{domain}/{own_score.name}"))
    return scores


def predictions_of(domain: str, of_all: Predictions, splits: Mapping[str, Dataset]) -> Predictions | None:
    """The predictions for the rows of one domain; None where there are none.

    Args:
        splits: the rows of the domain with all their columns, in the order in which they stand among the others.
    """
    import numpy as np

    indices = np.flatnonzero(np.asarray(of_all.rows[COLUMN]) == domain)
    if not len(indices):
        return None
    losses = of_all.losses[indices]
    counts = np.ones(len(indices)) if of_all.counts is None else of_all.counts[indices]
    counts = np.where(np.isnan(losses), 0, counts)  # a row without a loss weighs nothing in the mean
    loss = float(np.nansum(losses * counts) / counts.sum()) if counts.sum() else math.nan
    answers = [of_all.answers[i] for i in indices.tolist()] if of_all.answers else []
    metrics = of_all.domain_metrics.get(domain, {})
    own_rows = splits.get(of_all.split)
    if own_rows is None or len(own_rows) != len(indices):  # a few rows of the split
        own_rows = of_all.rows.select(indices)
    return Predictions(of_all.split, own_rows, answers, loss, losses, metrics, of_all.goals, counts)


def _scores(
    run: StartedRun, data: Data, predictions: Mapping[str, Predictions], model: Model, without: Iterable[str] = ()
) -> list[Score]:
    scores: dict[tuple[str, str], Score] = {}
    plugin_of: dict[tuple[str, str], str] = {}
    for answer in run.hooks.each("evaluate", without=without, run=run, data=data, predictions=predictions, model=model):
        for score in answer.value:
            key = (score.name, score.split)
            if key in scores:
                raise UserError(f"score '{score.name}' of split '{score.split}' comes from '{plugin_of[key]}' and "
                                f"'{answer.plugin}'", "leave one of them out")
            rows = predictions[score.split].rows if score.split in predictions else ()
            scores[key] = dataclasses.replace(score, n=score.n or len(rows))
            plugin_of[key] = answer.plugin
    return list(scores.values())


def best_first(settings: Settings, scores: Sequence[Score]) -> list[Score]:
    """The scores with the one that picks the best before all others, as it is the one that counts."""
    return sorted(scores, key=lambda score: score.name != settings.metric_for_best_model)


def to_minimise(metric: str | None, scores: Sequence[Score]) -> float:
    """The number that picks the best checkpoint, lower is better.

    Args:
        metric: the name of a score; None: the loss.

    Raises:
        UserError: there is no such score, or neither way is better for it.
    """
    name = metric or "loss"
    with_goal = list(dict.fromkeys(score.name for score in scores if score.goal != "none"))
    for score in scores:
        if score.name != name:
            continue
        if score.goal == "none":
            raise UserError(f"--metric-for-best-model {name}: neither way is better for it", f"one of: {', '.join(with_goal)}")
        return score.value if score.goal == "min" else -score.value
    raise UserError(f"--metric-for-best-model {name}: no plugin of this run gives it",
                    f"{nearest(name, with_goal)} there are: {', '.join(with_goal)}".strip())
