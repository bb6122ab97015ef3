"""What can be seen in the rows themselves: labels, classes, broken characters, shifts between splits."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ftp import forms
from ftp.data import spellings
from ftp.data.tables import to_rows
from ftp.types import Data, Row, Run
from ftp_preflight.findings import Findings

if TYPE_CHECKING:
    from ftp_preflight import Preflight

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+")  # scripts without spaces: a character is a word
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
FREQUENT = 100
LEAST = 30
"""Rows of a split below which its language and lengths are not compared."""


def look(options: Preflight, run: Run, data: Data, found: Findings) -> None:
    """All looks at rows. Of a split `options.rows` are read, class counts aside."""
    parts = {split: sample(rows, options.rows, run.settings.seed) for split, rows in data.splits.items() if split != "general"}
    said = {split: [words_of(row) for row in rows] for split, rows in parts.items() if rows}
    if not said or not any(any(one.strip() for one in texts) for texts in said.values()):
        if said:
            found.see("texts", rows={split: len(texts) for split, texts in said.items()}, empty=1.0)
            found.tell("stop", "every row that was looked at is empty; another column may have the text", *_other(run, data))
        return
    empty = {split: sum(not one.strip() for one in texts) for split, texts in said.items()}
    found.see("texts", rows={split: len(texts) for split, texts in said.items()}, empty=empty)
    of = {split: data.splits[split].num_rows if hasattr(data.splits[split], "num_rows") else "a stream" for split in said}
    found.see("texts", of=of, sampled=any(of[split] != len(texts) for split, texts in said.items()))
    if any(empty.values()):
        share = max(count / len(said[split]) for split, count in empty.items())
        found.tell("warn" if share >= options.untrained else "note",
                   f"{share:.1%} of rows are empty", *_other(run, data))
    if forms.get(data.form).of_kind("class", "tags"):
        classes(options, run, data, found)
    characters(options, run, said, found)
    if "train" in said and "validation" in said:
        lengths(options, said["train"], said["validation"], found)
        language(options, said["train"], said["validation"], found)


def _other(run: Run, data: Data) -> list[str]:
    """The run with another column of train as its text, where one has more words."""
    first = sample(data.splits.get("train", ()), 50, 0)
    words = {name: sum(len(value.split()) for row in first if isinstance(value := row.get(name), str))
             for name in (first[0] if first else ()) if name not in forms.text_columns()}
    best = max(words, key=lambda name: words[name], default="")
    return [run.command("--columns", f"text={best}")] if words.get(best) else []


def sample(rows: Any, most: int, seed: int) -> Sequence[Row]:
    """Some rows of a split, in order; the first ones of a stream."""
    if not hasattr(rows, "num_rows"):
        return list(islice(rows, most))
    if len(rows) <= most:
        return to_rows(rows)
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    return to_rows(rows.select(chosen))


def words_of(row: Row) -> str:
    """Everything that a row says."""
    return "\n".join(text for name in forms.text_columns() for text in _texts(row.get(name)) if text)


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(value.get("content"))
    elif isinstance(value, (list, tuple)):
        if value and isinstance(value[0], str):
            yield " ".join(value)
        else:
            for one in value:
                yield from _texts(one)


# --- labels ---


def classes(options: Preflight, run: Run, data: Data, found: Findings) -> None:
    """Labels that name no class, classes that a split lacks, extreme imbalance. All stored rows are counted."""
    class_column = forms.get(data.form).of_kind("class", "tags")[0]
    column, names = class_column.name, data.labels
    counts = {}
    for split, rows in data.splits.items():
        if split == "general" or not hasattr(rows, "num_rows") or column not in rows.column_names or not len(rows):
            continue
        values = rows[column][:]
        flat = [one for row in values for one in row] if class_column.kind == "tags" else values
        counts[split] = Counter(flat)
    if not counts or not names:
        return
    wrong = {split: sum(count for label, count in found_in.items() if not isinstance(label, int) or not 0 <= label < len(names))
             for split, found_in in counts.items()}
    found.see("labels", classes=len(names), out_of_range=wrong)
    if any(wrong.values()):
        strange = sorted({str(label) for one in counts.values() for label in one
                          if not isinstance(label, int) or not 0 <= label < len(names)})[:5]
        found.tell("stop", f"labels that name no class: {', '.join(strange)} in "
                   + ", ".join(f"{count} rows of {split}" for split, count in wrong.items() if count)
                   + f"; there are {len(names)} classes, numbered from 0")
        return
    spelling(run, names, counts, found)
    train = counts.get("train")
    if train is None:
        return
    present = [label for label in range(len(names)) if train[label]]
    if len(present) < 2 and class_column.kind == "class":
        found.tell("warn", f"train has one class only ({_named(names, present)}): there is nothing to tell apart")
    for split, held in counts.items():
        if split == "train":
            continue
        new = [label for label in held if not train[label]]
        total, own = sum(held.values()), sum(train.values())
        missing = [label for label in present if not held[label]]
        expected = [label for label in missing if total * train[label] / own >= 5]
        found.see("labels", **{f"not_in_{split}": len(missing), f"only_in_{split}": len(new)})
        if new:
            found.tell("warn", f"{_named(names, new)}: in {split}, and never in train, so it cannot be learnt",
                       f"{found.preview} --split {split}")
        if missing:
            level: Any = "warn" if expected else "note"
            found.tell(level, f"{_named(names, missing)}: in train, and never in {split}, so nothing tells how well it is learnt "
                       f"(a {split} that is cut from train has rows of each)", f"{found.preview} --split {split}")
    if column == "label" and len(present) > 1:
        most, least = max(present, key=lambda label: train[label]), min(present, key=lambda label: train[label])
        ratio = train[most] / train[least]
        found.see("labels", largest=[names[most], train[most]], smallest=[names[least], train[least]])
        if ratio >= options.imbalance / 5:
            found.tell("warn" if ratio >= options.imbalance else "note",
                       f"{names[most]!r} has {train[most]} rows in train and {names[least]!r} {train[least]}: accuracy says "
                       "little, macro F1 more",
                       *([run.command("--metric-for-best-model", "macro_f1")]
                         if run.settings.metric_for_best_model != "macro_f1" else []))


def spelling(run: Run, names: Sequence[str], counts: Mapping[str, Mapping[Any, int]], found: Findings) -> None:
    """Classes that are probably one class in several spellings, and classes named as a cell without a value is."""
    by_name = Counter[str]()
    for numbers in counts.values():
        for number, count in numbers.items():
            if isinstance(number, int) and 0 <= number < len(names):
                by_name[names[number]] += count
    variants = spellings.find_variants(by_name)
    nothing = spellings.words_for_nothing(by_name)
    found.see("labels", spellings=len(variants), words_for_nothing=len(nothing))
    if variants:
        shown = "; ".join(map(str, variants[:3])) + (f" and {len(variants) - 3} more" if len(variants) > 3 else "")
        found.tell("warn", f"probably spellings of one class, which are learnt as different ones: {shown}",
                   run.command(spellings.JOIN))
    if nothing:
        shown = ", ".join(f"{name!r} ({by_name[name]})" for name in nothing)
        found.tell("warn", f"classes that probably stand for rows without a label: {shown}; leave these rows out if so")


def _named(names: Sequence[str], labels: Sequence[int]) -> str:
    shown = ", ".join(repr(names[label]) for label in sorted(labels)[:5])
    return shown + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


# --- characters ---


def characters(options: Preflight, run: Run, said: Mapping[str, Sequence[str]], found: Findings) -> None:
    """Text that was decoded wrongly (mojibake, by ftfy's measure), replacement and control characters."""
    from ftfy.badness import is_bad

    kinds: dict[str, Callable[[str], bool]] = {
        "mojibake": is_bad,
        "replacement characters": lambda text: "\ufffd" in text,
        "control characters": lambda text: bool(CONTROL.search(text)),
    }
    total = sum(map(len, said.values()))
    numbers, example = {}, ""
    for name, broken in kinds.items():
        hits = [text for texts in said.values() for text in texts if broken(text)]
        numbers[name] = len(hits)
        example = example or (hits[0] if hits else "")
    found.see("characters", rows=total, **numbers)
    if any(numbers.values()):
        worst = max(numbers.values()) / total
        told = ", ".join(f"{count} of {total} rows have {name}" for name, count in numbers.items() if count)
        found.tell("warn" if worst >= options.faults else "note", f"{told}, such as {run.hidden(example).strip()[:60]!r}: "
                   "the file was read in another encoding than it was written in (the package ftfy mends most of it)")


# --- shifts ---


def lengths(options: Preflight, train: Sequence[str], held: Sequence[str], found: Findings) -> None:
    """Words of a row in train and in validation: the two-sample statistic of Kolmogorov and Smirnov, p after Smirnov 1948."""
    if min(len(train), len(held)) < LEAST:
        return
    a, b = (np.sort([len(WORD.findall(text)) for text in texts]) for texts in (train, held))
    every = np.concatenate([a, b])
    apart = float(np.abs(np.searchsorted(a, every, "right") / len(a) - np.searchsorted(b, every, "right") / len(b)).max())
    p = min(1.0, 2 * math.exp(-2 * apart**2 * len(a) * len(b) / (len(a) + len(b))))
    found.see("lengths", train=float(np.median(a)), validation=float(np.median(b)), distance=apart, p=p)
    if p < 1e-4 and apart >= options.length_shift / 2:
        found.tell("warn" if apart >= options.length_shift else "note",
                   f"rows of validation are of another length (median {np.median(b):.0f} words, in train {np.median(a):.0f}; "
                   f"distance {apart:.2f}): its scores may not hold for rows like train's", f"{found.preview} --split validation")


def language(options: Preflight, train: Sequence[str], held: Sequence[str], found: Findings) -> None:
    """How much of a row the hundred most frequent words of one half of train cover: in its other half, and in validation."""
    if len(train) < 2 * LEAST or len(held) < LEAST:
        return
    half, other = train[::2], train[1::2]
    frequent = {word for word, _ in Counter(word for text in half for word in _words(text)).most_common(FREQUENT)}
    own, theirs = (np.array([np.mean([word in frequent for word in words]) for text in texts if (words := _words(text))])
                   for texts in (other, held))
    if min(len(own), len(theirs)) < LEAST or not own.mean():
        return
    error = math.sqrt(own.var(ddof=1) / len(own) + theirs.var(ddof=1) / len(theirs))
    ratio = float(theirs.mean() / own.mean())
    found.see("language", train=float(own.mean()), validation=float(theirs.mean()), ratio=ratio)
    sure = own.mean() - theirs.mean() > 4 * error
    if sure and ratio < 1 - (1 - options.language_shift) / 2:
        found.tell("warn" if ratio < options.language_shift else "note",
                   f"validation seems to be in another language or of another kind: train's {FREQUENT} most frequent words "
                   f"make up {own.mean():.0%} of train and {theirs.mean():.0%} of validation",
                   f"{found.preview} --split validation")


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())
