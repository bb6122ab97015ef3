"""The tag domain: its sample, its scores, and a run from rows to tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.data.read import read
from ftp.types import Data
from ftp_tag import SAMPLE, Tag
from ftp_testing.models import tiny
from ftp_testing.samples import column_of, scores_of

KINDS = ("DATE", "LOC", "ORG", "PER")


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    return dict(read(SAMPLE))


def test_sentences_of_the_sample_are_in_one_split_only(sample: dict[str, Any]) -> None:
    assert list(sample) == ["train", "validation", "test"]
    texts = [" ".join(tokens).lower() for tokens in column_of(sample, "tokens")]
    assert len(texts) == len(set(texts)) == 121


def test_tags_of_the_sample_are_well_formed(sample: dict[str, Any]) -> None:
    for rows in sample.values():
        seen = set()
        for row in rows:
            assert len(row["tokens"]) == len(row["tags"])
            for before, tag in zip(["O", *row["tags"]], row["tags"], strict=False):
                assert not tag.startswith("I-") or before[2:] == tag[2:]
            seen |= {tag[2:] for tag in row["tags"]} - {""}
        assert seen == set(KINDS)


def test_perfect_tags_score_one(sample: dict[str, Any]) -> None:
    from ftp.data import labels

    coded, names, _ = labels.encode(sample, (), "tags", "tags")
    rows = coded["test"]
    assert set(names) == {"O", *(f"B-{kind}" for kind in KINDS), *(f"I-{kind}" for kind in KINDS)}
    data = Data({"test": rows}, "tagged", names)
    assert scores_of(Tag(), data, sample["test"]["tags"]) == {"accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    none = scores_of(Tag(), data, [["O"] * len(tags) for tags in rows["tags"]])
    assert none["f1"] == 0.0 and 0.5 < none["accuracy"] < 0.8


@pytest.mark.slow
def test_a_run_gives_each_word_a_tag(tmp_path: Path) -> None:
    model = tiny("bert", tmp_path / "model")
    ftp.run(["full", "tag"], model=str(model), out=tmp_path / "run", max_steps=2, max_train_rows=24, baselines=False,
            verify=False, report=False, device="cpu", cache_dir=tmp_path / "cache")
    tokens = ["Ravi", "lives", "in", "Cardiff", "."]
    answer = ftp.load(tmp_path / "run").predict([{"tokens": tokens}])[0]["answer"]
    assert len(answer) == len(tokens) and all(tag == "O" or tag[2:] in KINDS for tag in answer)


def test_rows_with_a_tag_too_few_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"tokens": ["Ravi", "left"], "tags": ["B-PER"]}\n' * 3)
    with pytest.raises(ftp.UserError, match="3 rows have another number of tags than tokens"):
        ftp.run(["full", "tag"], model=str(tiny("bert", tmp_path / "model")), data=str(tmp_path / "train.jsonl"),
                out=tmp_path / "run", cache_dir=tmp_path / "cache")
