"""Pairs of rows that are alike: which, how much, why, and how surely one was copied from the
other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

NOTES = (
    "the same words",
    "the same words in another order",
    "one is a part of the other",
    "one is cut off inside a word",
    "one word changed",
    "one word more",
    "few words changed",
    "the same, with the two sides swapped",
)
"""Why a pair is one, in words: `NOTES[SAME]` and so on."""
SAME, ORDER, PART, CUT, CHANGED, MORE, FEW, SWAPPED = range(8)


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows, a column each.

    Args:
        left: [pairs] int64 numbers of rows.
        right: [pairs] int64 numbers of rows.
        similarity: [pairs] float64, share of words in common.
        why: [pairs] which of `NOTES`.
        odds: [pairs] float64, log odds of a copy against chance, in nats (infinite for the same
            words).
        crowded: keys that more than `crossing.CROWD` texts have, of which only that many were
            compared.
    """

    left: np.ndarray
    right: np.ndarray
    similarity: np.ndarray
    why: np.ndarray
    odds: np.ndarray
    crowded: int = 0

    def __len__(self) -> int:
        return len(self.left)

    def take(self, which: np.ndarray) -> Pairs:
        """Some of the pairs: by number, or by a mask."""
        return Pairs(
            self.left[which],
            self.right[which],
            self.similarity[which],
            self.why[which],
            self.odds[which],
            self.crowded,
        )


def nothing() -> Pairs:
    """No pairs."""
    import numpy as np

    none = np.zeros(0, dtype=np.int64)
    return Pairs(none, none, np.zeros(0), none, np.zeros(0))


def together(parts: list[Pairs]) -> Pairs:
    """Pairs of several blocks as one, each pair of rows once."""
    import numpy as np

    names = ("left", "right", "similarity", "why", "odds")
    columns = {}
    for name in names:
        columns[name] = np.concatenate([getattr(part, name) for part in parts])
    pairs = Pairs(**columns, crowded=max(part.crowded for part in parts))
    if len(parts) == 1:
        return pairs
    _, first = np.unique(np.stack((pairs.left, pairs.right)), axis=1, return_index=True)
    return pairs.take(first)
