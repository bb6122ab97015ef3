"""Sets to measure `multilabel` and `choice` on, made of the public ones.

    python benchmarks/score_sets.py --data DIR --out SETS

`services`: dialogues of sgd_chat, of each what the user says, with all services that it is about (1 to 4 of 16). Dialogues of the
test file about a service that no training dialogue has are left out. `exam`: the validation questions of mmlu, shuffled (seed 0)
and cut into train, validation and test. No question of mmlu's own test file is in it, nor one whose words stand there too.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PARTS = {"train": 1000, "validation": 200, "test": 10_000}
"""Questions of the exam in each split, at most."""


def read(file: Path) -> Iterator[dict[str, Any]]:
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def write(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{file}: {len(rows)} rows")


def services(dialogue: dict[str, Any]) -> dict[str, Any]:
    """What the user says, and the services without their numbers (`Hotels_2` is Hotels)."""
    questions = [message["content"] for message in dialogue["messages"] if message["role"] == "user"]
    return {"text": " ".join(questions), "labels": sorted({name.split("_")[0] for name in dialogue["services"]})}


def plain(row: dict[str, Any]) -> str:
    return "".join(letter for letter in row["question"].lower() if letter.isalnum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    dialogues = {split: list(map(services, read(options.data / "sgd_chat" / f"{split}.jsonl.xz"))) for split in ("train", "test")}
    known = {label for row in dialogues["train"] for label in row["labels"]}
    for split, rows in dialogues.items():
        write(options.out / "services" / f"{split}.jsonl", [row for row in rows if known.issuperset(row["labels"])])

    kept_out = {plain(row) for row in read(options.data / "mmlu" / "test.jsonl.xz")}
    questions: dict[str, dict[str, Any]] = {}
    for row in read(options.data / "mmlu" / "validation.jsonl.xz"):
        if plain(row) not in kept_out:
            questions.setdefault(plain(row), row)
    shuffled = list(questions.values())
    random.Random(0).shuffle(shuffled)
    start = 0
    for split, count in PARTS.items():
        write(options.out / "exam" / f"{split}.jsonl", shuffled[start : start + count])
        start += count


if __name__ == "__main__":
    main()
