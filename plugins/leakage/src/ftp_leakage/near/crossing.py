"""Texts with equal keys are brought together: the candidates for near duplicates, in time linear in
the number of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# so many texts of fewer words that differ in one place share a template, no leak
TEMPLATE, TEMPLATE_LENGTH = 4, 16
CROWD = 256  # texts of one key compared with each other at most


class Crossing:
    """Brings texts with equal keys together, where they are of different splits.

    Args:
        split_bits: [texts] int64; bit s is set where the text occurs in split s.
        within: also pair texts of one and the same split.
    """

    def __init__(self, split_bits: np.ndarray, within: bool) -> None:
        self.split_bits = split_bits
        self.within = within
        self.crowded = 0

    def meet(
        self,
        key: np.ndarray,
        text: np.ndarray,
        sure: np.ndarray,
        in_crowds: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of texts that have a key in common.

        Args:
            key: [keys] uint64.
            text: [keys] the text that each key is of.
            sure: [texts] at least one of the two texts must be.
            in_crowds: [texts] whether to pair it where `TEMPLATE` or more texts have the key; None:
                all.
        """
        import numpy as np

        if not len(key):
            return self._of_use(text, text, sure)

        # equal keys become neighbours; a group is a run of them
        order = np.argsort(key, kind="stable")
        key, text = key[order], text[order]
        is_first = np.concatenate(([True], key[1:] != key[:-1]))
        start = np.flatnonzero(is_first)
        size = np.diff(np.concatenate((start, [len(key)])))
        group = np.cumsum(is_first) - 1

        # groups without a pair that could count are left out before pairs are made
        useful = size > 1
        if not self.within:
            useful &= _has_several(np.bitwise_or.reduceat(self.split_bits[text], start))
        useful &= np.logical_or.reduceat(sure[text], start)
        if in_crowds is not None:
            useful &= (size < TEMPLATE) | in_crowds[text[start]]
        self.crowded += int((useful & (size > CROWD)).sum())

        # each member is paired with all that stand before it in its group
        rank = np.arange(len(key)) - start[group]
        member = np.flatnonzero(useful[group] & (rank > 0) & (rank < CROWD))
        times = rank[member]
        right = np.repeat(text[member], times)
        left = text[np.repeat(start[group[member]], times) + _count_up(times)]
        return self._of_use(left, right, sure)

    def look_up(
        self,
        key: np.ndarray,
        text: np.ndarray,
        other_key: np.ndarray,
        other_text: np.ndarray,
        sure: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of a text that has one of the keys `key` and another text that has it among
        `other_key`.

        Args:
            key: [keys] uint64.
            text: [keys] the text that each key is of.
            other_key: [other keys] uint64.
            other_text: [other keys] the text that each of them is of.
            sure: [texts] at least one of the two texts must be; None: neither has to.
        """
        import numpy as np

        order = np.argsort(other_key, kind="stable")
        unique, start, count = np.unique(other_key[order], return_index=True, return_counts=True)
        if not len(unique):
            return self._of_use(text[:0], other_text[:0], sure)
        match = np.minimum(np.searchsorted(unique, key), len(unique) - 1)
        hit = np.flatnonzero(unique[match] == key)
        match = match[hit]
        times = np.minimum(count[match], CROWD)
        self.crowded += int((count[match] > CROWD).sum())
        left = np.repeat(text[hit], times)
        right = other_text[order[np.repeat(start[match], times) + _count_up(times)]]
        return self._of_use(left, right, sure)

    def _of_use(
        self, left: np.ndarray, right: np.ndarray, sure: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Those of the pairs that are of two texts and two splits, and of a text that is sure."""
        import numpy as np

        keep = left != right
        if not self.within:
            keep &= _has_several(self.split_bits[left] | self.split_bits[right])
        if sure is not None:
            keep &= sure[left] | sure[right]
        return left[keep].astype(np.int64), right[keep].astype(np.int64)


def _has_several(bits: np.ndarray) -> np.ndarray:
    """Whether more than one bit of each number is set: without its lowest bit something is left."""
    several: np.ndarray = (bits & (bits - 1)) != 0
    return several


def _count_up(times: np.ndarray) -> np.ndarray:
    """0, 1 ... up to each number, one after the other: [2, 3] gives [0, 1, 0, 1, 2]."""
    import numpy as np

    ends = np.cumsum(times)
    total = ends[-1] if len(ends) else 0
    counted: np.ndarray = np.arange(total) - np.repeat(ends - times, times)
    return counted
