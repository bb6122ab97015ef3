"""What tests of a domain ask of its sample: the values of a column, and what known answers score. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftp.types import Data, Prediction, Predictions


def column_of(splits: Mapping[str, Any], name: str) -> list[Any]:
    """The values of a column in all splits."""
    values: list[Any] = []
    for rows in splits.values():
        values += rows[name]
    return values


def scores_of(plugin: Any, data: Data, answers: Sequence[object], split: str = "test") -> dict[str, float]:
    """The scores that a plugin's `evaluate` gives to these answers, by name.

    Args:
        answers: One for each row of the split, as the loss would answer: the number of a class, a text, a list of tags.
    """
    import numpy as np

    rows: Any = data.splits[split]
    predicted = [Prediction(answer) for answer in answers]
    predictions = Predictions(split, rows, predicted, 0.0, np.zeros(len(rows)))
    return {score.name: score.value for score in plugin.evaluate(data, {split: predictions})}
