"""What domains score with: SQuAD's exact match and F1 by hand, seqeval's own numbers, classes by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftp.data.chat_rows import UNANSWERABLE
from ftp.metrics import classification, reading, tagging
from ftp.metrics.answers import exact_match, normalised, word_f1
from ftp.metrics.entities import entities, entity_scores
from ftp.types import Data, Prediction, Predictions, Score


def scored(
    metric: Any, form: Any, rows: Sequence[Mapping[str, Any]], answers: Sequence[Any], labels: tuple[str, ...] = ()
) -> dict[str, float]:
    from datasets import Dataset

    split = Dataset.from_list([dict(row) for row in rows])
    predictions = Predictions("test", split, [Prediction(answer) for answer in answers], 0.0, np.zeros(len(rows)))
    scores: list[Score] = metric(Data({"test": split}, form, labels), {"test": predictions})
    assert all(score.split == "test" and score.goal == "max" for score in scores)
    return {score.name: score.value for score in scores}


# --- answers ---


@pytest.mark.slow
def test_answers_are_scored_as_torchmetrics_scores_them() -> None:
    """[prediction, answers, exact match, f1] by torchmetrics 1.9.0 (`pip install torchmetrics`), one pair at a time:
    `torchmetrics.functional.text.squad([{"prediction_text": prediction, "id": "0"}], [{"answers": {"answer_start": [0] *
    len(answers), "text": answers}, "id": "0"}])`, its percents divided by 100."""
    pairs = json.loads((Path(__file__).parent / "squad_pairs.json").read_text(encoding="utf-8"))
    assert len(pairs) > 100
    for text, answers, exact, f1 in pairs:
        rows = [{"answers": {"text": answers}}]
        scores = scored(reading, "question", rows, [text])
        assert (scores["exact_match"], scores["f1"]) == pytest.approx((exact, f1), abs=1e-5), (text, answers)


@pytest.mark.parametrize(("text", "plain"), [
    ("The Beatles", "beatles"), ("  an  apple,\ta pear ", "apple pear"), ("St. Mary's", "st marys"), ("theatre", "theatre"),
    ("a", ""), ("22-year-old", "22yearold"), ("Ünal", "ünal"),
])
def test_answers_are_normalised_as_squad_does_it(text: str, plain: str) -> None:
    assert normalised(text) == plain


@pytest.mark.parametrize(("answer", "text", "exact", "f1"), [
    ("Oslo", "oslo.", 1, 1.0),
    ("in March 2019", "March 2019", 0, 0.8),  # 2 of 2 words right, 2 of 3 found
    ("the red house", "a house", 0, 2 / 3),
    ("Oslo", "Bergen", 0, 0.0),
    ("very very good", "very good", 0, 0.8),  # a word counts as often as it stands there
    ("", "", 1, 1.0),
    ("", "Oslo", 0, 0.0),
    ("Oslo", "", 0, 0.0),
])
def test_words_of_one_answer(answer: str, text: str, exact: float, f1: float) -> None:
    assert exact_match(answer, text) == exact
    assert word_f1(answer, text) == pytest.approx(f1)


def asked(*texts: str) -> dict[str, Any]:
    return {"question": "?", "context": "...", "answers": {"text": list(texts), "answer_start": [0] * len(texts)}}


def test_the_best_of_several_answers_counts() -> None:
    scores = scored(reading, "question", [asked("Oslo", "in the city of Oslo"), asked("twelve")], ["the city of Oslo", "seven"])
    assert scores == pytest.approx({"exact_match": 0.0, "f1": (2 * 3 / (3 + 4)) / 2})


def test_questions_without_an_answer_are_told_apart() -> None:
    rows = [asked("Oslo"), asked(), asked("the"), asked("in March")]
    scores = scored(reading, "question", rows, ["Oslo", "", "Bergen", ""])
    assert scores == pytest.approx({"exact_match": 0.5, "f1": 0.5, "no_answer_accuracy": 0.5, "f1_answerable": 0.5})


def test_generated_answers_are_compared_with_the_last_turn() -> None:
    rows = [{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]}
            for text in ("Oslo", UNANSWERABLE, "in March", "not answered")]
    scores = scored(reading, "conversation", rows, ["Oslo", UNANSWERABLE, "March", None])
    assert scores == pytest.approx({"exact_match": 2 / 3, "f1": (1 + 1 + 2 / 3) / 3, "no_answer_accuracy": 1.0,
                                   "f1_answerable": (1 + 2 / 3) / 2})


@pytest.mark.parametrize("metric", [classification, reading, tagging])
def test_nothing_is_said_where_nothing_was_compared(metric: Any) -> None:
    assert scored(metric, "text", [{"text": "a"}], ["b"]) == {}
    assert scored(metric, "question", [asked("a")], [None]) == {}


# --- tags ---


def drawn(seed: int, marks: str) -> tuple[list[list[str]], list[list[str]]]:
    """Thirty sentences of random tags, and the same with three tags in ten drawn again."""
    dice = random.Random(seed)
    tags = ["O", "O"]  # twice as likely as any other
    for mark in marks:
        tags += [f"{mark}-PER", f"{mark}-LOC"]
    truth = []
    for _ in range(30):
        truth.append([dice.choice(tags) for _ in range(dice.randint(1, 12))])
    answers = []
    for row in truth:
        answers.append([tag if dice.random() < 0.7 else dice.choice(tags) for tag in row])
    return truth, answers


@pytest.mark.parametrize(("marks", "seed", "precision", "recall", "f1"), [
    ("BI", 1, 0.739837398374, 0.758333333333, 0.748971193416),
    ("BI", 2, 0.647058823529, 0.631147540984, 0.639004149378),
    ("I", 1, 0.65, 0.597701149425, 0.622754491018),
    ("I", 2, 0.527027027027, 0.557142857143, 0.541666666667),
    ("BIES", 1, 0.796178343949, 0.801282051282, 0.798722044728),
    ("BIES", 2, 0.740740740741, 0.729927007299, 0.735294117647),
])
def test_entities_are_counted_as_seqeval_counts_them(marks: str, seed: int, precision: float, recall: float, f1: float) -> None:
    """The numbers are those of seqeval 1.2.2 (default mode, micro average) on the same tags, most of them ill-formed."""
    assert entity_scores(*drawn(seed, marks)) == pytest.approx({"precision": precision, "recall": recall, "f1": f1}, abs=1e-11)


def test_entities_of_a_sentence() -> None:
    assert entities(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]) == [("PER", 0, 2), ("LOC", 3, 4), ("LOC", 4, 5)]
    assert entities(["B-PER", "I-LOC", "I-LOC"]) == [("PER", 0, 1), ("LOC", 1, 3)]
    assert entities(["U-PER", "B-LOC", "L-LOC", "U-PER"]) == [("PER", 0, 1), ("LOC", 1, 3), ("PER", 3, 4)]
    assert entities(["O", "NOUN"]) == []


def test_half_an_entity_is_no_entity() -> None:
    labels = ("O", "B-LOC", "I-LOC")
    rows = [{"tokens": ["New", "York", "waits"], "tags": [1, 2, 0]}, {"tokens": ["Oslo"], "tags": [1]}]
    scores = scored(tagging, "tagged", rows, [["B-LOC", "O", "O"], ["B-LOC"]], labels)
    assert scores == pytest.approx({"accuracy": 3 / 4, "precision": 0.5, "recall": 0.5, "f1": 0.5})
    parts = scored(tagging, "tagged", rows, [["VERB", "NOUN", "NOUN"], ["VERB"]], ("NOUN", "VERB", "DET"))
    assert parts == pytest.approx({"accuracy": 3 / 4})  # words of a kind, no entities


# --- classes ---


def test_classes_by_hand() -> None:
    rows = [{"text": str(n), "label": label} for n, label in enumerate([0, 0, 0, 1, 1, 2])]
    scores = scored(classification, "labelled", rows, [0, 0, 1, 1, 0, 0], ("a", "b", "c"))
    # f1 of a is 4/7, of b 2/4, of c 0; mcc (Gorodkin 2004): right*rows - sum(true*named), over the root of the spreads
    assert scores["accuracy"] == pytest.approx(3 / 6)
    assert scores["macro_f1"] == pytest.approx((4 / 7 + 2 / 4 + 0) / 3)
    assert scores["mcc"] == pytest.approx((6 * 3 - 16) / ((36 - 14) * (36 - 20)) ** 0.5)


def test_labels_said_in_words() -> None:
    rows = [{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]}
            for text in ("late delivery", "refund", "account", "refund")]
    assert scored(classification, "conversation", rows, [" Late  Delivery", "refunds", None, "refund"]) == {
        "exact_match": pytest.approx(2 / 3)}
