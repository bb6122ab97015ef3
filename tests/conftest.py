"""What the tests of whole runs share: a tiny model, a domain of made-up rows, and quick processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

os.environ["FTP_STATE"] = tempfile.mkdtemp(prefix="ftp-tests-")  # not the file of whoever runs the tests

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers, without dropout."""
    from ftp_testing.models import tiny

    return tiny("bert", tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def tiny_bert_dropout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with dropout, so that random states count."""
    from ftp_testing.models import tiny

    return tiny("bert", tmp_path_factory.mktemp("models") / "dropout", hidden_dropout_prob=0.1,
                attention_probs_dropout_prob=0.1)


@dataclass
class Life:
    """A process of `ftp`: ended when `status` is given (negative: by that signal)."""

    process: Any
    says: Path

    def end(self, within: float = 120) -> int:
        self.process.join(within)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running after {within} s:\n{self.text}")
        return int(self.process.exitcode)

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    @property
    def text(self) -> str:
        return self.says.read_text() if self.says.exists() else ""


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Life]:
    """Start `ftp ARGUMENTS` in a process of its own (forked from one that has imported all: a second instead of ten).

    `trap`: see one_process.py.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # the server and all its forks
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ftp_testing.warm"])
    folder = tmp_path_factory.mktemp("says")
    count = [0]

    def start(arguments: Sequence[str], out: Path, trap: Mapping[str, Any] | None = None, **environment: str) -> Life:
        count[0] += 1
        says = folder / f"{count[0]}.txt"
        namespace = {"ARGUMENTS": [str(word) for word in arguments], "OUT": str(out), "SAYS": str(says), "TRAP": dict(trap or {}),
                     "ENVIRONMENT": environment}
        process = context.Process(target=runpy.run_path, args=(str(HERE / "one_process.py"), namespace, "__one_process__"))
        process.start()
        return Life(process, says)

    return start


@dataclass(frozen=True)
class Seen:
    """What a run left behind, to be compared with another's."""

    steps: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    scores: Any = None
    weights: bytes = b""


@pytest.fixture(scope="session")
def seen() -> Callable[[Path], Seen]:
    """Read a finished run. Fails where an update is in the log twice."""

    def read(out: Path) -> Seen:
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["event"] == "step"]
        numbers = [line["step"] for line in steps]
        assert numbers == sorted(set(numbers)), f"updates in the log: {numbers}"
        kept = {line["step"]: (line["loss"], line["grad_norm"], line["learning_rate"]) for line in steps}
        return Seen(kept, json.loads((out / "scores.json").read_text()), (out / "model" / "model.safetensors").read_bytes())

    return read


@pytest.fixture(scope="session")
def reviews() -> str:
    """For --plugins-from."""
    return f"{HERE / 'reviews.py'}:Reviews"
