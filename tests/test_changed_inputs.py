"""A run that is resumed goes on with the rows and the base model that it began with, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from ftp import checkpoint
from ftp.cli.main import call

HALT = '''
import os
from ftp import hookimpl, plugin

@plugin
class Halt:
    """Ctrl-C at the event that the file `when` names."""

    @hookimpl
    def on_event(self, event):
        if os.path.exists("when") and open("when").read() == f"{event.name} {event.step}":
            raise KeyboardInterrupt
'''
Resume = Callable[..., str]


def write(folder: Path, flipped: str = "") -> None:
    """Three splits; the labels of one of them may be the other way round."""
    folder.mkdir(exist_ok=True)
    for split, count in (("train", 24), ("validation", 6), ("test", 6)):
        rows = [{"text": f"{split} {number}: a warm room", "label": (number + (split == flipped)) % 2} for number in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def resume(tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Resume:
    """Begin a run that is interrupted after its second update, or (`early`) before its first; change something; resume it."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows")
    shutil.copytree(tiny_bert, tmp_path / "base")
    (tmp_path / "halt.py").write_text(HALT)

    def run(change: Callable[[], Any], *more: str, status: int = 2, early: bool = False) -> str:
        (tmp_path / "when").write_text("started 0" if early else "saved 2")
        given = ["run", "--plugins=full,sentiment,-leakage,-underfitting,-overfitting", "--data", "rows", "--model", "base",
                 "--out", "run", "--plugins-from", "halt.py:Halt", "--device", "cpu", "--precision", "fp32", "--max-steps", "4",
                 "--save-steps", "2", "--batch-size", "8", "--no-baselines", "--no-verify", "--no-report", "--cache-dir", "cache"]
        assert call([*given, *more]) == 130
        assert checkpoint.any_in(tmp_path / "run" / "checkpoints") is not early
        (tmp_path / "when").unlink()
        capsys.readouterr()
        change()
        got, said = call(["run", "--resume", "run"]), capsys.readouterr()
        assert got == status, said.err
        return " ".join((said.out + said.err).split())

    return run


def other_weights() -> None:
    """One number of many, in place."""
    weights = load_file("base/model.safetensors")
    next(iter(weights.values())).view(-1)[7] += 1
    save_file(weights, "base/model.safetensors", metadata={"format": "pt"})


def test_what_is_the_same_goes_on(resume: Resume) -> None:
    said = resume(lambda: write(Path("rows")), status=0)  # written anew, with the same rows
    assert "going on after update 2 of 4" in said and "not checked" not in said


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_other_rows_are_refused(resume: Resume, split: str) -> None:
    said = resume(lambda: write(Path("rows"), flipped=split))
    assert f"the rows of {split} changed since this run began" in said and "--out" in said and "run.toml" in said


def test_another_base_model_is_refused(resume: Resume) -> None:
    assert "the base model (model.safetensors) changed since this run began" in resume(other_weights)


def test_the_command_that_is_told_starts_afresh(resume: Resume, tmp_path: Path) -> None:
    said = resume(other_weights)
    words = said.partition("try: ftp ")[2].split()
    assert call(words) == 0 and (tmp_path / "run-anew" / "scores.json").exists()


def test_nothing_was_learnt_from_what_changed_before_the_first_checkpoint(resume: Resume) -> None:
    def change() -> None:
        write(Path("rows"), flipped="train")
        other_weights()

    assert "training begins anew" in resume(change, early=True, status=0)


def test_a_stream_is_told_and_the_other_splits_are_compared(resume: Resume) -> None:
    said = resume(lambda: write(Path("rows"), flipped="test"), "--streaming")
    assert "train is a stream: whether its rows are those that the run began with is not checked" in said
    assert "the rows of test changed" in said
