"""The texts of all splits as numbers of words, of all of their rows or of a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ftp_leakage.near.search import rows_of_same_words
from ftp_leakage.normalise import Vocabulary, Words, number_words, side_by_side
from ftp_leakage.overlaps import Parts
from ftp_leakage.rows import Reading, texts_of_part

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, IterableDataset
    from numpy.typing import NDArray

    from ftp_leakage.check_options import CheckOptions

ORDER = ("train", "validation", "test")
MOST_STREAMED = 100_000  # rows of a stream, which are held in memory
FEWEST = 10  # rows; that fewer have the same text in a column is no wonder


@dataclass(frozen=True)
class Sample:
    """The rows of a split that are looked at.

    Args:
        total: rows in the data; None: a stream that goes on.
        row_numbers: [rows] their numbers in the data, where these are not all of it.
    """

    total: int | None
    rows: Dataset
    row_numbers: NDArray[np.int64] | None


@dataclass(frozen=True)
class SplitTexts:
    """The rows of all splits as numbered words.

    Args:
        order: the splits, those first that rows are rather taken out of.
        samples: split -> the rows that are looked at.
        parts: part -> split -> its texts.
        whole: split -> all parts of each row as one text.
        vocabulary: of all splits, so that their texts can be compared.
    """

    order: tuple[str, ...]
    samples: Mapping[str, Sample]
    parts: Parts
    whole: Mapping[str, Words]
    vocabulary: Vocabulary

    @property
    def rows(self) -> dict[str, Dataset]:
        """Split -> its rows."""
        return {split: sample.rows for split, sample in self.samples.items()}


def number_splits(
    splits: Mapping[str, Dataset], reading: Reading, options: CheckOptions
) -> tuple[SplitTexts, Reading, list[str]]:
    """The texts of all splits, how their rows are read, and what of them is left out."""
    known = [split for split in ORDER if split in splits]
    others = [split for split in splits if split not in ORDER and split != "general"]
    order = (*known, *others)
    samples = {split: _sample(splits[split], options) for split in order}

    vocabulary = Vocabulary()
    parts: Parts = {}
    for name in reading.parts:
        parts[name] = {}
        for split in order:
            texts = texts_of_part(reading, samples[split].rows, name)
            parts[name][split] = number_words(texts, vocabulary)
    reading, left_out = _without_constants(reading, parts)
    parts = {name: parts[name] for name in reading.parts}
    whole = {}
    for split in order:
        whole[split] = whole_rows(parts, reading, split, len(samples[split].rows), vocabulary)
    return SplitTexts(order, samples, parts, whole, vocabulary), reading, left_out


def _sample(rows: Dataset | IterableDataset, options: CheckOptions) -> Sample:
    """The rows of a split to look at: all of them, the first of a stream, or some at random."""
    import numpy as np

    if not hasattr(rows, "num_rows"):  # a stream
        return _first_of_stream(rows, min(options.most_rows, MOST_STREAMED))
    if len(rows) <= options.most_rows:
        return Sample(len(rows), rows, None)
    shuffled = np.random.default_rng(options.seed).permutation(len(rows))
    chosen = np.sort(shuffled[: options.most_rows])
    return Sample(len(rows), rows.select(chosen), chosen)


def _first_of_stream(rows: IterableDataset, most: int) -> Sample:
    import numpy as np
    from datasets import Dataset

    from ftp.data.tables import from_rows

    first = list(rows.take(most))
    empty: dict[str, list[object]] = {name: [] for name in rows.column_names or ()}
    stored = from_rows(first) if first else Dataset.from_dict(empty)
    if len(stored) < most:  # the stream ended
        return Sample(len(stored), stored, None)
    return Sample(None, stored, np.arange(len(stored)))


def whole_rows(
    parts: Parts, reading: Reading, split: str, num_rows: int, vocabulary: Vocabulary
) -> Words:
    """All parts of each row as one text, in the order in which they are read."""
    if not reading.parts:
        return number_words([""] * num_rows, vocabulary)
    return side_by_side([parts[name][split] for name in reading.parts])


def _without_constants(reading: Reading, parts: Parts) -> tuple[Reading, list[str]]:
    """The reading without parts that say the same in every row: they would only make all rows
    alike."""
    if len(parts) < 2:
        return reading, []
    constant = []
    for name, texts in parts.items():
        alike = rows_of_same_words(list(texts.values()))
        num_rows = sum(map(len, texts.values()))
        if alike and len(alike[0]) == num_rows and num_rows >= FEWEST:
            constant.append(name)
    rest = tuple(name for name in reading.parts if name not in constant)
    if not constant or not rest:
        return reading, []
    shareable = tuple(name for name in reading.shareable if name in rest and len(rest) > 1)
    sides = reading.sides if set(reading.sides) <= set(rest) else ()
    left_out = [f"{name} says the same in every row and was left out" for name in constant]
    return replace(reading, parts=rest, shareable=shareable, sides=sides), left_out


def count_empty(texts: SplitTexts) -> dict[str, int]:
    """Rows without text of each split that has rows."""
    counts = {}
    for split, words in texts.whole.items():
        if len(words):
            counts[split] = int((words.lengths == 0).sum())
    return counts
