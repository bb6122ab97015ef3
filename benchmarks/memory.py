"""Hold the memory that `ftp plan` estimates against the peak of the run itself, on a CPU.

    python benchmarks/memory.py                 every configuration, as a table in Markdown
    python benchmarks/memory.py minilm-lora     some of them

Each run is a process of its own; its peak is `ru_maxrss` of the operating system, which holds everything: Python, the
libraries, the rows, the network, the evaluation and the checks. Rows are made to fill `--max-length`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROWS = 40
WORDS = (
    "the", "film", "was", "a", "quiet", "joy", "from", "first", "scene", "to", "last", "and", "our", "waiter", "forgot",
    "soup", "bread", "in", "end", "bill", "what", "capital", "please", "write", "short", "letter", "about", "new", "card",
)


@dataclass(frozen=True)
class Configuration:
    """One run: `model` is a kind of `ftp_testing.models.tiny`, or "" for the default of the head."""

    plugins: str
    rows: Callable[[int], dict[str, Any]]
    model: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Peak:
    """What was estimated and what was measured, in bytes."""

    estimate: int
    measured: int

    @property
    def factor(self) -> float:
        return self.estimate / self.measured


def sentence(number: int, words: int = 600) -> str:
    """A text that is longer than any `--max-length` here."""
    return " ".join(random.Random(number).choices(WORDS, k=words))


def labelled(number: int) -> dict[str, Any]:
    return {"text": sentence(number), "label": "ab"[number % 2]}


def tagged(number: int) -> dict[str, Any]:
    words = sentence(number, 100).split()
    return {"tokens": words, "tags": ["AB"[len(word) % 2] for word in words]}


def text(number: int) -> dict[str, Any]:
    return {"text": sentence(number)}


def chat(number: int) -> dict[str, Any]:
    return {"prompt": f"what is it, number {number} ?", "completion": sentence(number, 500)}


def preference(number: int) -> dict[str, Any]:
    return {"prompt": f"what is it, number {number} ?", "chosen": sentence(number, 150), "rejected": sentence(number + 1000, 150)}


def _size(batch: int, length: int, precision: str, *more: str) -> tuple[str, ...]:
    return ("--batch-size", str(batch), "--max-length", str(length), "--precision", precision, *more)


KEEP = ("--truncated-answers", "keep")
CONFIGURATIONS: dict[str, Configuration] = {
    "tiny-bert-full": Configuration("full,classify", labelled, "bert", _size(8, 32, "fp32")),
    "tiny-t5-full": Configuration("full,sft,files", chat, "t5", _size(8, 128, "fp32", *KEEP)),
    "tiny-llama-lora": Configuration("lora,sft,files", chat, "llama", _size(8, 128, "bf16", *KEEP)),
    "tiny-bert-tags": Configuration("full,tag", tagged, "bert", _size(16, 64, "fp32", "--micro-batch-size", "4")),
    "tiny-bert-mlm": Configuration("full,mlm,files", text, "bert", _size(16, 64, "fp32")),
    "tiny-gpt2-muon": Configuration("full,clm,files,muon", text, "gpt2", _size(8, 128, "fp32")),
    "tiny-llama-dpo": Configuration("lora,dpo,files", preference, "llama", _size(8, 128, "fp32", *KEEP)),
    "minilm-lora": Configuration("lora,classify", labelled, options=_size(32, 128, "bf16")),
    "minilm-full": Configuration("full,classify", labelled, options=_size(32, 256, "fp32")),
    "minilm-full-long": Configuration("full,classify", labelled, options=_size(32, 512, "bf16")),
    "minilm-recompute": Configuration("full,classify", labelled, options=_size(32, 256, "fp32", "--gradient-checkpointing")),
    "minilm-micro": Configuration("full,classify", labelled, options=_size(32, 256, "fp32", "--micro-batch-size", "4")),
    "minilm-tags": Configuration("full,tag", tagged, options=_size(16, 128, "fp32")),
    "minilm-mlm": Configuration("full,mlm,files", text, options=_size(16, 128, "fp32")),
    "chat-lora": Configuration("lora,sft,files", chat, options=_size(8, 256, "bf16", *KEEP)),
    "chat-full": Configuration("full,sft,files", chat, options=_size(8, 512, "fp32", *KEEP)),
    "chat-muon": Configuration("full,clm,files,muon", text, options=_size(8, 256, "fp32")),
    "chat-dpo": Configuration("lora,dpo,files", preference, options=_size(8, 256, "fp32", *KEEP)),
}


def measure(name: str, folder: Path) -> Peak:
    """Plan and run one configuration.

    Raises:
        RuntimeError: one of the commands failed; with what it said.
    """
    configuration = CONFIGURATIONS[name]
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(configuration.rows(number)) + "\n" for number in range(ROWS)))
    words = ["--plugins", f"{configuration.plugins},-leakage,-duplicates", "--data", str(file), "--device", "cpu",
             *configuration.options]
    if configuration.model:
        from ftp_testing.models import tiny

        words += ["--model", str(tiny(configuration.model, folder / name))]  # type: ignore[arg-type]
    return Peak(estimate(words), peak([
        "run", *words, "--out", str(folder / f"run-{name}"), "--max-steps", "2", "--no-verify", "--no-report", "--cache-dir",
        str(folder / "cache")]))


def estimate(words: Sequence[str]) -> int:
    """What `ftp plan` says in all, in bytes."""
    from ftp.cli.main import call

    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = call(["plan", *words, "--json"])
    if status:
        raise RuntimeError(f"ftp plan {' '.join(words)} ended with {status}")
    return sum(json.loads(output.getvalue())["memory"].values())


LAUNCHER = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:], stdout=subprocess.DEVNULL)
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""
"""Linux counts what a process held before it became another program: a command that is started by a large process begins with
that one's peak. So a small process starts it."""


def peak(words: Sequence[str]) -> int:
    """The peak memory of an `ftp` command in a process of its own, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder, "peak")
        command = [sys.executable, "-m", "ftp", *words]
        done = subprocess.run([sys.executable, "-c", LAUNCHER, str(measured), *command], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"ftp {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return int(measured.read_text()) * (1 if sys.platform == "darwin" else 1024)  # kilobytes on Linux


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CONFIGURATIONS)}")
    names = parser.parse_args().names or list(CONFIGURATIONS)
    print("| configuration | plugins and options | estimate | measured | factor |\n| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            measured, configuration = measure(name, Path(folder)), CONFIGURATIONS[name]
            print(f"| {name} | `{configuration.plugins} {' '.join(configuration.options)}` | {measured.estimate / 1e6:,.0f} MB "
                  f"| {measured.measured / 1e6:,.0f} MB | {measured.factor:.2f} |", flush=True)


if __name__ == "__main__":
    main()
