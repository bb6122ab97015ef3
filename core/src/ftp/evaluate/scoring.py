"""Scores of all plugins of a run, and which of them picks the best checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ftp.errors import UserError, nearest
from ftp.types import Data, Model, Predictions, Score, StartedRun


def score(run: StartedRun, data: Data, predictions: Mapping[str, Predictions], model: Model) -> list[Score]:
    """Scores of all plugins. The same score of the same split from two of them is an error."""
    scores: dict[tuple[str, str], tuple[str, Score]] = {}
    for answer in run.hooks.each("evaluate", run=run, data=data, predictions=predictions, model=model):
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
