"""What a run with several labels a row is compared with, on the same held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ftp.evaluate import linear
from ftp.types import Data, Loss, Model, Prediction, Predictions, StartedRun
from ftp_multilabel.scores import best_thresholds, hot

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray

Splits = Mapping[str, "Dataset"]


def measure(
    run: StartedRun, data: Data, model: Model, loss: Loss, encoded: Splits, held: Splits
) -> dict[str, dict[str, Predictions]]:
    """Always the most frequent label; a linear model on words; and a linear head on the untuned network."""
    linear_models = linear.both(run, data, model, loss, encoded, held, "labels")
    return {
        "most frequent label": most_frequent(data, held),
        **{name: with_thresholds(held, by_split) for name, by_split in linear_models.items()},
    }


def most_frequent(data: Data, held: Splits) -> dict[str, Predictions]:
    """The most frequent label of the training rows, always; its loss is that of the share of each label as its probability."""
    import numpy as np

    train = hot(data.splits["train"]["labels"][:], len(data.labels))
    # a share of 0 or 1 would cost infinitely many nats where it is wrong
    shares = train.mean(0).clip(1e-6, 1 - 1e-6)
    always = Prediction([int(shares.argmax())])
    by_split = {}
    for split, rows in held.items():
        losses = _losses(rows, np.tile(shares, (len(rows), 1)))
        by_split[split] = Predictions.of_rows(split, rows, [always] * len(rows), losses)
    return by_split


def with_thresholds(held: Splits, said: Mapping[str, NDArray[np.float64]]) -> dict[str, Predictions]:
    """Probabilities as answers, with thresholds tuned on the validation rows as those of the run are.

    The answers have no probabilities, by which the plugin would take them for those of the network and tune its thresholds.

    Args:
        said: by split `[rows, labels]`.
    """
    import numpy as np

    thresholds = np.array(0.5)
    if "validation" in said:
        answers = [Prediction([], tuple(row.tolist())) for row in said["validation"]]
        rows = held["validation"]
        answered = Predictions.of_rows("validation", rows, answers, np.zeros(len(rows)))
        thresholds = np.array(best_thresholds(answered, said["validation"].shape[1]))
    by_split = {}
    for split, probabilities in said.items():
        rows = held[split]
        answers = [Prediction(row.nonzero()[0].tolist()) for row in probabilities >= thresholds]
        by_split[split] = Predictions.of_rows(split, rows, answers, _losses(rows, probabilities))
    return by_split


def _losses(rows: Dataset, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """[rows] the mean over labels of the binary cross entropy, in nats."""
    import numpy as np

    truth = hot(rows["labels"][:], probabilities.shape[1])
    losses: NDArray[np.float64] = -np.where(truth, np.log(probabilities), np.log(1 - probabilities)).mean(1)
    return losses
