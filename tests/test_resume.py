"""A run that is stopped in whatever way goes on to the end that it would have had."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ftp.data import batches
from ftp.folder.checkpoints import set_aside, step_of
from ftp.train import checkpoint

ROWS, BATCH, STEPS = 41, 8, 18  # six updates an epoch, the last with one row


def arguments(model: Path, plugin: str, cache: Path, *more: object) -> list[str]:
    fixed = ["run", "--plugins=-leakage", "--plugins-from", plugin, "--reviews.rows", ROWS, "--model", model, "--device", "cpu",
             "--precision", "fp32", "--cache-dir", cache, "--batch-size", BATCH, "--eval-steps", 4, "--logging-steps", 1,
             "--no-baselines", "--no-verify"]
    words: list[object] = list(fixed)
    for flag, value in {"--save-steps": 3, "--epochs": 3, "--learning-rate": 5e-3, "--head-init": "random"}.items():
        if flag not in more:
            words += [flag, value]
    return [str(word) for word in (*words, *more)]


@pytest.fixture(scope="module")
def command(tiny_bert_dropout: Path, reviews: str, tmp_path_factory) -> Callable[..., list[str]]:
    cache = tmp_path_factory.mktemp("cache")
    return lambda *more: arguments(tiny_bert_dropout, reviews, cache, *more)


@pytest.fixture(scope="module")
def unbroken(live, command, seen, tmp_path_factory):
    """A run that nothing happens to, and its moments."""
    out, moments = tmp_path_factory.mktemp("unbroken") / "run", tmp_path_factory.mktemp("moments") / "moments"
    life = live(command("--out", out), out, {"moments": str(moments)})
    assert life.end() == 0, life.text
    result = seen(out)
    assert list(result.steps) == list(range(1, STEPS + 1))
    return result, moments.read_text().splitlines()


def kills(moments: list[str]) -> list[dict[str, object]]:
    """Where a chain of lives ends, one after the other: before the first save, in saves, between them, in the last files."""
    dice = random.Random(14)
    first = next(index for index, label in enumerate(moments) if "/checkpoints/." in label)
    before = sum("an update begins" in label for label in moments[:first])
    return [
        {"where": "an update begins", "number": dice.randint(1, before)},
        {"where": ".partial-", "number": dice.randint(1, 4)},  # a file of the first save
        {"where": "", "number": dice.randint(first, len(moments) // 2)},
        {"where": "event Step", "number": dice.randint(1, 4)},
        {"where": ".partial-", "number": 10 + dice.randint(1, 4)},
        {"where": "rename", "number": dice.randint(2, 6)},
        {"where": "/model", "number": 1},
    ]


def test_killed_again_and_again_it_ends_the_same(live, command, seen, unbroken, tmp_path: Path) -> None:
    """kill -9 at seeded random moments, during saves among them, each time the resumed run; the last one is let live."""
    expected, moments = unbroken
    out, line, reached, halves = tmp_path / "run", command("--out", tmp_path / "run"), [], 0
    for trap in kills(moments):
        life = live(line, out, {"action": "kill", **trap})
        assert life.end() == -signal.SIGKILL, f"{trap}: {life.text}"
        halves += any(why == "partial" for _, _, why in set_aside(out / "checkpoints"))
        newest = checkpoint.newest(out / "checkpoints")
        reached.append((newest and step_of(newest)) or 0)
        line = ["run", "--resume", str(out)]
    life = live(line, out)
    assert life.end() == 0, life.text
    assert halves >= 2  # it was killed during saves
    assert reached == sorted(reached) and reached[0] == 0 and reached[-1] == STEPS  # it never went back
    assert seen(out) == expected
    assert not list((out / "checkpoints").glob(".*"))
    life = live(line, out)
    assert life.end() == 2 and "finished" in life.text


@pytest.mark.parametrize("where, number, more", [
    ("/model", 1, ("--early-stopping-patience", 1, "--learning-rate", 0.03)),  # ended early, killed before it was done
    ("an update begins", 11, ("--reviews.stream", "--streaming", "--max-steps", 14)),  # the place in a stream
])
def test_killed_late_it_ends_the_same(live, command, seen, tmp_path: Path, where: str, number: int, more: tuple) -> None:
    runs = []
    for name in ("whole", "killed"):
        out = tmp_path / name
        trap = {"action": "kill", "where": where, "number": number if name == "killed" else -1}
        life = live(command("--out", out, *more), out, trap)
        status = life.end()
        if name == "killed":
            assert status == -signal.SIGKILL, life.text
            life = live(["run", "--resume", str(out)], out)
            status = life.end()
        assert status == 0, life.text
        runs.append((seen(out), json.loads((out / "run.json").read_text())["reason"]))
    assert runs[0] == runs[1]
    assert ("no better for 1" in runs[0][1]) == ("--early-stopping-patience" in more)


def test_killed_at_random_times_it_ends_the_same(live, command, seen, unbroken, tmp_path: Path) -> None:
    """kill -9 from outside, whatever the run is doing."""
    out, dice = tmp_path / "run", random.Random(7)
    line = command("--out", out)
    for _ in range(3):
        life = live(line, out)
        before = (out / "log.jsonl").read_text() if (out / "log.jsonl").exists() else ""
        wait_for(lambda seen=before: (out / "log.jsonl").exists() and (out / "log.jsonl").read_text() != seen)
        time.sleep(dice.uniform(0.1, 1.0))
        os.kill(life.pid, signal.SIGKILL)
        if life.end() == 0:  # it was done before
            break
        line = ["run", "--resume", str(out)]
    else:
        life = live(line, out)
        assert life.end() == 0, life.text
    assert seen(out) == unbroken[0]


def test_ctrl_c_saves_and_says_how_to_go_on(live, command, seen, unbroken, tmp_path: Path) -> None:
    out = tmp_path / "run"
    life = live(command("--out", out), out, {"action": "interrupt", "where": "an update begins", "number": 8})
    assert life.end() == 130, life.text
    assert f"ftp run --resume {out}" in life.text and "Traceback" not in life.text
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None and step_of(newest) == 8
    life = live(["run", "--resume", str(out)], out)
    assert life.end() == 0, life.text
    assert seen(out) == unbroken[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_other_signals_save_and_end_as_ctrl_c_does(live, command, tmp_path: Path, number: int) -> None:
    out = tmp_path / "run"
    life = live(command("--out", out), out, {"action": int(number), "where": "an update begins", "number": 2})
    assert life.end() == 130, life.text
    assert f"ftp run --resume {out}" in life.text and "Traceback" not in life.text
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None and step_of(newest) == 2


def test_a_signal_before_training_ends_with_a_word(live, command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    trap = {"action": int(signal.SIGHUP), "where": "open " + str(out / "log.jsonl"), "number": 1}
    life = live(command("--out", out), out, trap)
    assert life.end() == 130, life.text
    assert f"stopped; go on with: ftp run --resume {out}" in life.text and "Traceback" not in life.text


def test_a_hangup_that_is_ignored_stays_ignored(live, command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    trap = {"action": int(signal.SIGHUP), "where": "an update begins", "number": 2, "ignored": [int(signal.SIGHUP)]}
    life = live(command("--out", out, "--epochs", 1), out, trap)
    assert life.end() == 0, life.text
    assert (out / "model").is_dir()


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(live, command, seen, unbroken, tmp_path: Path) -> None:
    out = tmp_path / "run"
    life = live(command("--out", out), out, {"action": "kill", "where": "an update begins", "number": 14})
    assert life.end() == -signal.SIGKILL
    damaged = checkpoint.newest(out / "checkpoints")
    assert damaged is not None
    with (damaged / "weights.safetensors").open("r+b") as file:
        file.seek(-3, 2)
        file.write(b"\x55")
    life = live(["run", "--resume", str(out)], out)
    assert life.end() == 0, life.text
    assert damaged.name in life.text and "damaged" in life.text
    assert seen(out) == unbroken[0]


def test_disk_full_keeps_the_last_good_checkpoint(live, command, seen, unbroken, tmp_path: Path) -> None:
    out = tmp_path / "run"
    life = live(command("--out", out), out, {"action": "full", "where": "state.pt", "number": 5})  # the second or third save
    assert life.end() == 2, life.text
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None
    assert f"disk full while saving step {int(newest.name[5:]) + 1}" in life.text.replace("\n", " ")
    assert f"last good checkpoint: {newest.name.replace('-', ' ')}" in life.text and f"ftp run --resume {out}" in life.text
    life = live(["run", "--resume", str(out)], out)
    assert life.end() == 0, life.text
    assert seen(out) == unbroken[0]


def test_a_disk_that_is_really_full(live, command, seen, unbroken, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root; the test above stands for it")
    try:
        out = disk / "run"
        life = live(command("--out", out), out)
        assert life.end() == 2, life.text
        assert "disk full while saving" in life.text and "Traceback" not in life.text
        assert checkpoint.newest(out / "checkpoints") is not None
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        life = live(["run", "--resume", str(out)], out)
        assert life.end() == 0, life.text
        assert seen(out) == unbroken[0]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("fail, word", [("nan", "loss is nan"), ("infinite", "gradient")])
def test_not_a_number_stops_and_names_the_rows(live, command, tmp_path: Path, fail: str, word: str) -> None:
    out = tmp_path / "run"
    life = live(command("--out", out, "--reviews.fail", fail, "--save-steps", 1), out)
    assert life.end() == 2, life.text
    lengths = [1] * ROWS
    rows = batches.plan(lengths, batch_size=BATCH, seed=0, epoch=0)[3]
    assert word in life.text and ", ".join(map(str, rows)) in " ".join(life.text.split())
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None and step_of(newest) == 3
    assert all(torch.isfinite(value).all() for value in load_file(newest / "weights.safetensors").values())
    facts = json.loads((out / "run.json").read_text())
    assert facts["status"] == "stopped" and word in facts["reason"]


def wait_for(condition: Callable[[], bool], within: float = 60) -> None:
    """Wait until it holds, for `within` seconds at most."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
