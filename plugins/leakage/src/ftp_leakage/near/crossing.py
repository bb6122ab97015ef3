"""Texts with equal keys are brought together: the candidates for near duplicates, in time linear in the number of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

TEMPLATE, TEMPLATE_LENGTH = 4, 16  # so many texts of fewer words that differ in one place share a template, no leak


CROWD = 256  # texts of one key compared with each other at most


class Crossing:
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
