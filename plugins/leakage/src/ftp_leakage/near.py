"""Exact and near duplicates among texts of several splits.

Candidates come from keys (`ftp_leakage.keys`), in time linear in the number of words. A candidate is a near duplicate
when both hold:

1. the two texts are alike: the share of words in common (any order), of the longer text, is at least `threshold`; or
   one is the beginning or the end of the other and at least half of it;
2. copying explains the likeness better than chance: with s the surprise of the edited text (`ftp_leakage.surprise`), the
   log odds  s - ln(number of texts) - cost of the edit  are at least `ODDS`. The cost is ln(places x vocabulary) for
   each word changed, ln(places) for a cut, ln(n!) for another order.

The second makes "What is a prism?" and "What is a shaman?" two questions, and a changed word in a sentence that nobody
else would have written a copy. It is the likelihood ratio of two explanations, no learned score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp_leakage.keys import Keys, keys_of, mix, sketch
from ftp_leakage.surprise import surprise

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

ODDS, ODDS_OF_CUT = 10.0, 5.0  # nats; set on planted copies in four public sets, see the README
START, END = 0.5, 0.75  # least share of the longer text that a beginning, an end of it must be
TEMPLATE, TEMPLATE_LENGTH = 4, 16  # so many texts of fewer words that differ in one place share a template, no leak
MASKED_LENGTH = 64  # words; in longer texts one changed word is found by MinHash
FUNCTIONS, ROWS = 64, 4  # MinHash: 16 bands of 4; two sets of Jaccard similarity 0.7 meet with probability 0.99
CROWD = 256  # texts of one key compared with each other at most

NOTES = ("the same words", "the same words in another order", "one is a part of the other", "one word changed",
         "one word more", "few words changed")
SAME, ORDER, PART, CHANGED, MORE, FEW = range(6)


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows (numbers in the joined list of texts). `why`: which of `NOTES`; `crowded`: keys of which more than
    `CROWD` texts met, where only that many were compared."""

    left: np.ndarray
    right: np.ndarray
    similarity: np.ndarray
    why: np.ndarray
    crowded: int = 0

    def __len__(self) -> int:
        return len(self.left)


def find(texts: Words, split: np.ndarray, threshold: float = 0.8, within: bool = False, near: bool = True) -> Pairs:
    """Pairs of rows of different splits (`within`: of the same split as well) with the same or nearly the same text.

    `split`: [texts] number of the split of each row, 0 to 62. Texts without a word are compared with nothing. Of texts
    that occur many times every row is in some pair, but not every pair of rows is listed.
    """
    import numpy as np

    filled = np.flatnonzero(texts.lengths > 0)
    if not len(filled):
        nothing = np.zeros(0, dtype=np.int64)
        return Pairs(nothing, nothing, np.zeros(0), nothing)
    whole = mix(keys_of(texts).whole[filled]) ^ mix(texts.lengths[filled])
    _, first, belongs = np.unique(whole, return_index=True, return_inverse=True)
    order = np.argsort(belongs, kind="stable")
    bounds = np.concatenate(([0], np.cumsum(np.bincount(belongs))))
    rows = filled[order]  # the rows of distinct text u: rows[bounds[u]:bounds[u + 1]]
    where = np.bitwise_or.reduceat(np.int64(1) << split[rows].astype(np.int64), bounds[:-1])
    distinct = texts.take(filled[first])
    twice = np.flatnonzero(np.diff(bounds) > 1)
    found = [(twice, twice, np.ones(len(twice)), np.full(len(twice), SAME))]
    crowded = 0
    if near and len(distinct) > 1:
        pairs, crowded = _near(distinct, where, threshold, within)
        found.append(pairs)
    left, right, similarity, why = (np.concatenate(column) for column in zip(*found, strict=True))
    left, right, source = _expand(left, right, rows, bounds, split, within)
    return Pairs(left, right, similarity[source], why[source], crowded)


