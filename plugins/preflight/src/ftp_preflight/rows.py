"""What can be seen in the rows themselves: no text, broken characters, shifts between splits."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ftp import forms
from ftp.data.tables import to_rows
from ftp.types import Data, Row, Run
from ftp_preflight.classes import look_at_classes
from ftp_preflight.findings import Findings

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from ftp.types import Level
    from ftp_preflight import Preflight

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")  # scripts without spaces: a character each
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
FREQUENT = 100  # words by which a language is known
LEAST = 30  # rows of a split below which its language and lengths are not compared
SEARCHED = 50  # rows that are searched for another column of text
LENGTH_CHANCE = 1e-4  # p below which lengths differ beyond chance
LANGUAGE_ERRORS = 4  # standard errors above which languages differ beyond chance

Texts = Mapping[str, Sequence[str]]
"""Split -> the text of each row that is looked at."""


def look(options: Preflight, run: Run, data: Data, findings: Findings) -> None:
    """All looks at rows. Of a split `options.rows` are read, class counts aside."""
    texts: dict[str, list[str]] = {}
    for split, rows in data.splits.items():
        if split == "general":
            continue
        sampled = sample(rows, options.rows, run.settings.seed)
        if sampled:
            texts[split] = [words_of(row) for row in sampled]
    if not texts:
        return
    is_readable = _look_for_text(options, run, data, texts, findings)
    if not is_readable:
        return
    if forms.get(data.form).of_kind("class", "tags"):
        look_at_classes(options, run, data, findings)
    characters(options, run, texts, findings)
    if "train" in texts and "validation" in texts:
        lengths(options, texts["train"], texts["validation"], findings)
        language(options, texts["train"], texts["validation"], findings)


def sample(rows: Dataset | IterableDataset, most: int, seed: int) -> Sequence[Row]:
    """Some rows of a split, in order; the first ones of a stream."""
    if not hasattr(rows, "num_rows"):
        return list(islice(rows, most))
    if len(rows) <= most:
        return to_rows(rows)
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    return to_rows(rows.select(chosen))


def words_of(row: Row) -> str:
    """All text of a row."""
    texts: list[str] = []
    for column in forms.text_columns():
        texts += [text for text in _texts(row.get(column)) if text]
    return "\n".join(texts)


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):  # a message
        yield from _texts(value.get("content"))
    elif isinstance(value, (list, tuple)):
        if value and isinstance(value[0], str):  # words of a tagged row
            yield " ".join(value)
        else:
            for inner in value:
                yield from _texts(inner)


# --- rows without text ---


def _look_for_text(
    options: Preflight, run: Run, data: Data, texts: Texts, findings: Findings
) -> bool:
    """Whether any row has text; rows that have none are counted."""
    num_rows = {split: len(of_split) for split, of_split in texts.items()}
    empty = {}
    for split, of_split in texts.items():
        empty[split] = sum(not text.strip() for text in of_split)
    if empty == num_rows:
        findings.record("texts", rows=num_rows, empty=1.0)
        findings.add(
            "stop",
            "every row that was looked at is empty; another column may have the text",
            *_other_column(run, data),
        )
        return False

    total = {}
    for split in texts:
        rows = data.splits[split]
        total[split] = rows.num_rows if hasattr(rows, "num_rows") else "a stream"
    findings.record("texts", rows=num_rows, empty=empty)
    findings.record("texts", of=total, sampled=total != num_rows)
    if any(empty.values()):
        share = max(empty[split] / num_rows[split] for split in texts)
        level: Level = "warn" if share >= options.untrained else "note"
        findings.add(level, f"{share:.1%} of rows are empty", *_other_column(run, data))
    return True


def _other_column(run: Run, data: Data) -> list[str]:
    """The run with another column of train as its text: the one with the most words."""
    num_words: Counter[str] = Counter()
    for row in sample(data.splits.get("train", ()), SEARCHED, 0):
        for column, value in row.items():
            if column not in forms.text_columns() and isinstance(value, str):
                num_words[column] += len(value.split())
    wordiest = max(num_words, key=lambda column: num_words[column], default="")
    if not num_words[wordiest]:
        return []
    return [run.command("--columns", f"text={wordiest}")]


# --- characters ---


def characters(options: Preflight, run: Run, texts: Texts, findings: Findings) -> None:
    """Text that was decoded wrongly (mojibake, by ftfy's measure), replacement and control
    characters."""
    from ftfy.badness import is_bad

    faults: dict[str, Callable[[str], bool]] = {
        "mojibake": is_bad,
        "replacement characters": lambda text: "\ufffd" in text,
        "control characters": lambda text: bool(CONTROL.search(text)),
    }
    num_rows = sum(map(len, texts.values()))
    counts = {}
    example = ""
    for fault, has_fault in faults.items():
        broken: list[str] = []
        for of_split in texts.values():
            broken += filter(has_fault, of_split)
        counts[fault] = len(broken)
        example = example or next(iter(broken), "")
    findings.record("characters", rows=num_rows, **counts)
    if not any(counts.values()):
        return
    share = max(counts.values()) / num_rows
    words = [f"{count} of {num_rows} rows have {fault}" for fault, count in counts.items() if count]
    findings.add(
        "warn" if share >= options.faults else "note",
        f"{', '.join(words)}, such as {run.hidden(example).strip()[:60]!r}: the file was read in "
        "another encoding than it was written in (the package ftfy repairs most of it)",
    )


# --- shifts ---


def lengths(
    options: Preflight, train: Sequence[str], held: Sequence[str], findings: Findings
) -> None:
    """Words of a row in train and in validation: the two-sample statistic of Kolmogorov and
    Smirnov, p after Smirnov 1948."""
    if min(len(train), len(held)) < LEAST:
        return
    own = np.sort([len(WORD.findall(text)) for text in train])
    theirs = np.sort([len(WORD.findall(text)) for text in held])
    every = np.concatenate([own, theirs])
    own_share = np.searchsorted(own, every, "right") / len(own)
    their_share = np.searchsorted(theirs, every, "right") / len(theirs)
    distance = float(np.abs(own_share - their_share).max())
    num_rows = len(own) + len(theirs)
    p = min(1.0, 2 * math.exp(-2 * distance**2 * len(own) * len(theirs) / num_rows))
    medians = float(np.median(own)), float(np.median(theirs))
    findings.record("lengths", train=medians[0], validation=medians[1], distance=distance, p=p)
    if p < LENGTH_CHANCE and distance >= options.length_shift / 2:
        findings.add(
            "warn" if distance >= options.length_shift else "note",
            f"rows of validation are of another length (median {medians[1]:.0f} words, in train "
            f"{medians[0]:.0f}; distance {distance:.2f}): its scores may not hold for rows like "
            "train's",
            f"{findings.preview} --split validation",
        )


def language(
    options: Preflight, train: Sequence[str], held: Sequence[str], findings: Findings
) -> None:
    """How much of a row the hundred most frequent words of one half of train cover: in its other
    half, and in validation."""
    if len(train) < 2 * LEAST or len(held) < LEAST:
        return
    counts: Counter[str] = Counter()
    for text in train[::2]:
        counts.update(_words(text))
    frequent = {word for word, _ in counts.most_common(FREQUENT)}
    own = _shares_covered(train[1::2], frequent)
    theirs = _shares_covered(held, frequent)
    if min(len(own), len(theirs)) < LEAST or not own.mean():
        return
    error = math.sqrt(own.var(ddof=1) / len(own) + theirs.var(ddof=1) / len(theirs))
    ratio = float(theirs.mean() / own.mean())
    findings.record(
        "language", train=float(own.mean()), validation=float(theirs.mean()), ratio=ratio
    )
    is_beyond_chance = own.mean() - theirs.mean() > LANGUAGE_ERRORS * error
    worth_a_note = 1 - (1 - options.language_shift) / 2  # half as far from 1 as what warns
    if is_beyond_chance and ratio < worth_a_note:
        findings.add(
            "warn" if ratio < options.language_shift else "note",
            "validation seems to be in another language or of another kind: train's "
            f"{FREQUENT} most frequent words make up {own.mean():.0%} of train and "
            f"{theirs.mean():.0%} of validation",
            f"{findings.preview} --split validation",
        )


def _shares_covered(texts: Sequence[str], frequent: set[str]) -> np.ndarray:
    """[texts with words] float64 share of the words of each that are among the frequent ones."""
    shares = []
    for text in texts:
        words = _words(text)
        if words:
            shares.append(np.mean([word in frequent for word in words]))
    return np.array(shares)


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())
