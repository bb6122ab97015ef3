"""Thresholds and scores of several labels a row, by scikit-learn. Imports nothing heavy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from ftp.types import Data, Loss, Model, Prediction, Predictions, Run, Score


def has_probabilities(answered: Predictions | None) -> TypeGuard[Predictions]:
    """Whether there are answers with the probability of each label."""
    return answered is not None and len(answered.answers) > 0 and answered.answers[0].scores is not None


def hot(rows: Sequence[Sequence[int]], labels: int) -> Any:
    """[rows, labels] int, 1 where a row has a label."""
    import numpy as np

    table = np.zeros((len(rows), labels), dtype=int)
    for row, numbers in enumerate(rows):
        table[row, list(numbers)] = 1
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

    found = []
    for split, answered in predictions.items():
        if "labels" not in answered.rows.column_names or not answered.answers or answered.answers[0].answer is None:
            continue
        truth = hot(answered.rows["labels"], len(data.labels))
        if thresholds and has_probabilities(answered):  # thresholds may be newer than the answers
            given = np.array([prediction.scores for prediction in answered.answers]) >= np.array(thresholds)
        else:
            given = hot([prediction.answer for prediction in answered.answers], len(data.labels))
        found += [
            Score("micro_f1", float(f1_score(truth, given, average="micro", zero_division=0)), "max", split),
            Score("macro_f1", float(f1_score(truth, given, average="macro", zero_division=0)), "max", split),
            Score("subset_accuracy", float(accuracy_score(truth, given)), "max", split),
        ]
    return found


def most_frequent(
    run: Run, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Any], held: Mapping[str, Any]
) -> dict[str, dict[str, Predictions]]:
    """The most frequent label of the training rows, always; its loss is that of the share of each label as its probability."""
    import numpy as np

    train = data.splits["train"]["labels"][:]
    counts = Counter(number for numbers in train for number in set(numbers))
    shares = np.array([counts[number] / len(train) for number in range(len(data.labels))]).clip(1e-6, 1 - 1e-6)
    always = Prediction([int(shares.argmax())])
    found = {}
    for split, rows in held.items():
        truth = hot(rows["labels"], len(data.labels))
        losses = -np.where(truth, np.log(shares), np.log(1 - shares)).mean(1)
        found[split] = Predictions(split, rows, [always] * len(rows), float(losses.mean()), losses)
    return {"most frequent label": found}
