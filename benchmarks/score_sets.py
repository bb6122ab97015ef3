"""Sets to measure `multilabel`, `choice` and summaries on, made of the public ones.

    python benchmarks/score_sets.py --data DIR --out SETS

`services`: dialogues of sgd_chat, of each what the user says, with all services that it is about (1 to 4 of 16). Dialogues of the
test file about a service that no training dialogue has are left out. `exam`: the validation questions of mmlu. No question of
mmlu's own test file is in it, nor one whose words stand there too. `intents`: questions of banking77 and the names of four
intents, of which one is right. `summaries`: dialogues (SAMSum) and news (XSum) of t0_mix that are asked to be summed up, each
once, and their summaries. Rows are shuffled (seed 0) before a set is cut.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PARTS = {
    "services": {"train": 1000, "validation": 400},
    "exam": {"train": 1000, "validation": 200, "test": 10_000},
    "intents": {"train": 1000, "validation": 200},
    "summaries": {"train": 160, "validation": 27, "test": 60},
}
"""Rows of each set that are cut into splits, in this order; where there is no test, it is of the public test file."""
TEST_ROWS = 400
"""Rows of a public test file that are taken at most."""
NUM_CHOICES = 4
SUMMARIES = ("samsum_", "xsum_")
"""How the names of the templates begin that ask for a summary."""
WRITES_DIALOGUE = "samsum_Write_a_dialogue_that_match_this_summary"
WORDS_AT_MOST = 250
"""Of a text that is summed up."""


def read(file: Path) -> Iterator[dict[str, Any]]:
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def write(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{file}: {len(rows)} rows")


def write_parts(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Shuffle rows, and write those of each split."""
    shuffled = list(rows)
    random.Random(0).shuffle(shuffled)
    start = 0
    for split, count in PARTS[folder.name].items():
        write(folder / f"{split}.jsonl", shuffled[start : start + count])
        start += count


def services(dialogue: dict[str, Any]) -> dict[str, Any]:
    """What the user says, and the services without their numbers (`Hotels_2` is Hotels)."""
    questions = [message["content"] for message in dialogue["messages"] if message["role"] == "user"]
    return {"text": " ".join(questions), "labels": sorted({name.split("_")[0] for name in dialogue["services"]})}


def plain(row: dict[str, Any]) -> str:
    return "".join(letter for letter in row["question"].lower() if letter.isalnum())


def write_services(data: Path, out: Path) -> None:
    train = list(map(services, read(data / "sgd_chat" / "train.jsonl.xz")))
    known = {label for row in train for label in row["labels"]}
    write_parts(out / "services", train)
    test = list(map(services, read(data / "sgd_chat" / "test.jsonl.xz")))
    write(out / "services" / "test.jsonl", [row for row in test if known.issuperset(row["labels"])][:TEST_ROWS])


def write_exam(data: Path, out: Path) -> None:
    kept_out = {plain(row) for row in read(data / "mmlu" / "test.jsonl.xz")}
    questions: dict[str, dict[str, Any]] = {}
    for row in read(data / "mmlu" / "validation.jsonl.xz"):
        if plain(row) not in kept_out:
            questions.setdefault(plain(row), row)
    write_parts(out / "exam", list(questions.values()))


def write_intents(data: Path, out: Path) -> None:
    rows: dict[str, list[dict[str, Any]]] = {}
    draw = random.Random(0)
    for split in ("train", "test"):
        with lzma.open(data / "banking77" / f"{split}.csv.xz", "rt", encoding="utf-8", newline="") as lines:
            questions = list(csv.DictReader(lines))
        names = sorted({question["label_name"] for question in questions})
        rows[split] = [with_choices(question, names, draw) for question in questions]
    write_parts(out / "intents", rows["train"])
    draw.shuffle(rows["test"])
    write(out / "intents" / "test.jsonl", rows["test"][:TEST_ROWS])


def with_choices(question: dict[str, str], names: Sequence[str], draw: random.Random) -> dict[str, Any]:
    """A question with its intent among others, in any order."""
    others = [name for name in names if name != question["label_name"]]
    choices = [question["label_name"], *draw.sample(others, NUM_CHOICES - 1)]
    draw.shuffle(choices)
    answer = choices.index(question["label_name"])
    return {"question": question["text"], "choices": [name.replace("_", " ") for name in choices], "answer": answer}


def write_summaries(data: Path, out: Path) -> None:
    # a text stands there under several templates, with one and the same summary
    rows: dict[str, dict[str, str]] = {}
    for row in read(data / "t0_mix" / "train.jsonl.xz"):
        is_asked = row["template"].startswith(SUMMARIES) and row["template"] != WRITES_DIALOGUE
        if is_asked and len(row["prompt"].split()) <= WORDS_AT_MOST:
            rows.setdefault(row["completion"].strip(), {"prompt": row["prompt"], "completion": row["completion"].strip()})
    write_parts(out / "summaries", list(rows.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    write_services(options.data, options.out)
    write_exam(options.data, options.out)
    write_intents(options.data, options.out)
    write_summaries(options.data, options.out)


if __name__ == "__main__":
    main()
