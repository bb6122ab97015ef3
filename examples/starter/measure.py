"""Bits per byte of held-out text, beside what was not trained: `python measure.py MADE RUN [RUN ...]`.

MADE is what `prepare.py` wrote. Each RUN is a finished run of `clm`, measured by `ftp evaluate`. The others are measured on
the same bytes: xz on the text alone; PPMd (an n-gram model of bytes: Shkarin 2002; here of order 8) that has read `--read`
bytes of the training text before; and the first RUN's network with the weights it began with. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def texts(path: Path, most: int = 10**12) -> bytes:
    """The texts of a file of rows, `most` bytes of them at most."""
    found, size = [], 0
    with path.open(encoding="utf-8") as file:
        for line in file:
            found.append(json.loads(line)["text"].encode())
            size += len(found[-1])
            if size >= most:
                break
    return b"\n".join(found)[:most]


def packed(text: bytes) -> int:
    """Bytes of a text packed by PPMd of order 8."""
    import pyppmd

    encoder = pyppmd.Ppmd7Encoder(8, 512 * 2**20)
    return len(encoder.encode(text)) + len(encoder.flush())


def bits_per_byte(run: str, path: Path) -> float:
    """What `ftp evaluate` says of a run."""
    told = subprocess.run([sys.executable, "-m", "ftp", "evaluate", run, "--data", str(path), "--json"], check=True,
                          capture_output=True, text=True).stdout
    scores = json.loads(told.splitlines()[-1])["scores"]
    return float(next(one["value"] for one in scores if one["name"] == "bits_per_byte"))


def untrained(run: str, out: Path, rows: Path) -> str:
    """A run whose network has the form and the tokenizer of `run`, and random weights: one update at a rate of nothing."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, set_seed

    import ftp

    set_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(f"{run}/model")).save_pretrained(out / "random")
    AutoTokenizer.from_pretrained(f"{run}/model").save_pretrained(out / "random")
    shutil.copy(rows, out / "train.jsonl")
    made = ftp.run(["clm", "full", "files"], model=out / "random", data=out / "train.jsonl", max_steps=1, learning_rate=0.0,
                   baselines=False, verify=False, on_risk="warn", out=out / "untrained")
    return str(made.out)


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("made", type=Path)
    asked.add_argument("runs", nargs="*")
    asked.add_argument("--read", type=int, default=20_000_000, help="bytes of training text that PPMd reads first")
    given = asked.parse_args()
    before = texts(given.made / "base" / "train.jsonl", given.read)
    alone = packed(before)
    runs, names = list(given.runs), ["xz", f"PPMd after {len(before) // 10**6} MB"]
    if runs:
        folder = Path(tempfile.mkdtemp())
        runs.insert(0, untrained(runs[0], folder, given.made / "base" / "validation.jsonl"))
        names += ["untrained", *given.runs]
    print("| text | bytes | " + " | ".join(names) + " |")
    print("| --- " * (len(names) + 2) + "|")
    for path in sorted((given.made / "held-out").glob("*.jsonl")):
        text = texts(path)
        values = [8 * len(lzma.compress(text, preset=9)) / len(text), 8 * (packed(before + text) - alone) / len(text)]
        values += [bits_per_byte(run, path) for run in runs]
        print(f"| {path.stem} | {len(text):,} | " + " | ".join(f"{value:.3f}" for value in values) + " |", flush=True)
