"""Rows that are longer than the model takes: cut at the end, counted, and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.losses.labels import make
from ftp.types import Task


def test_cut_rows_say_by_how_much(load: Any, run: Any) -> None:
    model = load("bert", "labels", ("no", "yes"))
    loss = make(run(Task("labelled", "labels"), max_length=8), None, model)
    short, long = loss.encode([{"text": "a b", "label": 0}, {"text": "a b " * 10, "label": 1}])
    whole = len(model.tokenizer("a b " * 10)["input_ids"])
    assert (short["cut"], long["cut"], len(long["input_ids"])) == (0, whole - 8, 8)
    assert long["input_ids"][-1] == model.tokenizer.sep_token_id


@pytest.mark.slow
def test_how_many_rows_are_cut_and_what_share_of_the_tokens_is_told(folder: Any, tmp_path: Path, capsys: Any) -> None:
    lines = ["text,label"] + [f"a b {n},{n % 2}" for n in range(20)] + [f"{'a ' * 40},{n}" for n in (0, 1)]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    (tmp_path / "validation.csv").write_text("text,label\na joy,1\na bore,0\n")
    ftp.run(["full", "sentiment", "-leakage"], data=str(tmp_path), model=str(folder("bert")), out=tmp_path / "run", max_steps=1,
            max_length=16, baselines=False, verify=False, report=False, device="cpu", cache_dir=tmp_path / "cache")
    printed = " ".join(capsys.readouterr().out.split())
    assert "train: 2 of 22 rows are longer than the model takes and are cut" in printed and "% of the tokens" in printed
    assert "validation: 2 of" not in printed
