"""Labels that are given away: by a word or the label's name inside the text, by another column; and labels in conflict.

Beside the words, the signs that they begin and end with are looked at, so that a mark glued to other words is found as well,
and a blank at either end of the text. Such a word gives a class away when nearly all rows that have it are of the class
(`PURITY`), most rows of the class have it (`COVERAGE`), and this is no chance: were the word independent of the class, so pure
a count would occur with probability below `CHANCE` divided by the number of words looked at (Chernoff's bound on the binomial
tail, Bonferroni). Words of feeling do not reach that: none is in most rows of its class. A word that spells the name of its
class needs less.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import eq
from typing import Any

PURITY, COVERAGE, NAME_COVERAGE, CHANCE = 0.98, 0.6, 0.3, 1e-3
FEWEST = 0.2  # share of all rows that such words must be in together; with 77 intents a few have a word of their own
SAMPLE = 20_000  # rows looked at
ABOUT = re.compile(r"^(id|.*_id|idx|index|labels?|label_(name|text))$", re.IGNORECASE)
"""Columns that name a row or spell out its label; they are not looked at."""
MARK = re.compile(r"<[^<>]*>|[^\w\s]+")
BLANKS = {True: "a blank at the beginning", False: "a blank at the end"}


@dataclass(frozen=True)
class Giveaway:
    """`what` (a word, or `column=value`s) gives the class away: in `rows` of the rows looked at, right in `purity`."""

    what: str
    label: str
    rows: int
    purity: float
    coverage: float
    example: int
    named: bool = False


def words_of(text: str) -> set[str]:
    """The words of a text with their signs, so that `[POS]` is another word than `pos`; and the signs that words begin
    (`<b>…`) and end with (`…!`)."""
    found = set(text.lower().split())
    for word in [word for word in found if not word.isalnum()]:
        marks = [mark for mark in MARK.finditer(word) if mark.group() != word]
        found |= {f"{mark.group()}…" for mark in marks[:1] if mark.start() == 0}
        found |= {f"…{mark.group()}" for mark in marks[-1:] if mark.end() == len(word)}
    return found | {name for first, name in BLANKS.items() if text and text[0 if first else -1].isspace()}


def without(text: str, given: Collection[str]) -> str:
    """The text without these words and signs (`Giveaway.what`)."""
    text = re.sub(r"\S+", lambda word: "" if word.group().lower() in given else word.group(), text)
    for what in given:
        if what.endswith("…"):
            text = re.sub(rf"(?<!\S){re.escape(what[:-1])}", "", text, flags=re.IGNORECASE)
        elif what.startswith("…"):
            text = re.sub(rf"{re.escape(what[1:])}(?!\S)", "", text, flags=re.IGNORECASE)
    return text.strip()


def giveaways(texts: Iterable[str], labels: Sequence[Any], names: Mapping[Any, str]) -> tuple[list[Giveaway], float]:
    """Words that give a class away, and the share of rows that have one. `names`: label -> name of the class."""
    sizes = Counter(labels)
    if len(sizes) < 2:
        return [], 0.0
    least = max(5, math.ceil(0.3 * min(size for size in sizes.values())))
    rows = [words_of(text) for text in texts]
    support = Counter(word for row in rows for word in row)
    held: dict[str, Counter[Any]] = defaultdict(Counter)
    first: dict[tuple[str, Any], int] = {}
    wanted = {word for word, count in support.items() if count >= least}
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        for word in row & wanted:
            held[word][label] += 1
            first.setdefault((word, label), number)
    total = len(rows)
    found = []
    for word, counts in held.items():
        label, count = max(counts.items(), key=lambda item: (item[1], str(item[0])))
        named = _names(word, names.get(label, ""))
        pure, covered = count / support[word], count / sizes[label]
        if pure < PURITY or covered < (NAME_COVERAGE if named else COVERAGE):
            continue
        if _tail(count, support[word], sizes[label] / total) < math.log(CHANCE / len(wanted)):
            found.append(Giveaway(word, names.get(label, str(label)), support[word], pure, covered, first[word, label], named))
    given = {one.what for one in found}
    share = sum(1 for row in rows if row & given) / total if given else 0.0
    if share < FEWEST:
        found = [one for one in found if one.named and not one.what.isalnum()]
    return sorted(found, key=lambda one: -one.rows), share


def _names(word: str, name: str) -> bool:
    """Whether a word spells the name of a class (`positive`, `[positive]`, `label=positive`)."""
    letters = re.sub(r"[^\w]", " ", word).replace("_", " ").split()
    return bool(name) and name.lower() in letters


def _tail(right: int, of: int, share: float) -> float:
    """Bound on ln P(at least `right` of `of` are of a class that has this share of the rows) (Chernoff)."""
    got = right / of
    if got <= share:
        return 0.0
    if share >= 1:
        return 0.0
    rest = (1 - got) * math.log((1 - got) / (1 - share)) if got < 1 else 0.0
    return -of * (got * math.log(got / share) + rest)


def columns(rows: Any, labels: Sequence[Any], read: Iterable[str]) -> list[Giveaway]:
    """Other columns whose value, or the size of whose number, tells the label nearly always: learnt on every other row,
    judged on the rest.

    `read`: columns that the model reads, which are no matter of this. Columns that name rows or spell labels are left out.
    """
    sizes = Counter(labels)
    if len(sizes) < 2:
        return []
    usual = max(sizes.values()) / len(labels)
    apart = set(read)
    others = [name for name in rows.column_names if name not in apart and not ABOUT.search(name)]
    if not others:
        return []
    # all columns in one look: each look at a data set costs as much as it has columns
    table = rows.select_columns(others).with_format("arrow")[:]
    found = []
    for name in others:
        values = [_key(value) for value in table.column(name).to_pylist()]
        judged = labels[1::2]
        guesses = [_by_value(values[::2], labels[::2], values[1::2])]
        if all(isinstance(value, (int, float, type(None))) for value in values):
            guesses.append(_by_size(values[::2], labels[::2], values[1::2]))
        right = max(sum(map(eq, guess, judged)) for guess in guesses)
        if judged and right / len(judged) >= PURITY and _tail(right, len(judged), usual) < math.log(CHANCE):
            found.append(Giveaway(name, "every class", len(judged), right / len(judged), 1.0, 0))
    return found


def _by_value(values: Sequence[Any], labels: Sequence[Any], asked: Sequence[Any]) -> list[Any]:
    """The label most rows of the same value have."""
    known: dict[Any, Counter[Any]] = defaultdict(Counter)
    for value, label in zip(values, labels, strict=True):
        known[value][label] += 1
    guess = {value: counts.most_common(1)[0][0] for value, counts in known.items()}
    return [guess.get(value) for value in asked]


def _by_size(values: Sequence[float | None], labels: Sequence[Any], asked: Sequence[float | None]) -> list[Any]:
    """The label of the rows between the same thresholds: of classes in the order of their medians, each two neighbours are
    parted by the threshold that puts the fewest of their rows on the wrong side."""
    import numpy as np

    numbers, mine = np.array(values, dtype=float), np.array([str(label) for label in labels])
    of = {label: np.sort(numbers[(mine == str(label)) & ~np.isnan(numbers)]) for label in set(labels)}
    of = {label: held for label, held in of.items() if len(held)}
    classes = sorted(of, key=lambda label: float(np.median(of[label])))
    thresholds = []
    for low, high in pairwise(of[label] for label in classes):
        wrong = len(low) - np.searchsorted(low, high, side="left") + np.arange(len(high))
        thresholds.append(high[np.argmin(wrong)])
    places = np.searchsorted(np.maximum.accumulate(thresholds), np.array(asked, dtype=float), side="right")
    return [classes[place] for place in places] if classes else [None] * len(asked)


def _key(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def conflicts(groups: Iterable[Sequence[int]], labels: Sequence[Any]) -> list[tuple[int, int]]:
    """Pairs of rows of one group (rows of the same text) that have different labels: each later row that differs
    from the first of its group."""
    found = []
    for group in groups:
        found += [(group[0], row) for row in group[1:] if labels[row] != labels[group[0]]]
    return found
