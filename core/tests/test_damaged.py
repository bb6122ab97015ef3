"""A damaged run folder ends in words, and keeps nobody from the runs beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftp.cli.main import call
from ftp.folder import paths
from ftp.folder.files import Folder
from ftp.types import Baseline, Risk, Score

POLICY = """
at = "warn"
[risks]
leakage = "note"
[scores]
accuracy = {min = 0.5, beats_baselines = true}
"""


def make_run(path: Path) -> Path:
    """A finished run with every file that is read later."""
    path.mkdir()
    folder = Folder(path)
    folder.write_recipe('plugins = ["lora", "sentiment"]\n')
    plugin = {"name": "leakage", "distribution": "ftp-leakage", "version": "1", "sha256": "0", "kind": "risk", "summary": "L"}
    folder.write_lock([plugin])
    folder.write_facts(status="finished", plugins=["lora"], labels=["a", "b"], best_step=1, steps=2, seconds=1.0, trained=1,
                       total=2, model="tiny", device="cpu", reason="the schedule is done")
    folder.write_scores([Score("accuracy", 0.75, "max", "test", 4)], [Baseline("majority class", "accuracy", 0.5, "test", 4)])
    folder.write_risks([Risk("leakage", "ok", "nothing", {"rows": 4}, (), "end")])
    folder.write_data({"train": {"rows": 8, "classes": {"a": 4, "b": 4}, "length": {
        "min": 1, "median": 2.0, "p95": 3.0, "max": 3, "histogram": {"edges": [0, 2, 4], "counts": [4, 4]}}}})
    folder.write_inputs({"rows": {"train": "0"}, "model": {}})
    folder.write_examples([{"split": "test", "row": 3, "loss": 2.1, "answer": "a", "label": "b", "sure": 0.97,
                            "parts": [["text", "a row"]]}])
    folder.write_predictions("test", [{"row": row, "loss": 0.3, "answer": "a", "label": "ab"[row % 2], "scores": [0.9, 0.1]}
                                      for row in range(4)])
    steps = [{"event": "step", "step": step, "loss": 0.5, "grad_norm": 1.0, "learning_rate": 1e-3} for step in (1, 2)]
    (path / paths.LOG).write_text("".join(json.dumps(line) + "\n" for line in steps))
    return path


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def wrong_type(path: Path) -> None:
    path.write_bytes(b"{\"a\": 1}" if path.read_bytes().lstrip().startswith(b"[") else b"[1]")


def wrong_table(path: Path) -> None:
    path.write_bytes(b"[{\"a\": 1}]" if path.read_bytes().lstrip().startswith(b"[") else b"{\"a\": 1}")


def deep(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def unreadable(path: Path) -> None:
    path.unlink()
    path.symlink_to("/proc/self/mem")  # reading it fails, for root too


FILES = ("run.json", "run.toml", "plugins.lock", "scores.json", "risks.json", "data.json", "inputs.json", "examples.json",
         "log.jsonl", "predictions/test.jsonl", ".ftp.json")
DAMAGES = (empty, cut, binary, wrong_type, wrong_table, deep, folder, unreadable)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take a second, and hold nothing that a file says in words."""
    from ftp.report import charts

    for name in ("lines", "reliability", "lengths"):
        monkeypatch.setattr(charts, name, lambda *positional, **named: "")


@pytest.fixture
def run_command(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str]]]:
    """Do a command: its status, and all that it wrote. A traceback would be raised."""

    def do(*words: object) -> tuple[int, str]:
        status = call([str(word) for word in words])
        written = capsys.readouterr()
        return status, written.out + written.err

    yield do


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_ends_in_words_and_harms_no_other_run(
    tmp_path: Path, whole: Path, run_command: Callable[..., tuple[int, str]], name: str, damage: Callable[[Path], None]
) -> None:
    runs = tmp_path / "runs"
    hurt = shutil.copytree(whole, runs / "hurt")
    if not (hurt / name).exists():
        (hurt / name).write_text("{}")
    damage(hurt / name)
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    shutil.copytree(whole, runs / "whole")

    status, text = run_command("runs", runs)
    assert status == 0 and "whole" in text and "0.75" in text
    status, text = run_command("runs", runs, "--json")
    listed = {Path(run["run"]).name: run["status"] for run in json.loads(text)}
    assert status == 0 and listed.pop("whole") == "finished" and set(listed.values()) <= {"finished", "damaged", "?"}
    for words in (("gate", hurt), ("gate", hurt, "--policy", policy), ("report", hurt, "--out", tmp_path / "page.html"),
                  ("report", runs / "whole", hurt, "--out", tmp_path / "beside.html")):
        status, text = run_command(*words)
        assert status in (0, 1) or (status == 2 and str(hurt) in text), f"{words[0]} ends with {status}: {text}"
