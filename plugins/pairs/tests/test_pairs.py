"""The pairs domain: its sample, its scores, and runs on rows of one's own."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.data.read import read
from ftp.types import Data
from ftp_pairs import SAMPLE, Pairs
from ftp_testing.models import tiny
from ftp_testing.samples import column_of, scores_of


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    return dict(read(SAMPLE))


def write(path: Path, rows: list[tuple[str, ...]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(path)


def test_sentences_of_the_sample_are_in_one_split_only(sample: dict[str, Any]) -> None:
    texts: dict[str, set[str]] = {}
    for split, rows in sample.items():
        texts[split] = {text.lower() for text in (*rows["text"], *rows["text_pair"])}
    assert list(texts) == ["train", "validation", "test"]
    assert not texts["train"] & (texts["validation"] | texts["test"]) and not texts["validation"] & texts["test"]
    columns = zip(column_of(sample, "text"), column_of(sample, "text_pair"), strict=True)
    pairs = list(map(frozenset, columns))
    assert len(pairs) == len(set(pairs)) == 260
    for rows in sample.values():
        assert Counter(rows["label"]) == dict.fromkeys(("different", "same"), len(rows) // 2)


def test_perfect_answers_score_one(sample: dict[str, Any]) -> None:
    from ftp.data import labels

    coded, names, _ = labels.encode(sample)
    rows = coded["test"]
    assert names == ("different", "same")

    data = Data({"test": rows}, "labelled", names)
    assert scores_of(Pairs(), data, rows["label"][:]) == {"accuracy": 1.0, "macro_f1": 1.0, "mcc": 1.0}
    assert scores_of(Pairs(), data, [0] * len(rows)) == pytest.approx({"accuracy": 0.5, "macro_f1": 1 / 3, "mcc": 0.0})


def test_a_row_without_its_second_text_is_refused(tmp_path: Path) -> None:
    from ftp_testing.domains import a_run

    rows = [{"text": f"a {number}", "text_pair": None if number == 2 else "b", "label": number % 2} for number in range(5)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ftp.UserError, match=r"1 rows of train have no text_pair; the first, counted from 0: \[2\]"):
        Pairs().load_data(a_run("labelled", str(tmp_path / "own.jsonl")))


@pytest.mark.slow
def test_a_run_reads_both_texts(tmp_path: Path, sample: dict[str, Any]) -> None:
    columns = [sample["train"][name] for name in ("text", "text_pair", "label")]
    own = write(tmp_path / "own.csv", [("sentence1", "sentence2", "label"), *zip(*columns, strict=True)])
    ftp.run(["full", "pairs"], model=str(tiny("bert", tmp_path / "model")), data=own, out=tmp_path / "run", max_steps=2,
            baselines=False, verify=False, report=False, device="cpu", cache_dir=tmp_path / "cache")
    finished = ftp.load(tmp_path / "run")
    same, different = finished.predict([
        {"text": "The lake is frozen.", "text_pair": "There is ice on the lake."},
        {"text": "The lake is frozen.", "text_pair": "Prices rose by 2.5 percent in March."}])
    assert same["answer"] in ("different", "same") and same["scores"] != different["scores"]


def test_rows_with_one_text_are_refused(tmp_path: Path) -> None:
    own = write(tmp_path / "own.csv", [("text", "label"), *[(f"sentence {n}", "ab"[n % 2]) for n in range(20)]])
    with pytest.raises(ftp.UserError, match="no column 'text_pair' in train") as error:
        ftp.run(["full", "pairs"], model=str(tiny("bert", tmp_path / "model")), data=own, out=tmp_path / "run")
    assert "--columns text=NAME,text_pair=NAME" in str(error.value)
