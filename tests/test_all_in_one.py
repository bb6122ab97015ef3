"""A package of another author that takes over all of training: it resumes exactly, and passes the kit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent

CHECKS = ("class-is-sound", "hooks-are-typed", "says-what-it-does", "fields-are-options", "options-round-trip", "builds-a-loss")
"""Those of the kit that look at the plugin itself; its runs are those of the test above."""


@pytest.fixture(scope="module")
def command(tiny_bert_dropout: Path, reviews: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[str]]:
    """The command of a run of 12 updates with a checkpoint after every third."""
    cache = tmp_path_factory.mktemp("cache")

    def words(out: Path) -> list[str]:
        return [
            "run", "--plugins=-leakage", "--plugins-from", reviews, "--plugins-from", f"{HERE / 'ftp_all_in_one.py'}:AllInOne",
            "--model", str(tiny_bert_dropout), "--device", "cpu", "--precision", "fp32", "--cache-dir", str(cache),
            "--batch-size", "8", "--epochs", "2", "--learning-rate", "0.05", "--eval-steps", "4", "--save-steps", "3",
            "--logging-steps", "1", "--no-baselines", "--no-verify", "--out", str(out),
        ]  # fmt: skip

    return words


@pytest.mark.slow
def test_it_is_killed_and_resumed_and_ends_the_same(live, command, seen, tmp_path: Path) -> None:
    results = []
    for name in ("whole", "killed"):
        out = tmp_path / name
        # in the second epoch, between two checkpoints
        trap = {"action": "kill", "where": "an update begins", "number": 9 if name == "killed" else -1}
        life = live(command(out), out, trap)
        status = life.end()
        if name == "killed":
            assert status == -signal.SIGKILL, life.text
            life = live(["run", "--resume", str(out), "--trust-recipe"], out)
            status = life.end()
        assert status == 0, life.text
        results.append(seen(out))
    assert results[0] == results[1]

    # each of its answers was taken: the schedule, the order of rows and the mean of the weights
    rates = [rate for _, _, rate in results[0].steps.values()]
    assert rates == pytest.approx([0.05 / (1 + 4 * step / 12) for step in range(12)])
    last = sorted((tmp_path / "whole" / "checkpoints").glob("[!.]*"))[-1]
    trained = load_file(last / "weights.safetensors")
    saved = torch.load(last / "state.pt", weights_only=True)
    assert saved["plugins"]["all-in-one"]["updates"] == json.loads((last / "manifest.json").read_text())["step"]
    assert any(not torch.equal(trained[name], weight) for name, weight in saved["evaluated_weights"].items())


@pytest.mark.slow
def test_it_passes_the_kit_without_its_long_runs(tmp_path: Path) -> None:
    info = tmp_path / "ftp_all_in_one-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ftp-all-in-one\nVersion: 1.0\nRequires-Dist: ftp-core>=0.1,<1\n")
    (info / "entry_points.txt").write_text("[ftp]\nall-in-one = ftp_all_in_one:AllInOne\n")
    paths = os.pathsep.join([str(tmp_path), str(HERE)])
    program = [sys.executable, "-m", "ftp", "check", "all-in-one", "--json"]
    for name in CHECKS:
        program += ["--only", name]
    ended = subprocess.run(program, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert ended.returncode == 0, ended.stdout + ended.stderr
