"""Accuracy of choices, and what it is compared with. Imports nothing heavy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ftp.metrics import with_answers
from ftp.types import Data, Loss, Model, Prediction, Predictions, Run, Score

if TYPE_CHECKING:
    from datasets import Dataset


def measure(data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
    """For each split `accuracy`; where choices are equally likely, the right one counts its share."""
    scores = []
    for split, truths, answers in with_answers(predictions, "answer"):
        right = 0.0
        for truth, prediction in zip(truths, predictions[split].answers, strict=True):
            likeliest = [prediction.answer]
            if prediction.scores is not None:
                best = max(prediction.scores)
                likeliest = [choice for choice, score in enumerate(prediction.scores) if score == best]
            right += (truth in likeliest) / len(likeliest)
        scores.append(Score("accuracy", right / len(answers), "max", split))
    return scores


def guesses(
    run: Run, data: Data, model: Model, loss: Loss, encoded: Mapping[str, Dataset], held: Mapping[str, Dataset]
) -> dict[str, dict[str, Predictions]]:
    """All choices alike; and the place that the right choice has most often in the training rows."""
    import numpy as np

    counts = Counter(map(int, data.splits["train"]["answer"]))
    baselines: dict[str, dict[str, Predictions]] = {"chance": {}, "most frequent place": {}}
    for split, rows in held.items():
        for baseline, by_split in baselines.items():
            answers = []
            losses = []
            for choices, truth in zip(rows["choices"], rows["answer"], strict=True):
                weights = np.ones(len(choices))
                # one more than the count, so that no place is impossible
                if baseline == "most frequent place":
                    weights += [counts[i] for i in range(len(choices))]
                shares = weights / weights.sum()
                answers.append(Prediction(int(shares.argmax()), tuple(shares.tolist())))
                losses.append(-float(np.log(shares[int(truth)])))
            by_split[split] = Predictions.of_rows(split, rows, answers, np.array(losses))
    return baselines
