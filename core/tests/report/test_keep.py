"""What a run keeps for its report."""

from __future__ import annotations

import math

import numpy as np
import pytest
from datasets import Dataset

from ftp.report import keep
from ftp.types import Data, Prediction, Predictions

ROWS = Dataset.from_dict({"text": ["good", "bad", "fine", "awful"], "label": [1, 0, 1, 0]})
DATA = Data({"train": ROWS, "test": ROWS}, "labelled", ("no", "yes"))


def predictions(split: str = "test") -> Predictions:
    answers = [Prediction(1, (0.1, 0.9)), Prediction(1, (0.2, 0.8)), Prediction(0, (0.99, 0.01)), Prediction(0, (0.6, 0.4))]
    losses = np.array([0.1, 1.6, 4.6, math.nan])
    return Predictions(split, ROWS, answers, float(np.nanmean(losses)), losses)


def test_the_shape_of_each_split() -> None:
    encoded = {"train": Dataset.from_dict({"length": [3, 5, 40, 5]}), "test": Dataset.from_dict({"length": [2, 2, 2, 2]})}
    found = keep.shape(DATA, encoded)
    assert found["train"]["rows"] == 4 and found["train"]["classes"] == {"no": 2, "yes": 2}
    length = found["train"]["length"]
    assert (length["min"], length["median"], length["max"]) == (3, 5.0, 40)
    edges = np.asarray(length["histogram"]["edges"])
    assert sum(length["histogram"]["counts"]) == 4 and edges[-1] > 40
    assert len(set(np.diff(edges).tolist())) == 1  # bins of one width, or the picture would lie


def test_streams_say_that_they_are() -> None:
    stream = ROWS.to_iterable_dataset()
    assert keep.shape(Data({"train": stream}, "text"), {"train": stream}) == {"train": {"streamed": True}}


def test_answers_name_the_classes() -> None:
    lines = list(keep.answers(DATA, predictions()))
    assert lines[1] == {"row": 1, "loss": 1.6, "answer": "yes", "label": "no", "scores": [0.2, 0.8]}
    assert lines[3]["loss"] is None
    assert all("good" not in str(line) for line in lines)  # texts stay out


def test_examples_are_the_surest_mistakes() -> None:
    found = keep.examples(DATA, {"test": predictions(), "validation": predictions("validation")}, 5)
    assert [(one["split"], one["row"], one["sure"]) for one in found] == [("test", 2, 0.99), ("test", 1, 0.8)]
    assert found[0]["parts"] == [["text", "fine"]]
    assert len(keep.examples(DATA, {"test": predictions()}, 1)) == 1


def test_without_classes_the_highest_losses_are_shown() -> None:
    rows = Dataset.from_dict({"messages": [[{"role": "user", "content": "hi"}], [{"role": "user", "content": "no"}]]})
    seen = Predictions("validation", rows, [], 1.0, np.array([0.5, 2.0]))
    found = keep.examples(Data({"validation": rows}, "conversation"), {"validation": seen}, 1)
    assert found == [{"split": "validation", "row": 1, "loss": 2.0, "parts": [["messages", "user: no"]]}]


def test_a_long_text_says_what_is_left_out() -> None:
    (_, text), = keep.parts({"text": "x" * 1000, "number": 3, "none": None})
    assert text.startswith("x" * 600) and text.endswith("(400 more letters)")


@pytest.mark.parametrize(("row", "expected"), [
    ({"tokens": ["a", "b"], "tags": [0, 1]}, [["tokens", "a b"]]),
    ({"question": "q", "context": "c", "answers": {"text": ["t"], "answer_start": [0]}},
     [["question", "q"], ["context", "c"], ["answers", "t"]]),
    ({"prompt": [{"role": "user", "content": "p"}], "chosen": [{"role": "assistant", "content": "c"}]},
     [["prompt", "user: p"], ["chosen", "assistant: c"]]),
])
def test_rows_of_any_form_have_text(row: dict[str, object], expected: list[list[str]]) -> None:
    assert keep.parts(row) == expected


def test_bands_hold_the_mean_of_most_samples() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        losses = generator.exponential(1.0, 200)
        low, high = keep.bands(Predictions("validation", ROWS, [], float(losses.mean()), losses))["validation_loss"]
        held += low < 1.0 < high
    assert 270 <= held <= 296  # 95 % of 300 is 285
    assert keep.bands(None, Predictions("train", ROWS, [], 1.0, np.array([1.0]))) == {}
