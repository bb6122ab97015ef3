"""No command lets a library talk.

Imports are what talks, so the commands are given in processes of their own. Those that import torch share one process, as each
such import takes seconds: a library that talks does so in the first command that imports it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

FOREIGN = re.compile(r"Warning\b|^[WEI]\d{4} |Failed to load|site-packages|huggingface|torchao|LOAD REPORT|TF32|fork", re.M)
"""What libraries' lines look like, on standard output. On standard error there must be nothing but `OURS`."""
OURS = {"chat talk": "llama: /reset forgets what was said, /system TEXT sets the system text (and forgets), /exit ends.\n"}
"""Command -> what ftp itself says on standard error."""

LIGHT = ("--help", "--version", "plugins", "plugins show lora", "run --help", "new --help", "data --help",
         "install --help", "uninstall --help")
"""Commands that import no torch, each in a process of its own."""

RUN = "run --plugins lora,classify,-forgetting --data rows.csv --model bert --device cpu --max-steps 2 --out run"
TALK = ("run --plugins lora,sft,files,-forgetting,-leakage --data chat.jsonl --model llama --device cpu --max-steps 1 --out talk "
        "--no-verify --no-report")
HEAVY = (
    "config --plugins lora,classify",
    "plan --plugins lora,classify --data rows.csv --model bert",
    "data preview --plugins lora,classify --data rows.csv --model bert",
    "data check rows.csv --label-column label",
    "data clean rows.csv --within --out clean",
    "advise --data rows.csv --model bert --budget 0",
    "check lora --only options-round-trip --only weights-move-as-they-should",
    "new noise --kind risk",
    RUN, "predict run text", "evaluate run --data rows.csv", "merge run", "export run --to safetensors", "report run", "runs run",
    "gate run", TALK, "chat talk",
)
"""Commands of one process, in this order."""
STATUS = {"gate run": 1}  # too few rows for its verdicts

BATCH = """
import json, os, sys
from pathlib import Path

for number, line in enumerate(json.loads(sys.argv[2])):
    for descriptor, name in ((1, "out"), (2, "error")):
        file = os.open(Path(sys.argv[1], f"{number}.{name}"), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
        os.close(file)
    from ftp.cli.main import call  # here, where what an import says is seen

    status = call(line.split())
    sys.stdout.flush()
    sys.stderr.flush()
    Path(sys.argv[1], f"{number}.status").write_text(str(status))
"""


@dataclass(frozen=True)
class Ended:
    """A command that came to its end."""

    status: int
    out: str
    error: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all commands are given, with rows and models."""
    from ftp_testing.models import tiny

    folder = tmp_path_factory.mktemp("quiet")
    words = {"yes": ["good", "fine", "great"], "no": ["bad", "poor", "awful"]}
    lines = ["text,label"]
    for number in range(40):
        label = "yes" if number % 2 else "no"
        lines.append(f"this one is {words[label][number % 3]} as number {number} was,{label}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    turns = [{"prompt": f"is number {number} good ?", "completion": "it is fine"} for number in range(20)]
    (folder / "chat.jsonl").write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    tiny("bert", folder / "bert")
    tiny("llama", folder / "llama")
    return folder


@pytest.fixture(scope="module")
def python(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python ARGUMENTS` in the folder."""
    environment = {name: value for name, value in os.environ.items() if name not in ("TOKENIZERS_PARALLELISM", "FTP_DEBUG")}
    environment["FTP_CACHE"] = str(folder / "cache")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=600)

    return run


@pytest.fixture(scope="module")
def batch(folder: Path, python: Callable[..., subprocess.CompletedProcess[str]]) -> dict[str, Ended]:
    """What became of each command of `HEAVY`."""
    into = folder / "ended"
    into.mkdir()
    done = python("-c", BATCH, str(into), json.dumps(HEAVY))
    assert done.returncode == 0, (into / f"{len(list(into.glob('*.status')))}.error").read_text()
    ended = {}
    for number, line in enumerate(HEAVY):
        out, error, status = ((into / f"{number}.{name}").read_text() for name in ("out", "error", "status"))
        ended[line] = Ended(int(status), out, error)
    return ended


@pytest.mark.parametrize("line", LIGHT)
def test_no_library_talks_in_a_command_without_torch(
    line: str, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = python("-m", "ftp", *line.split())
    assert done.returncode == 0 and done.stdout and done.stderr == "" and not FOREIGN.search(done.stdout)


@pytest.mark.parametrize("line", HEAVY)
def test_no_library_talks_in_a_command_with_torch(line: str, batch: dict[str, Ended]) -> None:
    ended = batch[line]
    assert ended.status == STATUS.get(line, 0), ended.out + ended.error
    assert ended.error == OURS.get(line, "") and not FOREIGN.search(ended.out)


def test_every_command_is_given() -> None:
    from ftp.cli.main import COMMANDS, offered

    commands = {line.split()[0] for line in (*LIGHT, *HEAVY)}
    assert commands >= {*COMMANDS, *offered()}
    assert {" ".join(line.split()[:2]) for line in HEAVY} >= {f"data {name}" for name in offered("data")}
