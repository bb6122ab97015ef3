"""Linear models on words: what they see, what they cost, and what they say of classes that are rare."""

from __future__ import annotations

import time

import numpy as np
import pytest
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from ftp.evaluate import linear
from ftp.types import Data

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def vocabulary(size: int, seed: int = 0) -> list[str]:
    dice = np.random.default_rng(seed)
    return ["".join(dice.choice(list(LETTERS), 6)) for _ in range(size)]


def with_rare_word(rows: int, seed: int) -> Dataset:
    """Long texts; the class is whether one word is among them."""
    dice = np.random.default_rng(seed)
    words = vocabulary(300)
    texts, labels = [], []
    for _ in range(rows):
        label = int(dice.integers(2))
        text = dice.choice(words, 60).tolist()
        if label:
            text[int(dice.integers(60))] = "quorum"
        texts.append(" ".join(text))
        labels.append(label)
    return Dataset.from_dict({"text": texts, "label": labels})


def share_right(said: np.ndarray, labels: list[int]) -> float:
    return float((said.argmax(1) == np.array(labels)).mean())


def test_one_word_in_a_long_text_is_seen() -> None:
    train, test = with_rare_word(1000, 1), with_rare_word(200, 2)
    said = linear.on_words(Data({"train": train}, "labelled", ("no", "yes")), {"test": test}, "class")["test"]
    assert said.shape == (200, 2) and said.sum(1) == pytest.approx(1)
    assert share_right(said, test["label"][:]) > 0.95


def test_it_is_scikit_learns_own_model_at_the_strength_that_was_chosen() -> None:
    train, test = with_rare_word(120, 3), with_rare_word(40, 4)
    said = linear.on_words(Data({"train": train}, "labelled", ("no", "yes")), {"test": test}, "class")["test"]
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    features = words.fit_transform(train["text"][:])
    by_strength = []
    for strength in linear.STRENGTHS:
        own = LogisticRegression(C=strength, solver="liblinear", tol=1e-2).fit(features, train["label"][:])
        by_strength.append(own.predict_proba(words.transform(test["text"][:])))
    assert any(np.allclose(said, own, atol=1e-3) for own in by_strength)
    assert not np.allclose(by_strength[0], by_strength[-1], atol=1e-3), "the strength matters, so that the choice does"


def test_a_class_that_training_lacks_costs_much_but_not_everything() -> None:
    train = Dataset.from_dict({"text": ["red car", "blue sea", "red bus", "blue sky"] * 8, "label": [0, 1, 0, 1] * 8})
    test = Dataset.from_dict({"text": ["red car", "green tree"], "label": [0, 2]})
    said = linear.on_words(Data({"train": train}, "labelled", ("a", "b", "c")), {"test": test}, "class")["test"]
    assert said[0].argmax() == 0 and 1e-12 < said[1, 2] < 1e-6


def test_of_a_pair_it_sees_which_words_both_have() -> None:
    dice = np.random.default_rng(5)
    words = vocabulary(30)
    rows: dict[str, list] = {"text": [], "text_pair": [], "label": []}
    for _ in range(500):
        label = int(dice.integers(2))
        first = dice.choice(words, 6, replace=False)
        second = dice.permutation(first) if label else dice.choice(words, 6, replace=False)
        rows["text"].append(" ".join(first))
        rows["text_pair"].append(" ".join(second))
        rows["label"].append(label)
    whole = Dataset.from_dict(rows)
    train, test = whole.select(range(400)), whole.select(range(400, 500))
    said = linear.on_words(Data({"train": train}, "labelled", ("no", "yes")), {"test": test}, "class")["test"]
    assert share_right(said, test["label"][:]) > 0.9, "no word tells the class by itself"


@pytest.mark.parametrize("texts", [["", ""], ["a", "!"]])
def test_texts_without_words_have_no_such_baseline(texts: list[str]) -> None:
    train = Dataset.from_dict({"text": texts, "label": [0, 1]})
    assert linear.on_words(Data({"train": train}, "labelled", ("a", "b")), {"test": train}, "class") == {}


def test_rows_of_one_class_have_no_such_baseline() -> None:
    train = Dataset.from_dict({"text": ["red car", "blue sea"], "label": [1, 1]})
    assert linear.on_words(Data({"train": train}, "labelled", ("a", "b")), {"test": train}, "class") == {}


def test_choosing_the_strength_costs_no_more_than_a_few_fits() -> None:
    """Against one plain fit of the same rows in the same process, so that a busy machine changes nothing."""
    dice = np.random.default_rng(6)
    words = np.array(vocabulary(3000))
    labels = dice.integers(6, size=2000)
    texts = []
    for label in labels:
        own_words = dice.choice(words[2000 + 20 * label : 2020 + 20 * label], 3)  # what a class alone says
        texts.append(" ".join([*dice.choice(words[:2000], 17), *own_words]))
    train = Dataset.from_dict({"text": texts, "label": labels.tolist()})
    data = Data({"train": train}, "labelled", tuple("abcdef"))
    linear.on_words(Data({"train": train.select(range(50))}, "labelled", data.labels), {}, "class")  # what is imported once
    began = time.process_time()
    said = linear.on_words(data, {"test": train.select(range(100))}, "class")["test"]
    chosen = time.process_time() - began
    began = time.process_time()
    features = linear._Words(train, ["text"]).of(train)
    linear._fit_words(features, labels, "class", linear.STRENGTHS[-1])
    plain = time.process_time() - began
    assert chosen < 6 * plain, (chosen, plain)
    assert share_right(said, labels[:100].tolist()) > 0.9
