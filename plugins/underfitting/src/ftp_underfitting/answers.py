"""Does the model answer the same whatever it is asked?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ftp.types import Data, Predictions


@dataclass(frozen=True)
class OneAnswer:
    """The most frequent answer to held-out rows (`answer`, a class's name), its share among the `rows` answers, its share
    among the right ones (`truth`), and the number of rows whose right answer is another (`others`)."""

    answer: str
    share: float
    truth: float
    others: int
    rows: int


def one_answer(data: Data, predictions: Mapping[str, Predictions]) -> OneAnswer | None:
    """Answers of all held-out splits together; None where there are no class numbers, or the rows are all of one class."""
    given, right = list[int](), list[int]()
    for one in predictions.values():
        if not one.answers or "label" not in one.rows.column_names:
            continue
        for answer, label in zip(one.answers, one.rows["label"][:], strict=True):
            if isinstance(answer.answer, int) and isinstance(label, int):
                given.append(answer.answer)
                right.append(label)
    if len(set(right)) < 2:
        return None
    most, count = Counter(given).most_common(1)[0]
    name = data.labels[most] if 0 <= most < len(data.labels) else str(most)
    same = sum(label == most for label in right)
    return OneAnswer(name, count / len(given), same / len(right), len(right) - same, len(given))
