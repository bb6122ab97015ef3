"""Exact and near duplicates among texts of several splits.

Candidates come from keys (`ftp_leakage.keys`), in time linear in the number of words. A candidate is a near duplicate
when both hold:

1. the two texts are alike: the share of words in common (any order), of the longer text, is at least `threshold`; or
   one is the beginning or the end of the other and at least half of it; its last word may be cut off anywhere;
2. copying explains the likeness better than chance: with s the surprise of the edited text (`ftp_leakage.surprise`), the
   log odds  s - ln(number of texts) - cost of the edit  are at least `ODDS`. The cost is ln(places) for each word changed,
   ln(vocabulary) for one of them and for each other its surprise (the most surprising words: which they are is not
   looked up), ln(places) for a cut, ln(5 places) for one inside a word, ln(n!) for another order.

The second makes "What is a prism?" and "What is a shaman?" two questions, and a changed word in a sentence that nobody
else would have written a copy. It is the likelihood ratio of two explanations, no learned score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ftp_leakage.keys import keys_of, mix, sketch
from ftp_leakage.normalise import joined
from ftp_leakage.similarity import in_common
from ftp_leakage.surprise import surprise

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

ODDS, ODDS_OF_CUT = 12.0, 5.0  # nats; set on planted copies in four public sets, see the README
LETTERS = math.log(5)  # letters of a word, about
START, END = 0.5, 0.75  # least share of the longer text that a beginning, an end of it must be
TEMPLATE, TEMPLATE_LENGTH = 4, 16  # so many texts of fewer words that differ in one place share a template, no leak
MASKED_LENGTH = 64  # words; in longer texts one changed word is found by MinHash
FUNCTIONS, ROWS = 64, 4  # MinHash: 16 bands of 4; two sets of Jaccard similarity 0.7 meet with probability 0.99
CROWD = 256  # texts of one key compared with each other at most
MANY = 64  # pairs of rows listed for one pair of texts at most; beyond, each row is listed with a few
BLOCK = 8_000_000  # words compared at a time, which bounds the memory (about 150 bytes a word)

NOTES = ("the same words", "the same words in another order", "one is a part of the other", "one is cut off inside a word",
         "one word changed", "one word more", "few words changed", "the same, with the two sides swapped")
SAME, ORDER, PART, CUT, CHANGED, MORE, FEW, SWAPPED = range(8)


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows. `why`: which of `NOTES`. `odds`: log odds of a copy against chance, in nats (infinite for the same
    words). `crowded`: keys of which more than `CROWD` texts met, where only that many were compared."""

    left: np.ndarray
    right: np.ndarray
    similarity: np.ndarray
    why: np.ndarray
    odds: np.ndarray
    crowded: int = 0

    def __len__(self) -> int:
        return len(self.left)

    def take(self, which: np.ndarray) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.left[which], self.right[which], self.similarity[which], self.why[which], self.odds[which],
                     self.crowded)


def nothing() -> Pairs:
    """No pairs."""
    import numpy as np

    none = np.zeros(0, dtype=np.int64)
    return Pairs(none, none, np.zeros(0), none, np.zeros(0))


def find(
    texts: Words, split: np.ndarray, threshold: float = 0.8, within: bool = False, near: bool = True, start: float = START
) -> Pairs:
    """Pairs of rows of different splits (`within`: of the same split as well) with the same or nearly the same text.

    `split`: [texts] number of the split of each row, 0 to 62. `start`: least share of a text that its beginning must be.
    Texts without a word are compared with nothing. Of texts that occur many times every row is in some pair, but not every
    pair of rows is listed.
    """
    import numpy as np

    filled = np.flatnonzero(texts.lengths > 0)
    if not len(filled):
        return nothing()
    whole = mix(keys_of(texts).whole[filled]) ^ mix(texts.lengths[filled])
    _, first, belongs = np.unique(whole, return_index=True, return_inverse=True)
    order = np.argsort(belongs, kind="stable")
    bounds = np.concatenate(([0], np.cumsum(np.bincount(belongs))))
    rows = filled[order]  # the rows of distinct text u: rows[bounds[u]:bounds[u + 1]]
    where = np.bitwise_or.reduceat(np.int64(1) << split[rows].astype(np.int64), bounds[:-1])
    distinct = texts.take(filled[first])
    twice = np.flatnonzero(np.diff(bounds) > 1)
    same = (twice, twice, np.ones(len(twice)), np.full(len(twice), SAME), np.full(len(twice), np.inf))
    found: list[tuple[np.ndarray, ...]] = [same]
    crowded = 0
    if near and len(distinct) > 1:
        pairs, crowded = _near(distinct, where, threshold, within, start)
        found.append(pairs)
    left, right, similarity, why, odds = (np.concatenate(column) for column in zip(*found, strict=True))
    left, right, source = _expand(left, right, rows, bounds, split, within)
    return Pairs(left, right, similarity[source], why[source], odds[source], crowded)


