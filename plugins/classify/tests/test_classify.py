"""The classify domain: its sample, its scores, and a run from rows to classes."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.data.read import read
from ftp.types import Data
from ftp_classify import SAMPLE, Classify
from ftp_testing.models import tiny
from ftp_testing.samples import column_of, scores_of

CLASSES = ("account", "delivery", "payment", "product", "returns")


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    return dict(read(SAMPLE))


def test_messages_of_the_sample_are_in_one_split_only(sample: dict[str, Any]) -> None:
    assert list(sample) == ["train", "validation", "test"]
    texts = [text.lower() for text in column_of(sample, "text")]
    assert len(texts) == len(set(texts)) == 150
    for rows in sample.values():  # as many of each class
        assert Counter(rows["label"]) == dict.fromkeys(CLASSES, len(rows) // 5)


def test_perfect_answers_score_one(sample: dict[str, Any]) -> None:
    from ftp.data import labels

    coded, names, _ = labels.encode(sample)
    rows = coded["test"]
    assert names == CLASSES

    data = Data({"test": rows}, "labelled", names)
    assert scores_of(Classify(), data, rows["label"][:]) == {"accuracy": 1.0, "macro_f1": 1.0, "mcc": 1.0}
    constant = scores_of(Classify(), data, [0] * len(rows))
    assert constant == pytest.approx({"accuracy": 0.2, "macro_f1": (2 * 5 / 30) / 5, "mcc": 0.0})


@pytest.mark.slow
def test_a_run_on_a_file_of_ones_own(tmp_path: Path, sample: dict[str, Any]) -> None:
    with (tmp_path / "own.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("desk", "message"), *zip(sample["train"]["label"], sample["train"]["text"], strict=True)])
    ftp.run(["full", "classify"], model=str(tiny("bert", tmp_path / "model")), data=str(tmp_path / "own.csv"),
            columns=("text=message", "label=desk"), out=tmp_path / "run", max_steps=2, baselines=False, verify=False,
            report=False, device="cpu", cache_dir=tmp_path / "cache")
    assert ftp.load(tmp_path / "run").predict(["Where is my parcel?"])[0]["answer"] in CLASSES
