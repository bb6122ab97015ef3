"""The sentiment domain: what its sample promises, its scores, and a run on the sample."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.data.read import read
from ftp.types import Data
from ftp_sentiment import SAMPLE, Sentiment
from ftp_testing.models import tiny
from ftp_testing.samples import scores_of

TOPICS = {"films", "products", "food", "travel", "services", "work"}


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    return dict(read(SAMPLE))


def test_sentences_of_the_sample_are_in_one_split_only(sample: dict[str, Any]) -> None:
    assert list(sample) == ["train", "validation", "test"]
    texts = ["".join(letter for letter in text.lower() if letter.isalnum()) for rows in sample.values() for text in rows["text"]]
    assert len(texts) == len(set(texts)) and all(texts) and len(sample["train"]) >= 800
    for rows in sample.values():
        assert set(rows["topic"]) == TOPICS
        assert Counter(rows["label"]) == dict.fromkeys(("negative", "positive"), len(rows) // 2)


def test_scores_by_hand(sample: dict[str, Any]) -> None:
    from ftp.data import labels

    coded, names, _ = labels.encode(sample)
    rows = coded["test"]
    assert names == ("negative", "positive")

    data = Data({"test": rows}, "labelled", names)
    assert scores_of(Sentiment(), data, rows["label"][:]) == {"accuracy": 1.0, "macro_f1": 1.0, "mcc": 1.0}
    assert scores_of(Sentiment(), data, [1] * len(rows)) == pytest.approx({"accuracy": 0.5, "macro_f1": 1 / 3, "mcc": 0.0})


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
def test_a_run_answers_with_the_classes_of_its_data(own: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_train_rows": 40}
    if own:
        lines = ["text,label"] + [f"row {n} is {word},{word}" for n in range(12) for word in ("dull", "fair", "grand")]
        (tmp_path / "own.csv").write_text("\n".join(lines), encoding="utf-8")
        options = {"data": str(tmp_path / "own.csv"), "sentiment": {"labels": ("grand", "fair", "dull")}}
    ftp.run(["full", "sentiment", "-leakage"], model=str(tiny("bert", tmp_path / "model")), out=tmp_path / "run", max_steps=2,
            baselines=False, verify=False, report=False, device="cpu", cache_dir=tmp_path / "cache", **options)
    answer = ftp.load(tmp_path / "run").predict(["What a grand day."])[0]
    assert answer["answer"] in (("grand", "fair", "dull") if own else ("negative", "positive"))
