"""Thresholds and scores of several labels a row, by scikit-learn. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeGuard

from ftp.types import Data, Predictions, Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROWS_MEASURED = 100_000
"""Training rows that shares are taken from at most; a stream is read no further."""
FEWEST_ROWS = 3
"""Validation rows with a label that its threshold is tuned by, at least."""


def has_probabilities(answered: Predictions | None) -> TypeGuard[Predictions]:
    """Whether there are answers with the probability of each label."""
    return answered is not None and len(answered.answers) > 0 and answered.answers[0].scores is not None


def hot(rows: Sequence[Sequence[int]], labels: int) -> NDArray[np.int64]:
    """[rows, labels] int, 1 where a row has a label."""
    from sklearn.preprocessing import MultiLabelBinarizer

    table: NDArray[np.int64] = MultiLabelBinarizer(classes=range(labels)).fit_transform(rows)
    return table


def log_odds_of_labels(data: Data) -> NDArray[np.float64]:
    """[labels] the log odds that a training row has each label, as if there were one more row with it and one without."""
    import numpy as np

    train = [row["labels"] for row in islice(data.splits["train"].select_columns(["labels"]), ROWS_MEASURED)]
    counts = hot(train, len(data.labels)).sum(0)
    odds: NDArray[np.float64] = np.log(counts + 1) - np.log(len(train) - counts + 1)
    return odds


def best_thresholds(answered: Predictions, labels: int) -> list[float]:
    """For each label the probability from which on rows get it, so that its F1 on these rows is highest; 0.5 for a label that
    fewer than `FEWEST_ROWS` have. Log odds are compared to one digit, so that rounding errors decide nothing."""
    import numpy as np
    from scipy.special import expit, logit
    from sklearn.metrics import precision_recall_curve

    probabilities = np.array([prediction.scores for prediction in answered.answers])
    log_odds = logit(probabilities.clip(1e-6, 1 - 1e-6)).round(1)
    truth = hot(answered.rows["labels"], labels)
    thresholds = []
    for label in range(labels):
        # one row would put the threshold at its own probability, however low that is
        if truth[:, label].sum() < FEWEST_ROWS:
            thresholds.append(0.5)
            continue
        precision, recall, cuts = precision_recall_curve(truth[:, label], log_odds[:, label])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(f1[:-1].argmax())  # the last point is that of no row
        # half of a digit lower: all that was rounded to it lies above
        thresholds.append(float(expit(cuts[best] - 0.05)))
    return thresholds


def measure(data: Data, predictions: Mapping[str, Predictions], thresholds: Sequence[float] = ()) -> list[Score]:
    """For each split `micro_f1` (over all decisions), `macro_f1` (mean over labels; one that is never met or given counts 0) and
    `subset_accuracy` (share of the rows whose labels are all right, and no others)."""
    import numpy as np
    from sklearn.metrics import accuracy_score, f1_score

    from ftp.metrics import with_answers

    scores = []
    for split, labels_of_rows, answered in with_answers(predictions, "labels"):
        truth = hot(labels_of_rows, len(data.labels))
        answers = hot(answered, len(data.labels))
        if thresholds and has_probabilities(predictions[split]):  # thresholds may be newer than the answers
            probabilities = np.array([prediction.scores for prediction in predictions[split].answers])
            answers = (probabilities >= np.array(thresholds)).astype(np.int64)
        for average in ("micro", "macro"):
            f1 = float(f1_score(truth, answers, average=average, zero_division=0))
            scores.append(Score(f"{average}_f1", f1, "max", split))
        scores.append(Score("subset_accuracy", float(accuracy_score(truth, answers)), "max", split))
    return scores