def _near(texts: Words, where: np.ndarray, threshold: float, within: bool) -> tuple[tuple[np.ndarray, ...], int]:
    """Pairs of distinct texts that are near duplicates: left, right, similarity, why."""
    import numpy as np

    keys, lengths = keys_of(texts), texts.lengths
    odds = surprise(texts) - math.log(len(texts))
    places, vocabulary = np.log(lengths), math.log(len(texts.vocabulary))
    crossing = _Crossing(where, within)
    found: list[tuple[np.ndarray, np.ndarray, int]] = []

    reordered = odds - _log_factorial(lengths) >= ODDS
    found.append((*crossing.meet(keys.bag, np.arange(len(texts)), reordered), ORDER))

    sure = odds - places - vocabulary >= ODDS
    at = np.flatnonzero(((lengths >= 3) & (lengths <= MASKED_LENGTH))[keys.text])
    found.append((*crossing.meet(keys.masked(at), keys.text[at], sure, lengths >= TEMPLATE_LENGTH), CHANGED))
    found.append((*crossing.look_up(keys.without(at), keys.text[at], keys.whole, sure), MORE))

    cut = odds - places >= ODDS_OF_CUT  # of the shorter text
    words_before, words_after = keys.place, lengths[keys.text] - keys.place
    start = np.flatnonzero((words_before >= START * lengths[keys.text]) & (words_before > 0))
    end = np.flatnonzero((words_after >= END * lengths[keys.text]) & (words_before > 0))
    for at, part in ((start, keys.before[start]), (end, keys.ends(end))):
        longer, shorter = crossing.look_up(part, keys.text[at], keys.whole, None)
        found.append((longer[cut[shorter]], shorter[cut[shorter]], PART))

    if np.any(lengths >= 2 / (1 - threshold)) if threshold < 1 else False:
        found.append((*_alike(texts, crossing, sure, threshold), FEW))

    left, right, why = _once(found)
    from ftp_leakage.similarity import in_common

    similarity = in_common(texts, left, right)
    part = np.isin(why, (PART,))
    alike = similarity >= threshold
    few = why == FEW
    if few.any():
        longest = np.maximum(lengths[left], lengths[right])
        changes = np.rint((1 - similarity) * longest)
        cost = changes * (np.log(longest) + vocabulary)
        alike &= ~few | (np.maximum(odds[left], odds[right]) - cost >= ODDS)
    keep = alike | part
    return (left[keep], right[keep], similarity[keep], why[keep]), crossing.crowded


