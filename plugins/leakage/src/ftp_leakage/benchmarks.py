"""Rows of a benchmark inside training rows: n-gram containment that forgives gaps.

A row of several parts (question and answer, two sentences) is looked for as a whole and by each part that could give it
away alone: of `PART` words at least, and of no other row of the benchmark. So a common answer is no sign, a question is.

The score of a benchmark row in a training row is the share of the benchmark row's words that lie in runs of `GRAM` words
which one passage of the training row has too; gaps of up to `GAP` words between two such runs count as covered, so a
changed word here and there does not hide a copy. Compare the 13-gram overlap of Brown et al. 2020 (GPT-3, appendix C)
and the token-level containment with a skip-gram budget of Touvron et al. 2023 (Llama 2, appendix A.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp_leakage.keys import INVERSE, Keys, keys_of, mix, powers
from ftp_leakage.near.search import rows_of_same_words
from ftp_leakage.normalise import Vocabulary, number

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

GRAM, GAP, CONTAINED = 5, 2, 0.7
SHORTEST = 8  # words; a shorter benchmark row must stand in the training row word for word
FLOOR = 4  # words; shorter benchmark rows are not compared
PART = 6  # words; a shorter part of a row says nothing alone
COMMON = 20  # benchmark rows: a run of words in more of them is a phrase of the benchmark's, no sign


def contained(benchmark: Words, train: Words) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (training row, benchmark row, score) with a score of at least `CONTAINED`. Both have one vocabulary."""
    import numpy as np

    ours, theirs = keys_of(train), keys_of(benchmark)
    found = [_covered(ours, theirs)]
    for length in range(FLOOR, SHORTEST):
        short = np.flatnonzero(theirs.lengths == length)
        if len(short):
            found.append(_standing(ours, theirs, short, length))
    rows, bench, score = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((-score, bench))
    return rows[order], bench[order], score[order]


@dataclass(frozen=True)
class Texts:
    """The texts of a benchmark: rows as a whole first, then parts. `row`: [texts] the row each is of. `part`: its name."""

    words: Words
    row: np.ndarray
    part: tuple[str, ...]
    rows: int

    def compared(self) -> int:
        """Rows with a text that is long enough to be compared."""
        import numpy as np

        return len(np.unique(self.row[self.words.lengths >= FLOOR]))


def texts(rows: Iterable[Mapping[str, str]], vocabulary: Vocabulary) -> Texts:
    """What is looked for of a benchmark. `rows`: part -> text."""
    import numpy as np

    told = list(rows)
    flat = [("row", at, " \n ".join(row.values())) for at, row in enumerate(told)]
    flat += [(name, at, text) for at, row in enumerate(told) if len(row) > 1 for name, text in row.items()]
    words = number((text for _, _, text in flat), vocabulary)
    alone = words.lengths >= PART
    for group in rows_of_same_words([words]):
        if len({flat[at][1] for at in group}) > 1:
            alone[group] = False
    alone[: len(told)] = True
    keep = np.flatnonzero(alone)
    return Texts(words.take(keep), np.array([flat[at][1] for at in keep], np.int64), tuple(flat[at][0] for at in keep), len(told))


def grams(keys: Keys, length: int, texts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Keys of all runs of `length` words, and where in the flat list of words each begins."""
    import numpy as np

    left = keys.lengths[keys.text] - keys.place
    enough = left >= length
    if texts is not None:
        enough &= texts[keys.text]
    at = np.flatnonzero(enough)
    last = at + length - 1
    inside = keys.before[last] + keys.terms[last] - keys.before[at]
    return mix(inside * powers(INVERSE, int(keys.place.max(initial=0)) + 1)[keys.place[at]]), at


def _covered(ours: Keys, theirs: Keys) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import numpy as np

    key, at = grams(theirs, GRAM, theirs.lengths >= SHORTEST)
    order = np.argsort(key, kind="stable")
    key, at = key[order], at[order]
    unique, start, count = np.unique(key, return_index=True, return_counts=True)
    mine, where = grams(ours, GRAM)
    if not len(unique) or not len(mine):
        return _nothing()
    place = np.minimum(np.searchsorted(unique, mine), len(unique) - 1)
    hit = (unique[place] == mine) & (count[place] <= COMMON)
    place, where = place[hit], where[hit]
    times = count[place]
    ends = np.cumsum(times)
    offset = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - times, times)
    at = at[np.repeat(start[place], times) + offset]
    where = np.repeat(where, times)
    row, bench, word = ours.text[where].astype(np.int64), theirs.text[at].astype(np.int64), theirs.place[at]
    if not len(row):
        return _nothing()
    # runs count together where they stand in the training row as they do in the benchmark row, a few words apart
    shift = ours.place[where] - word
    order = np.lexsort((shift, bench, row))
    row, bench, word, shift = row[order], bench[order], word[order], shift[order]
    new = (row[1:] != row[:-1]) | (bench[1:] != bench[:-1]) | (shift[1:] - shift[:-1] > GAP)
    stand = np.concatenate(([0], np.cumsum(new)))
    order = np.lexsort((word, stand))
    row, bench, word, stand = row[order], bench[order], word[order], stand[order]
    same = stand[1:] == stand[:-1]
    step = word[1:] - word[:-1]
    gain = np.full(len(row), GRAM)
    gain[:-1][same] = np.where(step[same] <= GRAM + GAP, step[same], GRAM)
    begin = np.flatnonzero(np.concatenate(([True], ~same)))
    score = np.minimum(np.add.reduceat(gain, begin) / theirs.lengths[bench[begin]], 1.0)
    keep = score >= CONTAINED
    row, bench, score = row[begin][keep], bench[begin][keep], score[keep]
    best = np.lexsort((-score, bench, row))
    row, bench, score = row[best], bench[best], score[best]
    once = np.concatenate(([True], (row[1:] != row[:-1]) | (bench[1:] != bench[:-1]))) if len(row) else np.zeros(0, bool)
    return row[once], bench[once], score[once]


def _standing(ours: Keys, theirs: Keys, short: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import numpy as np

    key = mix(theirs.whole[short])
    order = np.argsort(key, kind="stable")
    unique, start = np.unique(key[order], return_index=True)
    mine, where = grams(ours, length)
    if not len(mine):
        return _nothing()
    place = np.minimum(np.searchsorted(unique, mine), len(unique) - 1)
    hit = unique[place] == mine
    pairs = np.unique(np.stack((ours.text[where[hit]].astype(np.int64), short[order[start[place[hit]]]])), axis=1)
    return pairs[0], pairs[1], np.ones(pairs.shape[1])


def _nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import numpy as np

    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
