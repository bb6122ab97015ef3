"""A package that core does not know brings forms, heads and file formats of its own, and each does a whole run."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp import heads
from ftp.data.readers import registered
from ftp.errors import UserError
from ftp.forms import ways
from ftp_testing.models import tiny

SOURCE = Path(__file__).parent / "outsider"
POINTS = """
[ftp]
grades = ftp_outsider:Grades
topics = ftp_outsider:Topics
neighbours = ftp_outsider:Neighbours
exams = ftp_outsider:Exams
[ftp.forms]
scored = ftp_outsider:SCORED
topics = ftp_outsider:TOPICS
triplet = ftp_outsider:TRIPLET
choice = ftp_outsider:CHOICE
[ftp.heads]
number = ftp_outsider:NUMBER
several = ftp_outsider:SEVERAL
vector = ftp_outsider:VECTOR
choice = ftp_outsider:CHOICES
[ftp.readers]
cards = ftp_outsider:CARDS
album = ftp_outsider:ALBUM
"""
WORDS = ("film", "soup", "bank", "bread", "letter", "price", "waiter", "card", "scene", "doctor")


def forget() -> None:
    for module in (ways, heads, registered):
        module.forget()


def plant(site: Path, points: str, name: str = "ftp-outsider") -> None:
    """A distribution that Python finds in `site`."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


