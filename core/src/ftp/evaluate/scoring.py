"""Scores of all plugins of a run, and which of them picks the best checkpoint."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ftp.data.domains import COLUMN
from ftp.errors import UserError, nearest
from ftp.plugins.several import joined_domains
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
    domains = {*data.domains, *(plugin.name for plugin in joined_domains(run.hooks.picked))}
    scores = _scores(run, data, predictions, model, without=domains)
    for domain, splits in data.domains.items():
        own = {}
        for split, of_all in predictions.items():
            if (of_domain := predictions_of(domain, of_all, splits)) is not None:
                own[split] = of_domain
        own_data = dataclasses.replace(data, splits=splits, domains={})
        for one in _scores(run, own_data, own, model, without=domains - {domain}) if own else ():
            scores.append(dataclasses.replace(one, name=f"{domain}/{one.name}"))
    return scores


def predictions_of(domain: str, of_all: Predictions, splits: Mapping[str, Dataset]) -> Predictions | None:
    """The predictions for the rows of one domain; None where there are none.

    Args:
        splits: the rows of the domain with all their columns, in the order in which they stand among the others.
    """
    import numpy as np

    numbers = np.flatnonzero(np.asarray(of_all.rows[COLUMN]) == domain)
    if not len(numbers):
        return None
    losses = of_all.losses[numbers]
    counts = np.ones(len(numbers)) if of_all.counts is None else of_all.counts[numbers]
    counts = np.where(np.isnan(losses), 0, counts)
    loss = float(np.nansum(losses * counts) / counts.sum()) if counts.sum() else math.nan
    answers = [of_all.answers[i] for i in numbers.tolist()] if of_all.answers else []
    metrics = of_all.domain_metrics.get(domain, {})
    own_rows = splits.get(of_all.split)
    if own_rows is None or len(own_rows) != len(numbers):  # a few rows of the split
        own_rows = of_all.rows.select(numbers)
    return Predictions(of_all.split, own_rows, answers, loss, losses, metrics, of_all.goals, counts)


def _scores(
    run: StartedRun, data: Data, predictions: Mapping[str, Predictions], model: Model, without: Iterable[str] = ()
) -> list[Score]:
    scores: dict[tuple[str, str], tuple[str, Score]] = {}
    for answer in run.hooks.each("evaluate", without=without, run=run, data=data, predictions=predictions, model=model):
        for one in answer.value:
            key = (one.name, one.split)
            if key in scores:
                raise UserError(f"score '{one.name}' of split '{one.split}' comes from '{scores[key][0]}' and '{answer.plugin}'",
                                "leave one of them out")
            rows = predictions[one.split].rows if one.split in predictions else ()
            scores[key] = (answer.plugin, dataclasses.replace(one, n=one.n or len(rows)))
    return [one for _, one in scores.values()]


def to_minimise(metric: str | None, scores: Sequence[Score]) -> float:
    """The number that picks the best checkpoint, lower is better."""
    name = metric or "loss"
    for one in scores:
        if one.name == name:
            if one.goal == "none":
                raise UserError(f"--metric-for-best-model {name}: neither way is better for it", f"one of: {_aims(scores)}")
            return one.value if one.goal == "min" else -one.value
    names = [one.name for one in scores if one.goal != "none"]
    raise UserError(f"--metric-for-best-model {name}: no plugin of this run gives it",
                    f"{nearest(name, names)} there are: {_aims(scores)}".strip())


def _aims(scores: Sequence[Score]) -> str:
    return ", ".join(dict.fromkeys(one.name for one in scores if one.goal != "none"))
