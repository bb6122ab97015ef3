"""Rows that two splits share, and parts of rows (a prompt, one side of a pair) where the rows
differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import TYPE_CHECKING

from ftp_leakage.near.copies import START
from ftp_leakage.near.pairs import CUT, PART, SWAPPED, Pairs, nothing, together
from ftp_leakage.near.search import between, rows_of_same_words
from ftp_leakage.normalise import Words, joined
from ftp_leakage.report import ASKED, Overlap
from ftp_leakage.rows import Reading, is_growing_chat
from ftp_leakage.similarity import in_common

if TYPE_CHECKING:
    import numpy as np

Parts = dict[str, dict[str, Words]]
"""Part of a row -> split -> the text of that part in each row."""
SIDE = 6  # words; many people write the same shorter prompt or answer
COMMON, COMMON_SHARE = 5, 0.01  # rows of a side, and their share; above both it is a common phrase


def overlaps_of_rows(
    order: Sequence[str],
    texts: Mapping[str, Words],
    parts: Parts,
    reading: Reading,
    threshold: float,
    within: bool,
) -> tuple[tuple[Overlap, ...], tuple[Overlap, ...]]:
    """Pairs of rows across splits, and where wanted (`within`) pairs within each split."""
    # of one conversation another may be the beginning, be it a small part
    start = 0.0 if is_growing_chat(reading.form) else START
    kept: dict[tuple[int, int], Pairs] = {}
    pairs_of_splits = between([texts[split] for split in order], threshold, within, start=start)
    for (first, second), pairs in pairs_of_splits.items():
        kept[first, second] = _alike_in_all_parts(
            order[first], order[second], pairs, parts, reading, threshold
        )
    across = []
    for first, second in combinations(range(len(order)), 2):
        pairs = kept.get((first, second), nothing())
        across.append(Overlap("row", order[first], order[second], pairs))
    inside = []
    for number, split in enumerate(order if within else ()):
        inside.append(Overlap("row", split, split, kept.get((number, number), nothing())))
    return tuple(across), tuple(inside)


def _alike_in_all_parts(
    first: str, second: str, pairs: Pairs, parts: Parts, reading: Reading, threshold: float
) -> Pairs:
    """Only pairs in which every part is alike: two questions about one long text are not the same
    row. A conversation that goes on from another has other parts."""
    import numpy as np

    if len(parts) < 2:
        return pairs
    goes_on = np.zeros(len(pairs), bool)
    if is_growing_chat(reading.form):
        goes_on = np.isin(pairs.why, (PART, CUT))
    keep = np.ones(len(pairs), bool)
    for texts in parts.values():
        # what an earlier part has ruled out is not compared again
        left = pairs.left[keep]
        right = pairs.right[keep]
        alike = in_common(texts[first], left, right, texts[second], of_shorter=True)
        keep[keep] = (alike >= threshold) | goes_on[keep]
    return pairs.take(keep)


def with_swapped(overlap: Overlap, swapped_texts: Words, texts: Words) -> Overlap:
    """With the pairs that have the same words once the sides of the first split are swapped.

    Args:
        swapped_texts: the texts of the first split with their sides swapped.
        texts: those of the second split as they are.
    """
    import numpy as np

    swapped = between([swapped_texts, texts], near=False).get((0, 1), nothing())
    swapped = swapped.take(~_is_in(swapped, [overlap]))
    swapped = replace(swapped, why=np.full(len(swapped), SWAPPED))
    return replace(overlap, pairs=together([overlap.pairs, swapped]))


def overlaps_of_sides(
    order: Sequence[str], parts: Parts, reading: Reading, threshold: float, rows: Sequence[Overlap]
) -> Iterator[Overlap]:
    """Parts that rows of two splits share, in the same column or in another, where the rows are not
    alike as a whole.

    Args:
        rows: the overlaps of whole rows.
    """
    import numpy as np

    # the parts of a split one after the other as one list: text number = part * rows + row
    names = reading.shareable
    texts = [joined([parts[name][split] for name in names]) for split in order]
    num_rows = [len(parts[names[0]][split]) for split in order]
    is_telling = _tell_rows_apart(texts, names, num_rows)
    starts = np.cumsum([0, *map(len, texts)])

    for (first, second), pairs in between(texts, threshold).items():
        is_left_telling = is_telling[starts[first] + pairs.left]
        is_right_telling = is_telling[starts[second] + pairs.right]
        pairs = pairs.take(is_left_telling & is_right_telling)
        left_part, left = np.divmod(pairs.left, num_rows[first])
        right_part, right = np.divmod(pairs.right, num_rows[second])
        pairs = replace(pairs, left=left, right=right)
        splits = (order[first], order[second])
        alike = [overlap for overlap in rows if (overlap.first, overlap.second) == splits]
        is_known = _is_in(pairs, alike)
        for part, other_part in product(range(len(names)), repeat=2):
            of_parts = (left_part == part) & (right_part == other_part)
            shared = pairs.take(of_parts & ~is_known)
            if not len(shared):
                continue
            name = names[part]
            is_same_part = part == other_part
            other = "" if is_same_part else names[other_part]
            is_weighty = is_same_part and (name in ASKED or reading.form == "columns")
            yield Overlap(name, *splits, shared, other, is_weighty)


def _tell_rows_apart(
    texts: Sequence[Words], names: Sequence[str], num_rows: Sequence[int]
) -> np.ndarray:
    """[texts of all splits] bool, whether a text that two rows share says something about them:
    short texts, and phrases that everybody writes, do not; what was asked does, however common it
    is."""
    import numpy as np

    is_telling = np.concatenate([words.lengths >= SIDE for words in texts])
    part = np.concatenate([np.repeat(np.arange(len(names)), size) for size in num_rows])
    asked_parts = [number for number, name in enumerate(names) if name in ASKED]
    is_asked = np.isin(part, asked_parts)
    most = max(COMMON, COMMON_SHARE * sum(num_rows))
    for group in rows_of_same_words(texts):
        if len(group) > most:
            is_telling[group] &= is_asked[group]
    return is_telling


def _is_in(pairs: Pairs, overlaps: Sequence[Overlap]) -> np.ndarray:
    """[pairs] whether a pair of rows is one of these overlaps'."""
    import numpy as np

    known = [_codes(overlap.pairs) for overlap in overlaps]
    return np.isin(_codes(pairs), np.concatenate(known) if known else [])


def _codes(pairs: Pairs) -> np.ndarray:
    """[pairs] one number for each two rows."""
    import numpy as np

    codes: np.ndarray = (pairs.left.astype(np.int64) << 32) | pairs.right
    return codes
