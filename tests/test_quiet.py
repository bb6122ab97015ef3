"""No command lets a library talk: real processes, as their imports are what talks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[str, str]]
FOREIGN = re.compile(r"Warning\b|^[WEI]\d{4} |Failed to load|site-packages|huggingface|torchao|LOAD REPORT|TF32|fork", re.M)
"""What libraries' lines look like, on standard output. On standard error there must be nothing at all."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all commands are run, with rows."""
    folder = tmp_path_factory.mktemp("quiet")
    words = {"yes": ["good", "fine", "great"], "no": ["bad", "poor", "awful"]}
    lines = ["text,label"]
    for number in range(40):
        label = "yes" if number % 2 else "no"
        lines.append(f"this one is {words[label][number % 3]} as number {number} was,{label}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def ftp(folder: Path) -> Command:
    """Run `ftp ARGUMENTS` to a good end; gives its output and what stood on standard error."""
    clean = {name: value for name, value in os.environ.items() if name not in ("TOKENIZERS_PARALLELISM", "FTP_DEBUG")}

    def run(*arguments: object, status: int = 0) -> tuple[str, str]:
        words = [str(argument) for argument in arguments]
        environment = {**clean, "FTP_CACHE": str(folder / "cache")}
        done = subprocess.run([sys.executable, "-m", "ftp", *words], cwd=folder, env=environment, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=300)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def words(tiny_bert: Path) -> list[object]:
    """Options of a tiny run."""
    return ["--plugins", "lora,classify,-forgetting", "--data", "rows.csv", "--model", tiny_bert, "--device", "cpu",
            "--max-steps", 2]


@pytest.fixture(scope="module")
def run(ftp: Command, words: list[object]) -> tuple[str, str]:
    return ftp("run", *words, "--out", "run")


def test_a_run(run: tuple[str, str]) -> None:
    out, error = run
    assert error == "" and not FOREIGN.search(out)


@pytest.mark.parametrize("line", [
    "--help", "--version", "plugins", "plugins show lora", "run --help", "config --plugins lora,classify",
    "data check rows.csv --label-column label", "check lora --only options-round-trip --only weights-move-as-they-should",
])
def test_without_a_run(ftp: Command, line: str) -> None:
    out, error = ftp(*line.split())
    assert out and error == "" and not FOREIGN.search(out)


@pytest.mark.parametrize("command", ["plan", "data preview"])
def test_of_the_options_of_a_run(ftp: Command, words: list[object], command: str) -> None:
    out, error = ftp(*command.split(), *words)
    assert out and error == "" and not FOREIGN.search(out)


@pytest.mark.parametrize("line", [
    "predict run text", "evaluate run --data rows.csv", "merge run", "export run --to safetensors", "report run", "runs run",
    "gate run",
])
def test_of_a_run(ftp: Command, run: tuple[str, str], line: str) -> None:
    out, error = ftp(*line.split(), status=1 if line == "gate run" else 0)  # too few rows for its verdicts
    assert out and error == "" and not FOREIGN.search(out)
