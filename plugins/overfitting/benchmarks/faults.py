"""Planted faults on real rows: which of `overfitting` and `underfitting` is raised by which, over
tasks and seeds.

    python plugins/overfitting/benchmarks/faults.py --data DIR [--seeds 5] [--faults
    clean,rows30,...]

DIR holds the sets named in TASKS as label files (`train.jsonl.xz` or `train.csv.xz`, columns text
and label). 800 rows train and 200 are held out (30 and 200 for `rows30`); MiniLM with LoRA and the
defaults of `ftp run`, unless the fault says.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import ftp

TASKS = ("sst2", "trec", "ag_news", "tweet_emotion", "customer_reviews", "financial_phrasebank")
FAULTS: dict[str, dict[str, Any]] = {
    "clean": {},
    "rows30": {"epochs": 50},
    "shuffled": {"epochs": 10},
    "lr1e-7": {"learning_rate": 1e-7},
    "lr1": {"learning_rate": 1.0},
    "frozen": {"plugins": ("full", "sentiment"), "full": {"freeze": "classifier*"}},
}
SHOWN = ("overfitting", "underfitting")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Text and label of a set's training rows."""
    path = next(folder.glob("train.*.xz"))
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        tables = csv.DictReader(lines) if ".csv" in path.name else map(json.loads, lines)
        return [{"text": table["text"], "label": int(table["label"])} for table in tables]


def plant(fault: str, rows: list[dict[str, Any]], seed: int, out: Path) -> None:
    """Write train and validation of one experiment."""
    dice = random.Random(seed)
    dice.shuffle(rows)
    train = rows[:30] if fault == "rows30" else rows[:800]
    held = rows[800:1000]
    if fault == "shuffled":
        labels = [row["label"] for row in train]
        dice.shuffle(labels)
        train = [{**row, "label": label} for row, label in zip(train, labels, strict=True)]
    out.mkdir(parents=True)
    for name, part in (("train", train), ("validation", held)):
        (out / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--faults", default=",".join(FAULTS))
    arguments = parser.parse_args()
    table: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as home:
        for fault in arguments.faults.split(","):
            for task in arguments.tasks.split(","):
                for seed in range(arguments.seeds):
                    started = time.perf_counter()
                    where = Path(home) / f"{fault}-{task}-{seed}"
                    plant(fault, read_rows(arguments.data / task), seed, where / "rows")
                    options = dict(FAULTS[fault])
                    plugins = [
                        *options.pop("plugins", ("lora", "sentiment")),
                        "-leakage",
                        "-duplicates",
                    ]
                    result = ftp.run(
                        plugins,
                        data=str(where / "rows"),
                        out=where / "run",
                        seed=seed,
                        verify=False,
                        baselines=False,
                        cache_dir=Path(home) / "cache",
                        **options,
                    )
                    levels = {risk.name: risk.level for risk in result.risks}
                    table.setdefault(fault, Counter()).update(
                        f"{name} {levels[name]}" for name in SHOWN
                    )
                    print("run", fault, task, seed, f"{time.perf_counter() - started:.0f} s",
                          *(f"{name}={levels[name]}" for name in SHOWN), flush=True)
    for fault, counts in table.items():
        print(f"| {fault} | {' | '.join(show_counts(counts, name) for name in SHOWN)} |")


def show_counts(counts: Counter[str], name: str) -> str:
    """How often a check came to each level."""
    parts = []
    for level in ("ok", "note", "warn", "stop", "not_run"):
        count = counts[f"{name} {level}"]
        if count:
            parts.append(f"{level} {count}")
    return ", ".join(parts)


if __name__ == "__main__":
    main()
