"""Errors of numbers, what they are compared with, and scores by SciPy and scikit-learn. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from ftp import UserError
from ftp.types import Data, Loss, Model, Prediction, Predictions, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor, nn

ROWS_MEASURED = 100_000
"""Rows that mean and spread of the scores are taken from at most; a stream is read no further."""


def last_layers(net: nn.Module) -> list[nn.Linear]:
    """The layer that gives the number, and its copy where PEFT keeps one."""
    from torch import nn

    return [module for module in net.modules() if isinstance(module, nn.Linear) and module.out_features == 1]


def row_losses(kind: str, numbers: Tensor, scores: Tensor, unit: float) -> Tensor:
    """[rows] the squared errors (mse), or Huber's loss with a delta of 1 (Huber 1964, doi:10.1214/aoms/1177703732).

    Args:
        unit: what the errors are divided by first.
    """
    from torch.nn.functional import huber_loss, mse_loss

    numbers = numbers.float() / unit
    scores = scores.float() / unit
    loss = huber_loss if kind == "huber" else mse_loss
    losses: Tensor = loss(numbers, scores, reduction="none")
    return losses


def mean_of_train(
    run: Run, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Dataset], held: Mapping[str, Dataset]
) -> dict[str, dict[str, Predictions]]:
    """The mean of the training scores, whatever the text."""
    import torch

    mean, _ = mean_and_spread(data)
    unit = float(getattr(model.net.config, "score_unit", 1.0))
    by_split = {}
    for split, rows in held.items():
        scores = torch.tensor(rows["score"][:])
        losses = row_losses(loss.name, torch.full_like(scores, mean), scores, unit).numpy()
        by_split[split] = Predictions(split, rows, [Prediction(mean)] * len(rows), float(losses.mean()), losses)
    return {"mean of train": by_split}


def mean_and_spread(data: Data) -> tuple[float, float]:
    """Mean and standard deviation of the training scores. Raises `UserError` where all are the same."""
    import numpy as np

    scores = [row["score"] for row in islice(data.splits["train"].select_columns(["score"]), ROWS_MEASURED)]
    spread = float(np.std(scores))
    if not spread:
        raise UserError(f"regress: all training rows have the same score, {scores[0]:g}; there is nothing to learn",
                        "map another column", "--columns score=NAME")
    return float(np.mean(scores)), spread


def measure(data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
    """For each split `pearson` and `spearman` (0 where all answers are the same) by SciPy, and `mae` by scikit-learn."""
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mean_absolute_error

    scores = []
    for split, answered in predictions.items():
        numbers = [prediction.answer for prediction in answered.answers]
        if "score" not in answered.rows.column_names or not all(isinstance(number, float) for number in numbers):
            continue  # another objective of the same rows gives no numbers
        truth = answered.rows["score"][:]
        is_constant = len(set(numbers)) < 2 or len(set(truth)) < 2
        for name, function in (("pearson", pearsonr), ("spearman", spearmanr)):
            scores.append(Score(name, 0.0 if is_constant else float(function(truth, numbers).statistic), "max", split))
        scores.append(Score("mae", float(mean_absolute_error(truth, numbers)), "min", split))
    return scores
