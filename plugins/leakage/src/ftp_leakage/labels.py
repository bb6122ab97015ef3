"""Labels that are given away: by a word or the label's name inside the text, by another column; and
labels in conflict.

Beside the words, the signs that they begin and end with are looked at, so that a mark glued to
other words is found as well, and a blank at either end of the text. Such a word gives a class away
when nearly all rows that have it are of the class (`PURITY`), most rows of the class have it
(`COVERAGE`), and this is no chance: were the word independent of the class, so pure a count would
occur with probability below `CHANCE` divided by the number of words looked at (Chernoff's bound on
the binomial tail, Bonferroni). Words of feeling do not reach that: none is in most rows of its
class. A word that spells the name of its class needs less."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import eq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

PURITY = 0.98  # least share of the rows with a word that are of the class
COVERAGE = 0.6  # least share of the class's rows that have the word
NAME_COVERAGE = 0.3  # the same for a word that spells the name of its class
CHANCE = 1e-3  # largest probability that chance would do this, over all words together
RARE, RARE_SHARE = 5, 0.3  # rows with a word at least, and their share of the smallest class
FEWEST = 0.2  # share of all rows with such a word; with 77 intents a few have a word of their own
SAMPLE = 20_000  # rows looked at
ABOUT = re.compile(r"^(id|.*_id|idx|index|labels?|label_(name|text))$", re.IGNORECASE)
"""Columns that name a row or spell out its label; they are not looked at."""
MARK = re.compile(r"<[^<>]*>|[^\w\s]+")
BLANK_AT_BEGINNING, BLANK_AT_END = "a blank at the beginning", "a blank at the end"


@dataclass(frozen=True)
class Giveaway:
    """A word or a column that gives a class away.

    Args:
        sign: the word, the mark, or the name of the column.
        label: the name of the class.
        rows: rows looked at that have the sign.
        purity: share of these that are of the class.
        coverage: share of the class's rows that have it.
        example: a row of the class that has it.
        is_name: the word spells the name of the class.
    """

    sign: str
    label: str
    rows: int
    purity: float
    coverage: float
    example: int
    is_name: bool = False


def signs_of(text: str) -> set[str]:
    """The words of a text with their marks, so that `[POS]` is another word than `pos`; and the
    marks that words begin (`<b>…`) and end with (`…!`)."""
    signs = set(text.lower().split())
    for word in [word for word in signs if not word.isalnum()]:
        marks = [mark for mark in MARK.finditer(word) if mark.group() != word]
        if marks and marks[0].start() == 0:
            signs.add(f"{marks[0].group()}…")
        if marks and marks[-1].end() == len(word):
            signs.add(f"…{marks[-1].group()}")
    if text and text[0].isspace():
        signs.add(BLANK_AT_BEGINNING)
    if text and text[-1].isspace():
        signs.add(BLANK_AT_END)
    return signs


def remove_signs(text: str, signs: Collection[str]) -> str:
    """The text without these words and marks (`Giveaway.sign`)."""
    text = re.sub(r"\S+", lambda word: "" if word.group().lower() in signs else word.group(), text)
    for sign in signs:
        if sign.endswith("…"):
            text = re.sub(rf"(?<!\S){re.escape(sign[:-1])}", "", text, flags=re.IGNORECASE)
        elif sign.startswith("…"):
            text = re.sub(rf"{re.escape(sign[1:])}(?!\S)", "", text, flags=re.IGNORECASE)
    return text.strip()


def find_giveaways(
    texts: Iterable[str], labels: Sequence[Hashable], names: Mapping[Hashable, str]
) -> tuple[list[Giveaway], float]:
    """Words that give a class away, and the share of rows that have one.

    Args:
        names: label -> name of the class.
    """
    class_sizes = Counter(labels)
    if len(class_sizes) < 2:
        return [], 0.0

    # rows with each word, of each class; rare words are left out, as no count of them is no chance
    signs_of_row = [signs_of(text) for text in texts]
    support: Counter[str] = Counter()
    for signs in signs_of_row:
        support.update(signs)
    least = max(RARE, math.ceil(RARE_SHARE * min(class_sizes.values())))
    frequent = {sign for sign, count in support.items() if count >= least}
    rows_of_class: dict[str, Counter[Hashable]] = defaultdict(Counter)
    first_row: dict[tuple[str, Hashable], int] = {}
    for row, (signs, label) in enumerate(zip(signs_of_row, labels, strict=True)):
        for sign in signs & frequent:
            rows_of_class[sign][label] += 1
            first_row.setdefault((sign, label), row)

    num_rows = len(signs_of_row)
    giveaways = []
    for sign, counts in rows_of_class.items():
        label, count = max(counts.items(), key=lambda item: (item[1], str(item[0])))
        is_name = _spells_name(sign, names.get(label, ""))
        purity = count / support[sign]
        coverage = count / class_sizes[label]
        if purity < PURITY or coverage < (NAME_COVERAGE if is_name else COVERAGE):
            continue
        log_chance = _log_tail(count, support[sign], class_sizes[label] / num_rows)
        if log_chance < math.log(CHANCE / len(frequent)):
            name = names.get(label, str(label))
            example = first_row[sign, label]
            giveaways.append(
                Giveaway(sign, name, support[sign], purity, coverage, example, is_name)
            )

    telling = {giveaway.sign for giveaway in giveaways}
    num_given_away = sum(not telling.isdisjoint(signs) for signs in signs_of_row)
    share = num_given_away / num_rows
    if share < FEWEST:
        # of a few rows only a mark with the class's name in it is beyond doubt
        giveaways = [found for found in giveaways if found.is_name and not found.sign.isalnum()]
    return sorted(giveaways, key=lambda giveaway: -giveaway.rows), share


def _spells_name(word: str, name: str) -> bool:
    """Whether a word spells the name of a class (`positive`, `[positive]`, `label=positive`)."""
    letters = re.sub(r"[^\w]", " ", word).replace("_", " ").split()
    return bool(name) and name.lower() in letters


def _log_tail(right: int, trials: int, share: float) -> float:
    """Bound on ln P(at least `right` of `trials` are of a class that has this share of the rows),
    in nats (Chernoff)."""
    rate = right / trials
    if rate <= share or share >= 1:
        return 0.0
    divergence = rate * math.log(rate / share)
    if rate < 1:
        divergence += (1 - rate) * math.log((1 - rate) / (1 - share))
    return -trials * divergence


def find_telling_columns(
    rows: Dataset, labels: Sequence[Hashable], text_columns: Iterable[str]
) -> list[Giveaway]:
    """Other columns whose value, or the size of whose number, tells the label nearly always: learnt
    on every other row, judged on the rest.

    Args:
        text_columns: columns that the model reads, which are no matter of this. Columns that name
            rows or spell labels are left out as well.
    """
    class_sizes = Counter(labels)
    if len(class_sizes) < 2:
        return []
    largest_share = max(class_sizes.values()) / len(labels)
    read = set(text_columns)
    others = [name for name in rows.column_names if name not in read and not ABOUT.search(name)]
    if not others:
        return []
    # all columns in one look: each look at a data set costs as much as it has columns
    table = rows.select_columns(others).with_format("arrow")[:]
    learnt_labels = labels[::2]
    judged_labels = labels[1::2]
    telling = []
    for name in others:
        values = [_hashable(value) for value in table.column(name).to_pylist()]
        guesses = [_guess_by_value(values[::2], learnt_labels, values[1::2])]
        sizes = [value for value in values if isinstance(value, (int, float, type(None)))]
        if len(sizes) == len(values):
            guesses.append(_guess_by_size(sizes[::2], learnt_labels, sizes[1::2]))
        right = max(sum(map(eq, guess, judged_labels)) for guess in guesses)
        num_judged = len(judged_labels)
        if not num_judged or right / num_judged < PURITY:
            continue
        if _log_tail(right, num_judged, largest_share) < math.log(CHANCE):
            telling.append(Giveaway(name, "every class", num_judged, right / num_judged, 1.0, 0))
    return telling


def _hashable(value: object) -> Hashable:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _guess_by_value(
    values: Sequence[Hashable], labels: Sequence[Hashable], judged: Sequence[Hashable]
) -> list[Hashable]:
    """The label most rows of the same value have."""
    counts_of: dict[Hashable, Counter[Hashable]] = defaultdict(Counter)
    for value, label in zip(values, labels, strict=True):
        counts_of[value][label] += 1
    usual = {value: counts.most_common(1)[0][0] for value, counts in counts_of.items()}
    return [usual.get(value) for value in judged]


def _guess_by_size(
    values: Sequence[float | None], labels: Sequence[Hashable], judged: Sequence[float | None]
) -> list[Hashable]:
    """The label of the rows between the same thresholds: of classes in the order of their medians,
    each two neighbours are parted by the threshold that puts the fewest of their rows on the wrong
    side."""
    import numpy as np

    numbers = np.array(values, dtype=float)
    names = np.array([str(label) for label in labels])
    numbers_of: dict[Hashable, np.ndarray] = {}
    for label in set(labels):
        of_class = np.sort(numbers[(names == str(label)) & ~np.isnan(numbers)])
        if len(of_class):
            numbers_of[label] = of_class
    classes = sorted(numbers_of, key=lambda label: float(np.median(numbers_of[label])))
    if not classes:
        return [None] * len(judged)

    thresholds = []
    for lower, higher in pairwise(numbers_of[label] for label in classes):
        # for each number of the higher class as threshold: rows of both on the wrong side
        low_above = len(lower) - np.searchsorted(lower, higher, side="left")
        high_below = np.arange(len(higher))
        thresholds.append(higher[np.argmin(low_above + high_below)])
    rising = np.maximum.accumulate(thresholds)
    indices = np.searchsorted(rising, np.array(judged, dtype=float), side="right")
    return [classes[index] for index in indices]


def find_conflicts(groups: Iterable[Sequence[int]], labels: Sequence[object]) -> list[tuple[int, int]]:
    """Pairs of rows of one group (rows of the same text) that have different labels: each later row
    that differs from the first of its group."""
    conflicts = []
    for group in groups:
        first = group[0]
        conflicts += [(first, row) for row in group[1:] if labels[row] != labels[first]]
    return conflicts
