"""The page that a run writes of itself: at its end, where a check stopped it, and not where it was not wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.errors import RiskStop
from ftp.folder.log import read_log

FEW = {"max_steps": 2, "logging_steps": 1, "eval_steps": 1, "verify": False, "baselines": False, "max_train_rows": 40,
       "max_eval_rows": 24}


def run(model: Path, out: Path, **options: Any) -> Any:
    return ftp.run(["full", "sentiment"], model=str(model), out=str(out), **{**FEW, **options})


def test_a_run_writes_its_page_and_what_the_page_needs(tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(tiny_bert, out)
    page = (out / "report.html").read_text()
    risks = json.loads((out / "risks.json").read_text())
    assert risks and all(f'data-risk="{risk["name"]}" data-level="{risk["level"]}"' in page for risk in risks)
    assert "finished" in page and "not finished" not in page
    rows = [json.loads(line) for line in (out / "predictions" / "test.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == list(range(24)) and set(rows[0]) == {"row", "loss", "answer", "label", "scores"}
    examples = json.loads((out / "examples.json").read_text())
    wrong = sum(row["answer"] != row["label"] for row in rows)
    assert len(examples) == min(12, wrong) and all(row["answer"] != row["label"] for row in examples)
    assert json.loads((out / "data.json").read_text())["train"]["rows"] == 40


def test_a_run_that_a_check_stopped_says_so_on_its_page(tiny_bert: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "data", tmp_path / "run"
    folder.mkdir()
    rows = "text,label\n" + "".join(f"text number {word} of many,{word % 2}\n" for word in range(40))
    for split in ("train", "validation"):
        (folder / f"{split}.csv").write_text(rows)
    with pytest.raises(RiskStop):
        run(tiny_bert, out, data=str(folder))
    page = (out / "report.html").read_text()
    assert 'data-level="stop"' in page and "This run is <b>stopped</b>, not finished." in page


def test_no_page_and_no_texts_where_they_are_not_wanted(tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(tiny_bert, out, report=False, report_examples=0)
    assert not (out / "report.html").exists() and not (out / "examples.json").exists()
    assert (out / "predictions" / "test.jsonl").exists()


def test_a_page_that_fails_costs_no_run(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr("ftp.report.write", fail)
    out = tmp_path / "run"
    run(tiny_bert, out)
    messages = [line["message"] for line in read_log(out / "log.jsonl") if line["event"] == "told"]
    assert any("report.html could not be written (ValueError: no ink)" in message for message in messages)
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
