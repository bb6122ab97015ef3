"""Rows of a benchmark inside training rows: n-gram containment that forgives gaps.

A row of several parts (question and answer, two sentences) is looked for as a whole and by each
part that could give it away alone: of `PART` words at least, and of no other row of the benchmark.
So a common answer is no sign, a question is.

The score of a benchmark row in a training row is the share of the benchmark row's words that lie in
runs of `GRAM` words which one passage of the training row has too; gaps of up to `GAP` words
between two such runs count as covered, so a changed word here and there does not hide a copy.
Compare the 13-gram overlap of Brown et al. 2020 (GPT-3, appendix C) and the token-level containment
with a skip-gram budget of Touvron et al. 2023 (Llama 2, appendix A.6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp_leakage.keys import INVERSE, Keys, keys_of, mix, powers
from ftp_leakage.near.search import rows_of_same_words
from ftp_leakage.normalise import Vocabulary, number_words

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

GRAM = 5  # words of a run that both have
GAP = 2  # words between two runs that count as covered
CONTAINED = 0.7  # least share of a benchmark row's words
SHORTEST = 8  # words; a shorter benchmark row must stand in the training row word for word
FLOOR = 4  # words; shorter benchmark rows are not compared
PART = 6  # words; a shorter part of a row says nothing alone
COMMON = 20  # benchmark rows: a run in more of them is a phrase of the benchmark's, no sign


@dataclass(frozen=True)
class BenchmarkTexts:
    """The texts of a benchmark that are looked for: rows as a whole first, then parts of them.

    Args:
        words: the texts.
        row: [texts] int64 the benchmark row that each is of.
        part: [texts] the name of the part (`row`: all of it).
        num_rows: rows of the benchmark.
    """

    words: Words
    row: np.ndarray
    part: tuple[str, ...]
    num_rows: int

    def num_compared(self) -> int:
        """Rows with a text that is long enough to be compared."""
        import numpy as np

        return len(np.unique(self.row[self.words.lengths >= FLOOR]))


@dataclass(frozen=True)
class Matches:
    """Benchmark texts that stand in training rows, a column each.

    Args:
        row: [matches] int64 training rows.
        text: [matches] int64 benchmark texts.
        score: [matches] float64 share of the benchmark text's words.
    """

    row: np.ndarray
    text: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: np.ndarray) -> Matches:
        """Some of the matches: by number, or by a mask."""
        return Matches(self.row[which], self.text[which], self.score[which])


def no_matches() -> Matches:
    """No matches."""
    import numpy as np

    return Matches(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def joined_matches(parts: Iterable[Matches]) -> Matches:
    """Matches of several searches, one after the other."""
    import numpy as np

    columns = [(part.row, part.text, part.score) for part in (no_matches(), *parts)]
    row, text, score = (np.concatenate(column) for column in zip(*columns, strict=True))
    return Matches(row, text, score)


def benchmark_texts(rows: Iterable[Mapping[str, str]], vocabulary: Vocabulary) -> BenchmarkTexts:
    """What is looked for of a benchmark.

    Args:
        rows: part -> text, of each row.
        vocabulary: that of the training rows; is added to.
    """
    import numpy as np

    parts_of_row = list(rows)
    texts: list[str] = []
    row_of_text: list[int] = []
    part_of_text: list[str] = []
    for row, parts in enumerate(parts_of_row):
        texts.append(" \n ".join(parts.values()))
        row_of_text.append(row)
        part_of_text.append("row")
    for row, parts in enumerate(parts_of_row):
        if len(parts) > 1:
            texts += parts.values()
            row_of_text += [row] * len(parts)
            part_of_text += parts
    words = number_words(texts, vocabulary)

    # whole rows always; a part alone only where it is long and of one row
    is_telling = words.lengths >= PART
    for group in rows_of_same_words([words]):
        if len({row_of_text[text] for text in group}) > 1:
            is_telling[group] = False
    is_telling[: len(parts_of_row)] = True
    keep = np.flatnonzero(is_telling)
    return BenchmarkTexts(
        words.take(keep),
        np.array([row_of_text[text] for text in keep], np.int64),
        tuple(part_of_text[text] for text in keep),
        len(parts_of_row),
    )


def find_contained(benchmark: Words, train: Words) -> Matches:
    """Benchmark texts that stand in training rows with a score of at least `CONTAINED`.

    Args:
        train: of the same vocabulary as the benchmark.
    """
    import numpy as np

    train_keys = keys_of(train)
    benchmark_keys = keys_of(benchmark)
    parts = [_covered(train_keys, benchmark_keys)]
    for length in range(FLOOR, SHORTEST):
        short = np.flatnonzero(benchmark_keys.lengths == length)
        if len(short):
            parts.append(_word_for_word(train_keys, benchmark_keys, short, length))
    matches = joined_matches(parts)
    return matches.take(np.lexsort((-matches.score, matches.text)))


def gram_keys(
    keys: Keys, length: int, is_wanted: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """[grams] uint64 keys of all runs of `length` words, and [grams] the word each begins with.

    Args:
        is_wanted: [texts] bool; None: runs of all texts.
    """
    import numpy as np

    words_left = keys.lengths[keys.text] - keys.position
    is_start = words_left >= length
    if is_wanted is not None:
        is_start &= is_wanted[keys.text]
    first = np.flatnonzero(is_start)
    last = first + length - 1
    inside = keys.before[last] + keys.terms[last] - keys.before[first]
    # as if the run stood at the beginning of its text
    shifts = powers(INVERSE, int(keys.position.max(initial=0)) + 1)
    return mix(inside * shifts[keys.position[first]]), first


def _covered(train: Keys, benchmark: Keys) -> Matches:
    """Benchmark texts of which one passage of a training row has most runs of words."""
    import numpy as np

    row, text, position, shift = _runs_in_common(train, benchmark)
    if not len(row):
        return no_matches()

    # a passage: runs that stand in the training row as they do in the benchmark, a few words apart
    order = np.lexsort((shift, text, row))
    row, text, position, shift = row[order], text[order], position[order], shift[order]
    is_new = (row[1:] != row[:-1]) | (text[1:] != text[:-1]) | (shift[1:] - shift[:-1] > GAP)
    passage = np.concatenate(([0], np.cumsum(is_new)))
    order = np.lexsort((position, passage))
    row, text, position, passage = row[order], text[order], position[order], passage[order]

    # each run covers the words up to the next one, if that begins at most `GAP` words behind it
    goes_on = passage[1:] == passage[:-1]
    step = position[1:] - position[:-1]
    covered = np.full(len(row), GRAM)
    covered[:-1][goes_on] = np.where(step[goes_on] <= GRAM + GAP, step[goes_on], GRAM)
    start = np.flatnonzero(np.concatenate(([True], ~goes_on)))
    score = np.minimum(np.add.reduceat(covered, start) / benchmark.lengths[text[start]], 1.0)

    # of two rows the passage that scores best
    passages = Matches(row[start], text[start], score).take(score >= CONTAINED)
    best_first = np.lexsort((-passages.score, passages.text, passages.row))
    passages = passages.take(best_first)
    if not len(passages):
        return passages
    is_new_row = passages.row[1:] != passages.row[:-1]
    is_new_text = passages.text[1:] != passages.text[:-1]
    return passages.take(np.concatenate(([True], is_new_row | is_new_text)))


def _runs_in_common(
    train: Keys, benchmark: Keys
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """[runs] Runs of `GRAM` words that both have: training row, benchmark text, position of the run
    in the benchmark text, and how much further on it stands in the training row."""
    import numpy as np

    none = np.zeros(0, np.int64)
    key, word = gram_keys(benchmark, GRAM, benchmark.lengths >= SHORTEST)
    order = np.argsort(key, kind="stable")
    word = word[order]
    unique, start, count = np.unique(key[order], return_index=True, return_counts=True)
    train_key, train_word = gram_keys(train, GRAM)
    if not len(unique) or not len(train_key):
        return none, none, none, none

    match = np.minimum(np.searchsorted(unique, train_key), len(unique) - 1)
    is_hit = (unique[match] == train_key) & (count[match] <= COMMON)
    match = match[is_hit]

    # each run of a training row with each of the same run of the benchmark
    times = count[match]
    ends = np.cumsum(times)
    offset = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - times, times)
    word = word[np.repeat(start[match], times) + offset]
    train_word = np.repeat(train_word[is_hit], times)
    position = benchmark.position[word]
    shift = train.position[train_word] - position
    row = train.text[train_word].astype(np.int64)
    return row, benchmark.text[word].astype(np.int64), position, shift


def _word_for_word(train: Keys, benchmark: Keys, short: np.ndarray, length: int) -> Matches:
    """Short benchmark texts that stand in training rows with all their words in order.

    Args:
        short: [short texts] benchmark texts of `length` words.
    """
    import numpy as np

    key = mix(benchmark.whole[short])
    order = np.argsort(key, kind="stable")
    unique, start = np.unique(key[order], return_index=True)
    train_key, train_word = gram_keys(train, length)
    if not len(train_key):
        return no_matches()
    match = np.minimum(np.searchsorted(unique, train_key), len(unique) - 1)
    is_hit = unique[match] == train_key
    row = train.text[train_word[is_hit]].astype(np.int64)
    text = short[order[start[match[is_hit]]]]
    pairs = np.unique(np.stack((row, text)), axis=1)
    return Matches(pairs[0], pairs[1], np.ones(pairs.shape[1]))