def between(
    splits: Sequence[Words], threshold: float = 0.8, within: bool = False, near: bool = True, start: float = START
) -> dict[tuple[int, int], Pairs]:
    """`find` for splits of any size, in memory bounded by `BLOCK`: pairs (row of the first, row of the second) for each
    two splits (numbers), and with `within` for each split with itself."""
    import numpy as np

    if sum(len(one.ids) for one in splits) <= BLOCK:
        jobs = [[(number, 0, one) for number, one in enumerate(splits)]]
    else:
        pieces = [(number, first, piece) for number, one in enumerate(splits) for first, piece in blocks(one)]
        jobs = [
            [one, other] if one is not other else [one]
            for place, one in enumerate(pieces)
            for other in pieces[place:]
            if within or one[0] != other[0]
        ]
    gathered: dict[tuple[int, int], list[Pairs]] = {}
    for job in jobs:
        sizes = [len(piece) for _, _, piece in job]
        number = np.repeat([number for number, _, _ in job], sizes)
        row = np.concatenate([np.arange(size) + first for size, (_, first, _) in zip(sizes, job, strict=True)])
        found = find(joined([piece for _, _, piece in job]), number, threshold, within, near, start)
        kind = number[found.left] * len(splits) + number[found.right]
        for value in np.unique(kind).tolist():
            mine = kind == value
            pairs = replace(found.take(mine), left=row[found.left[mine]], right=row[found.right[mine]])
            gathered.setdefault(divmod(value, len(splits)), []).append(pairs)
    return {key: together(parts) for key, parts in sorted(gathered.items())}


def same(splits: Sequence[Words]) -> list[list[int]]:
    """Groups of rows (numbers in the joined list) with the same words in the same order, two rows at least."""
    import numpy as np

    lengths = np.concatenate([one.lengths for one in splits])
    whole = np.concatenate([_whole(one) for one in splits]) if len(lengths) else np.zeros(0, np.uint64)
    order = np.argsort(whole, kind="stable")
    order = order[lengths[order] > 0]
    if not len(order):
        return []
    new = np.flatnonzero(np.concatenate(([True], whole[order][1:] != whole[order][:-1])))
    size = np.diff(np.concatenate((new, [len(order)])))
    return [order[start : start + count].tolist() for start, count in zip(new[size > 1], size[size > 1], strict=True)]


