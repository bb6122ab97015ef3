"""Two processes train as one: the same losses, one writer, one end.

Where a test is about what is trained and not about how processes start and end, they are forked (`forks.ends`): a second each
instead of six.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ftp.folder.checkpoints import step_of
from ftp.train import checkpoint
from ftp_testing import forks

ROWS, STEPS = 41, 12  # updates of 8 rows, and each sixth of a single row: one rank has none then


@pytest.fixture(scope="module")
def command(tiny_bert: Path, reviews: str, tmp_path_factory) -> Callable[..., list[str]]:
    cache = tmp_path_factory.mktemp("cache")
    fixed = ["run", "--plugins=-leakage", "--plugins-from", reviews, "--reviews.rows", ROWS, "--model", tiny_bert, "--device",
             "cpu", "--precision", "fp32", "--cache-dir", cache, "--batch-size", 8, "--learning-rate", 5e-3,
             "--eval-steps", 4, "--logging-steps", 1, "--no-baselines", "--no-verify", "--no-report", "--micro-batch-size", 3]
    return lambda *more: [str(word) for word in (*fixed, *more, *([] if "--max-steps" in more else ["--epochs", 2]))]


def start(program: list[str], arguments: list[str], **environment: str) -> subprocess.Popen:
    clean = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return subprocess.Popen([sys.executable, "-m", *program, *arguments], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env={**clean, "OMP_NUM_THREADS": "1", **environment})


def end(process: subprocess.Popen) -> tuple[int, str]:
    try:
        text, _ = process.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        raise
    return process.returncode, text


@pytest.fixture(scope="module")
def alone(live, command, seen, tmp_path_factory):
    """The run in one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    life = live(command("--out", out), out)
    assert life.end() == 0, life.text
    return seen(out)


@pytest.fixture(scope="module")
def together(command, tmp_path_factory) -> tuple[Path, str, str]:
    """The run in two: its folder, what it said, and what rank 1 wrote."""
    out, written = tmp_path_factory.mktemp("together") / "run", tmp_path_factory.mktemp("written") / "writes.txt"
    status, text = end(start(["ftp"], command("--out", out, "--processes", 2), TEST_WRITES=str(written)))
    assert status == 0, text
    return out, text, written.read_text()


def test_losses_are_those_of_one_process(alone, together, seen) -> None:
    """Each update, accumulated over micro-batches; the last of an epoch, which has a single row, included."""
    found = seen(together[0])
    assert list(found.steps) == list(alone.steps) == list(range(1, STEPS + 1))
    for step, (loss, norm, rate) in alone.steps.items():
        assert found.steps[step] == pytest.approx((loss, norm, rate), rel=1e-5, abs=1e-5), f"update {step}"
    for one, other in zip(alone.scores["scores"], found.scores["scores"], strict=True):
        assert {**one, "value": 0} == {**other, "value": 0} and one["value"] == pytest.approx(other["value"], abs=1e-5)


def test_hidden_tokens_are_those_of_one_process(live, command, seen, tmp_path: Path) -> None:
    """What mlm hides depends on the row and the step, not on the rank: a domain's texts, in blocks of one or two."""
    given = ["--plugins=mlm,-leakage", *command("--mlm.block_size", 16)[2:]]
    out = tmp_path / "alone"
    life = live(["run", *given, "--out", str(out)], out)
    assert life.end() == 0, life.text
    status, text = forks.ends(["run", *given, "--out", str(tmp_path / "two")], ranks=2)
    assert status == 0, text
    one, two = seen(out), seen(tmp_path / "two")
    assert list(two.steps) == list(one.steps) and len(one.steps) >= 4
    for step, (loss, norm, rate) in one.steps.items():
        assert two.steps[step] == pytest.approx((loss, norm, rate), abs=1e-5), f"update {step}"


def test_sharded_weights_train_as_whole_ones(alone, command, seen, tmp_path: Path) -> None:
    """FSDP2 over two processes, stopped half way and taken up again: the losses and weights of one process."""

    out = tmp_path / "run"
    first = start(["ftp"], command("--out", out, "--processes", 2, "--shard", "--save-steps", 4))
    log = out / "log.jsonl"
    while first.poll() is None and not (log.exists() and '"step": 6' in log.read_text()):
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    status, text = end(first)
    assert status == 130, text
    status, text = forks.ends(["run", "--resume", str(out)], ranks=2)
    assert status == 0, text
    found = seen(out)
    assert list(found.steps) == list(alone.steps)
    for step, (loss, norm, _) in alone.steps.items():
        assert found.steps[step][:2] == pytest.approx((loss, norm), abs=1e-4), f"update {step}"
    for one, other in zip(alone.scores["scores"], found.scores["scores"], strict=True):
        assert one["value"] == pytest.approx(other["value"], abs=1e-4)


def test_it_is_told_once_and_only_rank_0_writes(together) -> None:
    out, text, written = together
    assert text.count("evaluation after update 4") == 1 and "2 processes" in text
    assert written.startswith("watching") and str(out) not in written, f"rank 1 wrote:\n{written}"


def test_a_rank_that_dies_ends_all_with_its_error(command, tmp_path: Path) -> None:
    began = time.monotonic()
    process = start(["ftp"], command("--out", tmp_path / "run", "--processes", 2, "--reviews.fail", "die"))
    status, text = end(process)
    assert status == 13, text
    assert text.count("rank one has had enough") == 1 and "rank 1 ended with status 13" in text
    facts = tmp_path / "run" / "log.jsonl"
    died = facts.stat().st_mtime  # the last update that was told
    assert time.time() - died < 30 and time.monotonic() - began < 120


def test_ctrl_c_saves_and_a_resumed_run_ends_the_same(command, together, seen, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(["ftp"], command("--out", out, "--processes", 2, "--reviews.wait", 0.2))
    log = out / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count('"event": "step"') >= 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    status, text = end(process)
    assert status == 130 and text.count(f"ftp run --resume {out}") == 1 and "Traceback" not in text, text
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None and 3 <= (step_of(newest) or 0) < STEPS
    status, text = end(start(["ftp"], ["run", "--resume", str(out)]))
    assert status == 0, text
    assert seen(out) == seen(together[0])


def test_a_signal_that_one_rank_gets_saves_and_ends_all(command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(["ftp"], command("--out", out, "--processes", 2, "--reviews.wait", 0.2), TMPDIR=str(tmp_path))
    log = out / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count('"event": "step"') >= 3):
        time.sleep(0.05)
    rank = next(tmp_path.glob("ftp-ranks-*/*/attempt_0/1/pid"))
    os.kill(int(rank.read_text()), signal.SIGUSR1)
    status, text = end(process)
    assert status == 130 and text.count(f"ftp run --resume {out}") == 1 and "Traceback" not in text, text
    assert checkpoint.newest(out / "checkpoints") is not None


@pytest.mark.parametrize("program", [
    ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ftp"],
    # (its --cpu starts one process unless there is MPI; this way it starts any number, on whatever device they choose)
    ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
     "--dynamo_backend", "no", "-m", "ftp"],
])
def test_started_by_others(command, alone, seen, program: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    status, text = end(start(program, command("--out", out, "--max-steps", 2)))
    assert status == 0 and "2 processes" in text, text
    assert seen(out).steps[1][0] == pytest.approx(alone.steps[1][0], abs=1e-5)
