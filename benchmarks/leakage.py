"""How well and how fast ftp-leakage finds planted leaks in real short rows.

    python benchmarks/leakage.py --data DIR [--seeds 5] [--least 6]

DIR holds sst2/, banking77/, ag_news/ and trec/, each with train and test. Rows of test are replaced by copies of rows of
train (of `--least` words or more): 5 % exact, 5 % near, in six kinds: case, punctuation, one word changed, other order,
cut after 60 to 90 % of the words (`cut`), cut after 70 to 95 % of the characters, inside a word as a rule (`cut letters`).
Pairs that the untouched sets have already are looked at first: their test rows count neither for nor against, and are told
as `already`. Prints for each set and kind the recall, the precision, and rows a minute (reading apart), on one core.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

SETS = ("sst2", "banking77", "ag_news", "trec")
KINDS = ("case", "punctuation", "word", "order", "cut", "cut letters")


def changed(text: str, kind: str, rng: random.Random, vocabulary: list[str]) -> str:
    """A copy of a text with one kind of change."""
    words = text.split()
    if kind == "case":
        return text.upper()
    if kind == "punctuation":
        return '"' + text.rstrip(".?! ").replace(" ", ", ", 1) + '!"'
    if kind == "word":
        words[rng.choice([at for at, word in enumerate(words) if word[0].isalnum()])] = rng.choice(vocabulary)
    if kind == "order":
        rng.shuffle(words)
    if kind == "cut":
        words = words[: math.ceil(len(words) * rng.uniform(0.6, 0.9))]
    if kind == "cut letters":
        return text[: math.ceil(len(text) * rng.uniform(0.7, 0.95))]
    return " ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--least", type=int, default=6, help="words of a row that is copied, at least")
    options = parser.parse_args()

    from datasets import Dataset

    from ftp.data.read import read
    from ftp_leakage.look import look
    from ftp_leakage.normalise import words
    from ftp_leakage.rows import choose_reading

    def check(train: list[str], test: list[str]) -> tuple[set[int], float]:
        splits = {name: Dataset.from_dict({"text": texts}) for name, texts in (("train", train), ("test", test))}
        begun = time.perf_counter()
        report = look(splits, choose_reading("text", splits["train"]))
        took = time.perf_counter() - begun
        return {finding.b[1] for finding in report.findings() if finding.kind in ("exact", "near") and finding.b}, took

    print(f"{'set':10} {'rows':>6} {'recall':>7} {'near':>7} {'precision':>9} {'already':>8} {'rows/min':>10}  recall by kind")
    for name in SETS:
        found = read(options.data / name)
        train, original = found["train"]["text"][:], found["test"]["text"][:]
        already, _ = check(train, original)
        fit = [at for at, text in enumerate(train) if len(words(text)) >= options.least]
        vocabulary = sorted({word for text in train for word in text.split() if word.isalnum()})
        right, of, wrong, speeds = Counter[str](), Counter[str](), 0, []
        for seed in range(options.seeds):
            rng, test, planted = random.Random(seed), list(original), {}
            for index, row in enumerate(rng.sample(range(len(test)), len(test) // 10)):
                kind = "exact" if index % 2 else KINDS[index // 2 % len(KINDS)]
                text = train[rng.choice(fit)]
                test[row], planted[row] = (text if kind == "exact" else changed(text, kind, rng, vocabulary)), kind
            reported, took = check(train, test)
            speeds.append(60 * (len(train) + len(test)) / took)
            of.update(planted.values())
            right.update(kind for row, kind in planted.items() if row in reported)
            wrong += len(reported - planted.keys() - already)
        near, near_of = (sum(count[kind] for kind in KINDS) for count in (right, of))
        kinds = "  ".join(f"{kind} {right[kind] / of[kind]:.3f}" for kind in ("exact", *KINDS))
        print(f"{name:10} {len(train) + len(original):6} {right.total() / of.total():7.4f} {near / near_of:7.4f} "
              f"{right.total() / (right.total() + wrong):9.4f} {len(already) / len(original):8.1%} {max(speeds):10,.0f}  {kinds}")


if __name__ == "__main__":
    main()
