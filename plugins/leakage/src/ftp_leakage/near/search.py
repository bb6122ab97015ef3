"""Search for exact and near duplicates among the rows of splits of any size, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ftp_leakage.keys import keys_of, mix
from ftp_leakage.near.copies import START, near_copies
from ftp_leakage.near.pairs import SAME, Pairs, nothing, together
from ftp_leakage.normalise import joined

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

# pairs of rows listed for one pair of texts at most; beyond, each row is listed with a few
MANY = 64
BLOCK = 8_000_000  # words compared at a time, which bounds the memory (about 150 bytes a word)


@dataclass(frozen=True)
class _Piece:
    """Rows of a split that follow one another: which split (its number), from which row on, their
    texts."""

    split: int
    first_row: int
    texts: Words


def find(
    texts: Words,
    split: np.ndarray,
    threshold: float = 0.8,
    within: bool = False,
    near: bool = True,
    start: float = START,
) -> Pairs:
    """Pairs of rows of different splits with the same or nearly the same text.

    Texts without a word are compared with nothing. Of texts that occur many times every row is in
    some pair, but not every pair of rows is listed.

    Args:
        split: [texts] number of the split of each row, 0 to 62.
        within: pair rows of the same split as well.
        near: also pairs of nearly the same text.
        start: least share of a text that its beginning must be.
    """
    import numpy as np

    filled = np.flatnonzero(texts.lengths > 0)
    if not len(filled):
        return nothing()

    # rows of the same words are one text from here on;
    # the rows of text u are rows[bounds[u]:bounds[u + 1]]
    whole = mix(keys_of(texts).whole[filled]) ^ mix(texts.lengths[filled])
    _, first, text_of_row = np.unique(whole, return_index=True, return_inverse=True)
    bounds = np.concatenate(([0], np.cumsum(np.bincount(text_of_row))))
    rows = filled[np.argsort(text_of_row, kind="stable")]
    split_bits = np.bitwise_or.reduceat(np.int64(1) << split[rows].astype(np.int64), bounds[:-1])
    distinct = texts.take(filled[first])

    # a text of several rows is a pair with itself
    twice = np.flatnonzero(np.diff(bounds) > 1)
    exact = (
        twice,
        twice,
        np.ones(len(twice)),
        np.full(len(twice), SAME),
        np.full(len(twice), np.inf),
    )
    tables: list[tuple[np.ndarray, ...]] = [exact]
    crowded = 0
    if near and len(distinct) > 1:
        copies, crowded = near_copies(distinct, split_bits, threshold, within, start)
        tables.append(copies)

    left, right, similarity, why, odds = (
        np.concatenate(column) for column in zip(*tables, strict=True)
    )
    left, right, text_pair = _expand(left, right, rows, bounds, split, within)
    return Pairs(left, right, similarity[text_pair], why[text_pair], odds[text_pair], crowded)


def between(
    splits: Sequence[Words],
    threshold: float = 0.8,
    within: bool = False,
    near: bool = True,
    start: float = START,
) -> dict[tuple[int, int], Pairs]:
    """`find` for splits of any size, in memory bounded by `BLOCK`: pairs (row of the first, row of
    the second) for each two splits (numbers), and with `within` for each split with itself."""
    import numpy as np

    pairs_of_splits: dict[tuple[int, int], list[Pairs]] = {}
    for pieces in _jobs(splits, within):
        sizes = [len(piece.texts) for piece in pieces]
        split = np.repeat([piece.split for piece in pieces], sizes)
        row = np.concatenate([np.arange(len(piece.texts)) + piece.first_row for piece in pieces])
        pairs = find(
            joined([piece.texts for piece in pieces]), split, threshold, within, near, start
        )

        # one number for each two splits, so that their pairs can be told apart
        splits_of_pair = split[pairs.left] * len(splits) + split[pairs.right]
        for code in np.unique(splits_of_pair).tolist():
            is_of_these = splits_of_pair == code
            left = row[pairs.left[is_of_these]]
            right = row[pairs.right[is_of_these]]
            in_rows = replace(pairs.take(is_of_these), left=left, right=right)
            pairs_of_splits.setdefault(divmod(code, len(splits)), []).append(in_rows)
    return {key: together(parts) for key, parts in sorted(pairs_of_splits.items())}


def _jobs(splits: Sequence[Words], within: bool) -> Iterator[list[_Piece]]:
    """What is compared at a time: all splits where they are small, else each two pieces of them."""
    if sum(len(texts.ids) for texts in splits) <= BLOCK:
        yield [_Piece(number, 0, texts) for number, texts in enumerate(splits)]
        return
    pieces: list[_Piece] = []
    for number, texts in enumerate(splits):
        pieces += [_Piece(number, first_row, block) for first_row, block in blocks(texts)]
    for index, piece in enumerate(pieces):
        for other in pieces[index:]:
            if other is piece and within:
                yield [piece]
            elif within or piece.split != other.split:
                yield [piece, other]


def rows_of_same_words(splits: Sequence[Words]) -> list[list[int]]:
    """Groups of rows (numbers in the joined list) with the same words in the same order, two rows
    at least."""
    import numpy as np

    lengths = np.concatenate([texts.lengths for texts in splits])
    whole = np.concatenate([np.zeros(0, np.uint64), *map(_whole, splits)])
    order = np.argsort(whole, kind="stable")
    order = order[lengths[order] > 0]
    if not len(order):
        return []
    # rows of equal keys follow one another
    start = np.flatnonzero(np.concatenate(([True], whole[order][1:] != whole[order][:-1])))
    size = np.diff(np.concatenate((start, [len(order)])))
    groups = []
    for first, count in zip(start[size > 1], size[size > 1], strict=True):
        groups.append(order[first : first + count].tolist())
    return groups


def _whole(texts: Words) -> np.ndarray:
    """[texts] a key that texts of the same words in the same order have in common."""
    import numpy as np

    parts = [mix(keys_of(piece).whole) ^ mix(piece.lengths) for _, piece in blocks(texts)]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def blocks(texts: Words) -> Iterator[tuple[int, Words]]:
    """A split in pieces of at most half a `BLOCK` of words each (one text at least), with the row
    each begins at."""
    import numpy as np

    start = 0
    while start < len(texts):
        end = int(np.searchsorted(texts.starts, texts.starts[start] + BLOCK // 2, side="right")) - 1
        end = max(start + 1, end)
        yield start, texts.take(np.arange(start, end))
        start = end


def _expand(
    left: np.ndarray,
    right: np.ndarray,
    rows: np.ndarray,
    bounds: np.ndarray,
    split: np.ndarray,
    within: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of distinct texts as pairs of rows; the third value says which pair of texts each comes
    from."""
    import numpy as np

    pairs_of_rows: list[tuple[int, int]] = []
    text_pair: list[int] = []
    for number, (first, second) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        first_rows = rows[bounds[first] : bounds[first + 1]].tolist()
        second_rows = rows[bounds[second] : bounds[second + 1]].tolist()
        expanded = sorted(_pairs_of(first_rows, second_rows, split, within))
        pairs_of_rows += expanded
        text_pair += [number] * len(expanded)
    pairs = np.array(pairs_of_rows, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1], np.array(text_pair, dtype=np.int64)


def _pairs_of(
    rows: list[int], other_rows: list[int], split: np.ndarray, within: bool
) -> set[tuple[int, int]]:
    """Pairs of a row of each list, the smaller number first: all of them, or where these are many
    one for each row."""
    if len(rows) * len(other_rows) <= MANY:
        return _crossed(rows, other_rows, split, within)
    pairs = set()
    for partners, listed in ((other_rows, rows), (rows, other_rows)):
        # two of each split, so that a row that is one of them has the other
        of_split: dict[int, list[int]] = {}
        for partner in partners:
            of_split.setdefault(int(split[partner]), []).append(partner)
        heads = []
        for partners_of_split in of_split.values():
            heads += partners_of_split[:2]
        pairs |= _crossed(listed, heads, split, within)
    return pairs


def _crossed(
    rows: list[int], other_rows: list[int], split: np.ndarray, within: bool
) -> set[tuple[int, int]]:
    """Every row of one list with every row of the other that it may be compared with."""
    pairs = set()
    for row in rows:
        for other in other_rows:
            if row != other and (within or split[row] != split[other]):
                pairs.add((min(row, other), max(row, other)))
    return pairs
