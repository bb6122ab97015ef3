"""Bits per byte of held-out text, beside what was not trained: `python measure.py FILES RUN [RUN ...]`.

FILES is what `prepare.py` wrote. Each RUN is a finished run of `clm`, measured by `ftp evaluate`. The others are measured on
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


def read_texts(path: Path, most: int = 10**12) -> bytes:
    """The texts of a file of rows, `most` bytes of them at most."""
    texts = []
    size = 0
    with path.open(encoding="utf-8") as file:
        for line in file:
            texts.append(json.loads(line)["text"].encode())
            size += len(texts[-1])
            if size >= most:
                break
    return b"\n".join(texts)[:most]


def packed(text: bytes) -> int:
    """Bytes of a text packed by PPMd of order 8."""
    import pyppmd

    encoder = pyppmd.Ppmd7Encoder(8, 512 * 2**20)
    return len(encoder.encode(text)) + len(encoder.flush())


def bits_per_byte(run: str, path: Path) -> float:
    """What `ftp evaluate` says of a run."""
    command = [sys.executable, "-m", "ftp", "evaluate", run, "--data", str(path), "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    scores = json.loads(output.splitlines()[-1])["scores"]
    return float(next(score["value"] for score in scores if score["name"] == "bits_per_byte"))


def untrained(run: str, out: Path, rows: Path) -> str:
    """A run whose network has the form and the tokenizer of `run`, and random weights: one update at a rate of nothing."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, set_seed

    import ftp

    set_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(f"{run}/model")).save_pretrained(out / "random")
    AutoTokenizer.from_pretrained(f"{run}/model").save_pretrained(out / "random")
    shutil.copy(rows, out / "train.jsonl")
    result = ftp.run(["clm", "full", "files"], model=out / "random", data=out / "train.jsonl", max_steps=1,
                     learning_rate=0.0, baselines=False, verify=False, on_risk="warn", out=out / "untrained")
    return str(result.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--read", type=int, default=20_000_000, help="bytes of training text that PPMd reads first")
    options = parser.parse_args()
    training_text = read_texts(options.files / "base" / "train.jsonl", options.read)
    training_size = packed(training_text)
    runs = list(options.runs)
    names = ["xz", f"PPMd after {len(training_text) // 10**6} MB"]
    if runs:
        folder = Path(tempfile.mkdtemp())
        runs.insert(0, untrained(runs[0], folder, options.files / "base" / "validation.jsonl"))
        names += ["untrained", *options.runs]
    print("| text | bytes | " + " | ".join(names) + " |")
    print("| --- " * (len(names) + 2) + "|")
    for path in sorted((options.files / "held-out").glob("*.jsonl")):
        text = read_texts(path)
        sizes = [len(lzma.compress(text, preset=9)), packed(training_text + text) - training_size]  # bytes
        values = [8 * size / len(text) for size in sizes]
        values += [bits_per_byte(run, path) for run in runs]
        print(f"| {path.stem} | {len(text):,} | " + " | ".join(f"{value:.3f}" for value in values) + " |", flush=True)


if __name__ == "__main__":
    main()