@pytest.fixture
def outsider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package, installed; its folder."""
    site = tmp_path / "site"
    plant(site, POINTS)
    monkeypatch.syspath_prepend(str(SOURCE))
    monkeypatch.syspath_prepend(str(site))
    forget()
    yield site
    forget()
    sys.modules.pop("ftp_outsider", None)


def text(number: int) -> str:
    return " ".join(random.Random(number).sample(WORDS, 4))


ROWS: dict[str, Any] = {
    "scored": lambda number: {"text": text(number), "score": number % 7 / 2},
    "topics": lambda number: {"text": text(number), "topics": "|".join(WORDS[: number % 3])},
    "triplet": lambda number: {"query": text(number), "positive": text(number + 1000), "negative": text(number + 2000)},
    "choice": lambda number: {"question": text(number), "choices": [text(number + 1000), text(number + 2000)],
                              "answer": "AB"[number % 2]},
}  # fmt: skip


def write_rows(folder: Path, form: str) -> Path:
    """Rows of a form as .jsonl."""
    file = folder / f"{form}.jsonl"
    file.write_text("".join(json.dumps(ROWS[form](number)) + "\n" for number in range(24)), encoding="utf-8")
    return file


@dataclass(frozen=True)
class Case:
    """A run of a form, and what its answers look like."""

    plugins: tuple[str, ...]
    form: str
    head: str
    asked: Any
    auto: str


CASES = (
    Case(("full", "grades"), "scored", "number", "film soup", "AutoModelForSequenceClassification"),
    Case(("lora", "grades"), "scored", "number", "film soup", "AutoModelForSequenceClassification"),
    Case(("full", "topics"), "topics", "several", "film soup", "AutoModelForSequenceClassification"),
    Case(("full", "neighbours"), "triplet", "vector", "film soup", "AutoModel"),
    Case(("full", "exams"), "choice", "choice", {"question": "film", "choices": ["soup", "bread"]}, "AutoModelForMultipleChoice"),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case.plugins))
def test_a_run_with_a_form_and_a_head_of_another_package(outsider: Path, tmp_path: Path, case: Case) -> None:
    from ftp.model import export_whole
    from ftp_export.converters import _task

    rows = write_rows(tmp_path, case.form)
    model = tiny("bert", tmp_path / "base")
    out = tmp_path / "run"
    # verify: model/ is loaded in a fresh process by the code of its card and gives the same answers
    result = ftp.run([*case.plugins, "-duplicates"], model=str(model), data=str(rows), out=out, max_steps=2, batch_size=4,
                     eval_steps=1, device="cpu", cache_dir=tmp_path / "cache")
    assert {score.name for score in result.scores} >= {"loss"}
    facts = json.loads((out / "model" / "ftp.json").read_text())
    assert facts["head"] == case.head
    assert f"import {case.auto}" in (out / "model" / "README.md").read_text() or case.plugins[0] == "lora"
    answers = ftp.load(out).predict([case.asked])
    assert len(answers) == 1
    if case.form == "scored":
        assert isinstance(answers[0]["answer"], float)
        assert {"mae", "loss"} <= {score.name for score in result.scores}
        assert "mean of the training rows" in {baseline.baseline for baseline in result.baselines}
    if case.form == "topics":
        # no plugin of this run scores, so that the head does
        assert "subset_accuracy" in {score.name for score in result.scores}
        assert set(answers[0]["answer"]) <= set(WORDS[:2]) and set(answers[0]["scores"]) == set(WORDS[:2])
    # modules that the head does not read are neither trained nor complained of
    [looks] = [risk for risk in result.risks if risk.name == "preflight"]
    assert looks.level == "ok", looks.finding
    [underfitting] = [risk for risk in result.risks if risk.name == "underfitting"]
    assert "did not move" not in underfitting.finding
    assert ("nats" in underfitting.finding) == heads.get(case.head).loss_is_nats
    if case.form == "triplet":
        assert len(answers[0]["answer"]) == 32
    if case.form == "choice":
        assert answers[0]["answer"] in ("A", "B")
    whole = tmp_path / "whole"
    assert export_whole(out / "model", whole, dtype="fp32").difference < 1e-4
    if heads.get(case.head).export_task is not None:
        assert _task(whole) == heads.get(case.head).export_task


@pytest.mark.parametrize(("head", "target", "reason", "advised"), [
    ("several", "onnx", "there is no task of optimum for the head 'several'", "export it --to safetensors"),
    ("choice", "gguf", "this one ends in the head 'choice'", "export it --to safetensors"),
    ("vector", "gguf", "this one ends in the head 'vector'", "export it --to onnx or --to safetensors"),
    ("number", "onnx", "optimum's ONNX exporter is neither installed", "python -m venv optimum"),
])
def test_export_says_which_heads_a_format_has_room_for(
    outsider: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], head: str, target: str,
    reason: str, advised: str,
) -> None:
    """Before any converter is asked for: nobody installs one that cannot help."""
    from ftp.cli.main import call
    from ftp_export import converters

    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setattr(converters, "find_spec", lambda name: None)
    (tmp_path / "ftp.json").write_text(json.dumps({"head": head}))
    assert call(["export", str(tmp_path), "--to", target]) == 2
    message = capsys.readouterr().err
    assert reason in message and advised in message


def test_a_plan_knows_the_head_without_an_objective(outsider: Path) -> None:
    from ftp.plugins.plan import prepare

    task = prepare(["full", "topics"]).task
    assert (task.form, task.head) == ("topics", "several")
    with pytest.raises(UserError, match="--form labelled: 'grades' gives scored"):
        prepare(["full", "grades"], given=[("flags", {"form": "labelled"})])


def test_columns_of_the_form_are_mapped_checked_and_suggested(outsider: Path, tmp_path: Path) -> None:
    from ftp.data.read import read
    from ftp.data.target_form import shape

    def shaped(rows: list[dict[str, Any]], columns: dict[str, str] | None = None) -> Any:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return shape(read(file, columns=columns or {}), "scored")[0]["train"]

    similar = [{"text": text(number), "similarity": number / 2} for number in range(6)]
    with pytest.raises(UserError, match=r"--columns score=similarity"):
        shaped(similar)
    assert shaped(similar, {"score": "similarity"})["score"][:] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    with pytest.raises(UserError, match="score holds string, not a number"):
        shaped([{"text": "a", "score": "good"}])
    with pytest.raises(UserError, match="1 rows have no score"):
        shaped([{"text": "a", "score": 1.5}, {"text": "b", "score": None}])
    downhill = shape({"train": shaped(similar, {"score": "similarity"})}, "text")[0]["train"]
    assert downhill["text"][:] == [row["text"] for row in similar]


def test_labels_of_another_task_name_the_package_that_reads_them(outsider: Path) -> None:
    from ftp.data.unsupported_labels import lists_problem, numbers_problem

    decimals = numbers_problem("rows", [0.5, 1.5, 2.5])
    assert decimals is not None
    for fix in (decimals.fix, lists_problem("rows").fix):
        # packages of ours that are installed beside it read such rows too
        assert re.search(r"name a plugin of ([\w-]+ or )*ftp-outsider( or [\w-]+)*, which reads such rows", fix)


def test_a_file_format_of_another_package(outsider: Path, tmp_path: Path) -> None:
    from ftp.data.read import read

    file = tmp_path / "train.cards"
    file.write_text("text: film soup\nscore: 1.5\n\ntext: bank\nscore: 2\n", encoding="utf-8")
    rows = [{"text": "film soup", "score": 1.5}, {"text": "bank", "score": 2.0}]
    assert read(file)["train"].to_list() == rows
    assert list(read(file, streaming=True)["train"]) == rows
    assert read(tmp_path)["train"].to_list() == rows
    broken = tmp_path / "broken.cards"
    broken.write_text("text: film\nscore: 1\n\ntext: soup\nscore: many\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken.cards, row 1: the reader 'cards' of ftp-outsider failed: ValueError"):
        read(broken)
    whole = tmp_path / "all.album"
    whole.write_text("text: film\nscore: 1\n", encoding="utf-8")
    assert read(whole)["train"].to_list() == [{"text": "film", "score": 1.0}]
    with pytest.raises(UserError, match="'album' are read whole, so they cannot be streamed"):
        read(whole, streaming=True)
