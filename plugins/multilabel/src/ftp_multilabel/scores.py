"""Thresholds and scores of several labels a row, by scikit-learn. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeGuard

from ftp.types import Data, Loss, Model, Prediction, Predictions, Run, Score

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray


def has_probabilities(answered: Predictions | None) -> TypeGuard[Predictions]:
    """Whether there are answers with the probability of each label."""
    return answered is not None and len(answered.answers) > 0 and answered.answers[0].scores is not None


def hot(rows: Sequence[Sequence[int]], labels: int) -> NDArray[np.int64]:
    """[rows, labels] int, 1 where a row has a label."""
    import numpy as np

    table = np.zeros((len(rows), labels), dtype=np.int64)
    for row_index, numbers in enumerate(rows):
        table[row_index, list(numbers)] = 1
    return table


def best_thresholds(answered: Predictions, labels: int) -> list[float]:
    """For each label the probability from which on rows get it, so that its F1 on these rows is highest; 0.5 for a label that no
    row has. Log odds are compared to one digit, so that rounding errors decide nothing."""
    import numpy as np
    from sklearn.metrics import precision_recall_curve

    probabilities = np.array([prediction.scores for prediction in answered.answers]).clip(1e-6, 1 - 1e-6)
    log_odds = np.log(probabilities / (1 - probabilities)).round(1)
    truth = hot(answered.rows["labels"], labels)
    thresholds = []
    for label in range(labels):
        if not truth[:, label].any():
            thresholds.append(0.5)
            continue
        precision, recall, cuts = precision_recall_curve(truth[:, label], log_odds[:, label])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(f1[:-1].argmax())  # the last point is that of no row
        cut = cuts[best] - 0.05  # half of a digit: all that was rounded to it lies above
        thresholds.append(float(1 / (1 + np.exp(-cut))))
    return thresholds


def measure(data: Data, predictions: Mapping[str, Predictions], thresholds: Sequence[float] = ()) -> list[Score]:
    """For each split `micro_f1` (over all decisions), `macro_f1` (mean over labels; one that is never met or given counts 0) and
    `subset_accuracy` (share of the rows whose labels are all right, and no others)."""
    import numpy as np
    from sklearn.metrics import accuracy_score, f1_score

    scores = []
    for split, answered in predictions.items():
        if "labels" not in answered.rows.column_names or not answered.answers or answered.answers[0].answer is None:
            continue
        truth = hot(answered.rows["labels"], len(data.labels))
        answers = hot([prediction.answer for prediction in answered.answers], len(data.labels))
        if thresholds and has_probabilities(answered):  # thresholds may be newer than the answers
            probabilities = np.array([prediction.scores for prediction in answered.answers])
            answers = (probabilities >= np.array(thresholds)).astype(np.int64)
        for average in ("micro", "macro"):
            f1 = float(f1_score(truth, answers, average=average, zero_division=0))
            scores.append(Score(f"{average}_f1", f1, "max", split))
        scores.append(Score("subset_accuracy", float(accuracy_score(truth, answers)), "max", split))
    return scores


def most_frequent(
    run: Run, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Dataset], held: Mapping[str, Dataset]
) -> dict[str, dict[str, Predictions]]:
    """The most frequent label of the training rows, always; its loss is that of the share of each label as its probability."""
    import numpy as np

    train = hot(data.splits["train"]["labels"][:], len(data.labels))
    # a share of 0 or 1 would cost infinitely many nats where it is wrong
    shares = train.mean(0).clip(1e-6, 1 - 1e-6)
    always = Prediction([int(shares.argmax())])
    by_split = {}
    for split, rows in held.items():
        truth = hot(rows["labels"], len(data.labels))
        losses = -np.where(truth, np.log(shares), np.log(1 - shares)).mean(1)
        by_split[split] = Predictions(split, rows, [always] * len(rows), float(losses.mean()), losses)
    return {"most frequent label": by_split}
