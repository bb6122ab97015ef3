"""Does the model answer the same whatever it is asked?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ftp.types import Data, Predictions


@dataclass(frozen=True)
class OneAnswer:
    """The most frequent answer to held-out rows.

    `answer`: a class's name; `share`: of it among the `rows` answers; `truth`: among the right
    ones; `others`: the number of rows whose right answer is another.
    """

    answer: str
    share: float
    truth: float
    others: int
    rows: int


def one_answer(data: Data, predictions: Mapping[str, Predictions]) -> OneAnswer | None:
    """The most frequent answer to the rows of all held-out splits together.

    None where there are no class numbers, or the rows are all of one class.
    """
    answers: list[int] = []
    labels: list[int] = []
    for split_predictions in predictions.values():
        rows = split_predictions.rows
        if not split_predictions.answers or "label" not in rows.column_names:
            continue
        pairs = zip(split_predictions.answers, rows["label"][:], strict=True)
        for prediction, label in pairs:
            if isinstance(prediction.answer, int) and isinstance(label, int):
                answers.append(prediction.answer)
                labels.append(label)
    if len(set(labels)) < 2:
        return None
    most_frequent, count = Counter(answers).most_common(1)[0]
    name = str(most_frequent)
    if 0 <= most_frequent < len(data.labels):
        name = data.labels[most_frequent]
    num_right = labels.count(most_frequent)
    return OneAnswer(
        answer=name,
        share=count / len(answers),
        truth=num_right / len(labels),
        others=len(labels) - num_right,
        rows=len(answers),
    )
