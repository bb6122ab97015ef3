"""Which splits have answers that can be compared with their rows. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ftp.types import Predictions


def with_answers(predictions: Mapping[str, Predictions], column: str) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Each split whose rows say what is right and whose rows were answered: its name, what is right, and the answers.

    Args:
        predictions: the answers of the model, by split.
        column: the column that says what is right.
    """
    for split, predicted in predictions.items():
        answers = [prediction.answer for prediction in predicted.answers]
        # an objective that only scores has no answers
        if answers and answers[0] is not None and column in predicted.rows.column_names:
            yield split, predicted.rows[column][:], answers  # a list, not a column that is read at each look