class _Crossing:
    """Brings texts with equal keys together, where they are of different splits."""

    def __init__(self, where: np.ndarray, within: bool) -> None:
        self.where, self.within, self.crowded = where, within, 0

    def meet(
        self, key: np.ndarray, text: np.ndarray, sure: np.ndarray, in_crowds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of texts that have a key in common. `sure`: [texts] at least one of the two must be. `in_crowds`:
        [texts] whether to pair it where `TEMPLATE` or more texts have the key; None: all."""
        import numpy as np

        order = np.argsort(key, kind="stable")
        key, text = key[order], text[order]
        new = np.concatenate(([True], key[1:] != key[:-1])) if len(key) else np.zeros(0, bool)
        start = np.flatnonzero(new)
        size = np.diff(np.concatenate((start, [len(key)])))
        group = np.cumsum(new) - 1
        useful = size > 1
        if len(start):
            masks = self.where[text]
            if not self.within:  # a group of one split only has nothing to tell
                union = np.bitwise_or.reduceat(masks, start)
                useful &= (union & (union - 1)) != 0
            useful &= np.logical_or.reduceat(sure[text], start)
            if in_crowds is not None:
                useful &= (size < TEMPLATE) | in_crowds[text[start]]
        rank = np.arange(len(key)) - start[group] if len(start) else np.zeros(0, np.int64)
        self.crowded += int((useful & (size > CROWD)).sum())
        member = np.flatnonzero(useful[group] & (rank > 0) & (rank < CROWD)) if len(start) else np.zeros(0, np.int64)
        times = rank[member]
        right = np.repeat(text[member], times)
        ends = np.cumsum(times)
        offset = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - times, times)
        left = text[np.repeat(start[group[member]], times) + offset]
        return self._of_use(left, right, sure)

    def look_up(
        self, key: np.ndarray, text: np.ndarray, whole: np.ndarray, sure: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of a text that has one of these keys and the text whose whole key it is."""
        import numpy as np

        order = np.argsort(whole)
        ranked = whole[order]
        place = np.minimum(np.searchsorted(ranked, key), len(ranked) - 1)
        hit = ranked[place] == key
        return self._of_use(text[hit].astype(np.int64), order[place[hit]], sure)

    def _of_use(self, left: np.ndarray, right: np.ndarray, sure: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        keep = left != right
        if not self.within:
            union = self.where[left] | self.where[right]
            keep &= (union & (union - 1)) != 0
        if sure is not None:
            keep &= sure[left] | sure[right]
        return left[keep].astype(np.int64), right[keep].astype(np.int64)


def _alike(
    texts: Words, crossing: _Crossing, sure: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of texts whose sets of words look alike to MinHash; only texts long enough for two changes."""
    import numpy as np

    long = np.flatnonzero(texts.lengths >= 2 / (1 - threshold))
    marks = sketch(texts.take(long), FUNCTIONS)
    found = []
    for band in range(0, FUNCTIONS, ROWS):
        key = np.zeros(len(long), dtype=np.uint64)
        for row in marks[band : band + ROWS]:
            key = mix(key ^ row)
        found.append((*crossing.meet(key, long, sure), FEW))
    left, right, _ = _once(found)
    place = np.zeros(len(texts), dtype=np.int64)
    place[long] = np.arange(len(long))
    jaccard = threshold / (2 - threshold)
    agree = np.zeros(len(left), dtype=np.uint8)
    for row in marks:
        agree += row[place[left]] == row[place[right]]
    keep = agree >= FUNCTIONS * jaccard - 3 * math.sqrt(FUNCTIONS * jaccard * (1 - jaccard))
    return left[keep], right[keep]


def _once(found: list[tuple[np.ndarray, np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair once, with the first reason that found it."""
    import numpy as np

    left = np.concatenate([one[0] for one in found])
    right = np.concatenate([one[1] for one in found])
    why = np.concatenate([np.full(len(one[0]), one[2]) for one in found])
    low, high = np.minimum(left, right), np.maximum(left, right)
    _, first = np.unique((low << np.int64(31)) | high, return_index=True)
    return low[first], high[first], why[first]


def _log_factorial(lengths: np.ndarray) -> np.ndarray:
    import numpy as np

    table = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, int(lengths.max(initial=1)) + 1)))))
    return table[lengths]


def _expand(
    left: np.ndarray, right: np.ndarray, rows: np.ndarray, bounds: np.ndarray, split: np.ndarray, within: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of distinct texts as pairs of rows; the third value says which pair of texts each comes from."""
    import numpy as np

    a: list[int] = []
    b: list[int] = []
    source: list[int] = []
    for number, (u, v) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        us = rows[bounds[u] : bounds[u + 1]].tolist()
        vs = rows[bounds[v] : bounds[v + 1]].tolist() if v != u else us
        many = len(us) * len(vs) > 64
        seen = set()
        for i, one in enumerate(us):
            for j, other in enumerate(vs):
                if one == other or (not within and split[one] == split[other]):
                    continue
                if many and i in seen and j in seen:
                    pass
                pair = (one, other) if one < other else (other, one)
                if pair in seen:
                    continue
                seen.add(pair)
                a.append(pair[0])
                b.append(pair[1])
                source.append(number)
    return np.array(a, dtype=np.int64), np.array(b, dtype=np.int64), np.array(source, dtype=np.int64)
