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
    answers = [
        Prediction(1, (0.1, 0.9)),
        Prediction(1, (0.2, 0.8)),
        Prediction(0, (0.99, 0.01)),
        Prediction(0, (0.6, 0.4)),
    ]
    losses = np.array([0.1, 1.6, 4.6, math.nan])
    return Predictions(split, ROWS, answers, float(np.nanmean(losses)), losses)


def test_the_shape_of_each_split() -> None:
    encoded = {
        "train": Dataset.from_dict({"length": [3, 5, 40, 5]}),
        "test": Dataset.from_dict({"length": [2, 2, 2, 2]}),
    }
    train = keep.shape(DATA, encoded)["train"]
    assert train["rows"] == 4
    assert train["classes"] == {"no": 2, "yes": 2}
    length = train["length"]
    assert (length["min"], length["median"], length["max"]) == (3, 5.0, 40)
    edges = np.asarray(length["histogram"]["edges"])
    assert sum(length["histogram"]["counts"]) == 4
    assert edges[-1] > 40
    assert len(set(np.diff(edges).tolist())) == 1  # bins of one width, or the picture would lie


def test_streams_say_that_they_are() -> None:
    splits = {"train": ROWS.to_iterable_dataset()}
    assert keep.shape(Data(splits, "text"), splits) == {"train": {"streamed": True}}


def test_answers_name_the_classes() -> None:
    lines = list(keep.answers(DATA, predictions()))
    expected = {"row": 1, "loss": 1.6, "answer": "yes", "label": "no", "scores": [0.2, 0.8]}
    assert lines[1] == expected
    assert lines[3]["loss"] is None
    assert all("good" not in str(line) for line in lines)  # texts stay out


def test_an_answer_is_kept_as_its_head_shows_it() -> None:
    rows = Dataset.from_dict({"text": ["a"]})
    vector = Predictions("test", rows, [Prediction([0.6, 0.8])], 1.0, np.array([1.0]))
    data = Data({"test": rows}, "text")
    line, = keep.answers(data, vector, shown=lambda prediction, labels: {"answer": len(prediction.answer)})
    assert line["answer"] == 2
    example, = keep.examples(data, {"test": vector}, 1, shown=lambda prediction, labels: {"answer": "short"})
    assert example["answer"] == "short"


def test_examples_are_the_surest_mistakes() -> None:
    splits = {"test": predictions(), "validation": predictions("validation")}
    surest, second = keep.examples(DATA, splits, 5)
    assert (surest["split"], surest["row"], surest["sure"]) == ("test", 2, 0.99)
    assert (second["split"], second["row"], second["sure"]) == ("test", 1, 0.8)
    assert surest["parts"] == [["text", "fine"]]
    assert len(keep.examples(DATA, {"test": predictions()}, 1)) == 1


def test_without_classes_the_highest_losses_are_shown() -> None:
    conversations = [[{"role": "user", "content": "hi"}], [{"role": "user", "content": "no"}]]
    rows = Dataset.from_dict({"messages": conversations})
    without_answers = Predictions("validation", rows, [], 1.0, np.array([0.5, 2.0]))
    data = Data({"validation": rows}, "conversation")
    worst, = keep.examples(data, {"validation": without_answers}, 1)
    parts = [["messages", "user: no"]]
    assert worst == {"split": "validation", "row": 1, "loss": 2.0, "parts": parts}


def test_a_long_text_says_what_is_left_out() -> None:
    (_, text), = keep.parts({"text": "x" * 1000, "number": 3, "none": None})
    assert text.startswith("x" * 600) and text.endswith("(400 more letters)")


@pytest.mark.parametrize(("row", "expected"), [
    ({"tokens": ["a", "b"], "tags": [0, 1]}, [["tokens", "a b"]]),
    (
        {"question": "q", "context": "c", "answers": {"text": ["t"], "answer_start": [0]}},
        [["question", "q"], ["context", "c"], ["answers", "t"]],
    ),
    (
        {
            "prompt": [{"role": "user", "content": "p"}],
            "chosen": [{"role": "assistant", "content": "c"}],
        },
        [["prompt", "user: p"], ["chosen", "assistant: c"]],
    ),
])
def test_rows_of_any_form_have_text(row: dict[str, object], expected: list[list[str]]) -> None:
    assert keep.parts(row) == expected


def test_bands_hold_the_mean_of_most_samples() -> None:
    generator = np.random.default_rng(0)
    num_hits = 0
    for _ in range(300):
        losses = generator.exponential(1.0, 200)  # of mean 1
        sample = Predictions("validation", ROWS, [], float(losses.mean()), losses)
        low, high = keep.bands(sample)["validation_loss"]
        num_hits += low < 1.0 < high
    assert 270 <= num_hits <= 296  # 95 % of 300 is 285
    single_row = Predictions("train", ROWS, [], 1.0, np.array([1.0]))
    assert keep.bands(None, single_row) == {}
