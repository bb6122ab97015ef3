"""Search for exact and near duplicates among the rows of splits of any size, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ftp_leakage.keys import keys_of, mix
from ftp_leakage.near.copies import START, near_copies
from ftp_leakage.near.pairs import SAME, Pairs, nothing, together
from ftp_leakage.normalise import joined

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

MANY = 64  # pairs of rows listed for one pair of texts at most; beyond, each row is listed with a few
BLOCK = 8_000_000  # words compared at a time, which bounds the memory (about 150 bytes a word)


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
        pairs, crowded = near_copies(distinct, where, threshold, within, start)
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


def rows_of_same_words(splits: Sequence[Words]) -> list[list[int]]:
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