def _whole(texts: Words) -> np.ndarray:
    """[texts] a key that texts of the same words in the same order have in common."""
    import numpy as np

    parts = [mix(keys_of(piece).whole) ^ mix(piece.lengths) for _, piece in blocks(texts)]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def blocks(texts: Words) -> Iterator[tuple[int, Words]]:
    """A split in pieces of at most half a `BLOCK` of words each (one text at least), with the row each begins at."""
    import numpy as np

    start = 0
    while start < len(texts):
        end = int(np.searchsorted(texts.starts, texts.starts[start] + BLOCK // 2, side="right")) - 1
        end = max(start + 1, end)
        yield start, texts.take(np.arange(start, end))
        start = end


def together(parts: list[Pairs]) -> Pairs:
    """Pairs of several blocks as one, each pair of rows once."""
    import numpy as np

    names = ("left", "right", "similarity", "why", "odds")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    pairs = Pairs(**columns, crowded=max(part.crowded for part in parts))
    if len(parts) == 1:
        return pairs
    _, first = np.unique(np.stack((pairs.left, pairs.right)), axis=1, return_index=True)
    return pairs.take(first)


def _near(
    texts: Words, where: np.ndarray, threshold: float, within: bool, start: float
) -> tuple[tuple[np.ndarray, ...], int]:
    """Pairs of distinct texts that are near duplicates: left, right, similarity, why, odds."""
    import numpy as np

    keys, lengths = keys_of(texts), texts.lengths
    known = surprise(texts)
    odds = known.whole - math.log(len(texts))
    places, vocabulary = np.log(lengths), math.log(len(texts.vocabulary))
    crossing = _Crossing(where, within)
    found: list[tuple[np.ndarray, np.ndarray, int]] = []

    reordered = odds - _log_factorial(lengths) >= ODDS
    found.append((*crossing.meet(keys.bag, np.arange(len(texts)), reordered), ORDER))

    every, cut = np.arange(len(texts)), odds - places >= ODDS_OF_CUT  # of the shorter text
    words_before, words_after = keys.place, lengths[keys.text] - keys.place
    begins = np.flatnonzero((words_before >= start * lengths[keys.text]) & (words_before > 0))
    ends = np.flatnonzero((words_after >= END * lengths[keys.text]) & (words_before > 0))
    for at, part in ((begins, keys.before[begins]), (ends, keys.ends(ends))):
        longer, shorter = crossing.look_up(part, keys.text[at], keys.whole, every, None)
        found.append((longer[cut[shorter]], shorter[cut[shorter]], PART))
    letters = odds - places - LETTERS  # a text can be cut at as many places as it has letters
    inside = np.flatnonzero(letters >= ODDS_OF_CUT)
    stems = keys.before[texts.starts[1:][inside] - 1]
    longer, shorter = crossing.look_up(keys.before[begins], keys.text[begins], stems, inside, None)
    found.append((*_inside_a_word(texts, longer, shorter), CUT))

    sure = odds - places - vocabulary >= ODDS
    at = np.flatnonzero(((lengths >= 3) & (lengths <= MASKED_LENGTH))[keys.text])
    found.append((*crossing.meet(keys.masked(at), keys.text[at], sure, lengths >= TEMPLATE_LENGTH), CHANGED))
    found.append((*crossing.look_up(keys.without(at), keys.text[at], keys.whole, every, sure), MORE))

    if threshold < 1 and np.any(lengths >= 2 / (1 - threshold)):
        found.append((*_alike(texts, crossing, sure, threshold), FEW))

    left, right, why = _once(found)
    similarity = in_common(texts, left, right)
    both, longest = np.maximum(odds[left], odds[right]), np.maximum(lengths[left], lengths[right])
    shorter = np.where(lengths[left] < lengths[right], left, right)
    alike = np.rint(similarity * longest).astype(np.int64)
    rest = np.maximum(*(known.without(one, np.maximum(0, lengths[one] - alike - 1)) for one in (left, right)))
    edited = rest - math.log(len(texts)) - vocabulary - np.maximum(1, longest - alike) * np.log(longest)
    score = np.select(
        [why == PART, why == CUT, why == ORDER],
        [odds[shorter] - places[shorter], letters[shorter], both - _log_factorial(longest)],
        edited,
    )
    keep = (why == PART) | (why == CUT) | ((similarity >= threshold) & (score >= ODDS))
    return (left[keep], right[keep], similarity[keep], why[keep], score[keep]), crossing.crowded


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
        self, key: np.ndarray, text: np.ndarray, other: np.ndarray, whose: np.ndarray, sure: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of a text that has one of the keys `key` and a text (`whose`) that has it among `other`."""
        import numpy as np

        order = np.argsort(other, kind="stable")
        unique, start, count = np.unique(other[order], return_index=True, return_counts=True)
        if not len(unique):
            return self._of_use(text[:0], whose[:0], sure)
        place = np.minimum(np.searchsorted(unique, key), len(unique) - 1)
        hit = np.flatnonzero(unique[place] == key)
        place = place[hit]
        times = np.minimum(count[place], CROWD)
        self.crowded += int((count[place] > CROWD).sum())
        ends = np.cumsum(times)
        offset = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - times, times)
        return self._of_use(np.repeat(text[hit], times), whose[order[np.repeat(start[place], times) + offset]], sure)

    def _of_use(self, left: np.ndarray, right: np.ndarray, sure: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        keep = left != right
        if not self.within:
            union = self.where[left] | self.where[right]
            keep &= (union & (union - 1)) != 0
        if sure is not None:
            keep &= sure[left] | sure[right]
        return left[keep].astype(np.int64), right[keep].astype(np.int64)


def _inside_a_word(texts: Words, longer: np.ndarray, shorter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of pairs in which all words of the shorter text but its last begin the longer: those whose last word begins, too, the
    word that stands there."""
    import numpy as np

    words = list(texts.vocabulary)
    whole = texts.ids[texts.starts[longer] + texts.lengths[shorter] - 1].astype(np.int64)
    piece = texts.ids[texts.starts[1:][shorter] - 1].astype(np.int64)
    pairs, which = np.unique(np.stack((whole, piece)), axis=1, return_inverse=True)
    fits = np.array([words[one].startswith(words[other]) for one, other in pairs.T.tolist()], dtype=bool)
    keep = fits[which.reshape(-1)] if len(fits) else np.zeros(0, bool)
    return longer[keep], shorter[keep]


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
    logarithms: np.ndarray = table[lengths]
    return logarithms


def _expand(
    left: np.ndarray, right: np.ndarray, rows: np.ndarray, bounds: np.ndarray, split: np.ndarray, within: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of distinct texts as pairs of rows; the third value says which pair of texts each comes from."""
    import numpy as np

    found: list[tuple[int, int]] = []
    source: list[int] = []
    for number, (u, v) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        some = rows[bounds[u] : bounds[u + 1]].tolist()
        others = rows[bounds[v] : bounds[v + 1]].tolist() if v != u else some
        before = len(found)
        found += sorted(_pairs_of(some, others, split, within))
        source += [number] * (len(found) - before)
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1], np.array(source, dtype=np.int64)


def _pairs_of(some: list[int], others: list[int], split: np.ndarray, within: bool) -> set[tuple[int, int]]:
    """Pairs of a row of `some` and one of `others`: all of them, or where these are many one for each row."""

    def fit(one: int, other: int) -> bool:
        return one != other and (within or split[one] != split[other])

    if len(some) * len(others) <= MANY:
        return {(min(one, other), max(one, other)) for one in some for other in others if fit(one, other)}
    found = set()
    for mine, theirs in ((some, others), (others, some)):
        first: dict[int, list[int]] = {}
        for other in theirs:
            first.setdefault(int(split[other]), []).append(other)
        heads = [other for found_in in first.values() for other in found_in[:2]]
        for one in mine:
            found |= {(min(one, other), max(one, other)) for other in heads if fit(one, other)}
    return found
