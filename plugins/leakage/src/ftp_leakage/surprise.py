"""How surprising a text is among the texts at hand: what tells a copied row from two people who wrote alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp_leakage.keys import mix

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

OWN = 2  # occurrences left out of a count: the text's own and that of its possible copy
DISCOUNT = 0.75
BEFORE = ((1, 5.0), (3, 100.0))
"""Words before, and the weight of what fewer words say against what these say. Three tell a prompt that many rows are
written into; their weight is such that a few rows make no prompt."""


@dataclass(frozen=True)
class Surprise:
    """`whole`: [texts] surprise of each text in nats. `sums`: [words + 1] running sum of the surprise of words, those of each
    text the most surprising first. `starts`: [texts + 1] where each text begins."""

    whole: np.ndarray
    sums: np.ndarray
    starts: np.ndarray

    def without(self, text: np.ndarray, count: np.ndarray | int) -> np.ndarray:
        """[...] what texts surprise by without so many of their words, whichever these are: the most surprising ones."""
        start = self.starts[text]
        rest: np.ndarray = self.whole[text] - (self.sums[start + count] - self.sums[start])
        return rest


def surprise(texts: Words) -> Surprise:
    """How surprising texts are: -ln of their probability given what all of them have after the same words.

    The model is interpolated and discounted (Ney, Essen and Kneser 1994), from single words over pairs to runs of four, with
    a mark at the beginning and at the end. Each text is judged by the others: its own occurrence and one more are left out
    of every count, so that a leaked copy does not vouch for itself. What many texts have in common (a prompt that each is
    written into) is hardly a surprise, so that no two of them are alike for it.
    """
    import numpy as np

    size, rows = len(texts.vocabulary), len(texts)
    edge = size  # one more word: the beginning, and the end
    of = np.repeat(np.arange(rows), texts.lengths)
    place = np.arange(len(texts.ids)) + of
    word = np.full(len(texts.ids) + rows, edge, dtype=np.int64)
    word[place] = texts.ids
    single = np.bincount(word, minlength=size + 1)
    likely = (np.maximum(single[word] - OWN, 0) + 0.5) / (len(word) + 0.5 * (size + 1))
    for count, weight in BEFORE:
        context = _before(word, edge, count)
        follows = np.maximum(_counts(mix(context) ^ word.astype(np.uint64)) - OWN, 0)
        likely = (np.maximum(follows - DISCOUNT, 0) + weight * likely) / (np.maximum(_counts(context) - OWN, 0) + weight)
    nats = -np.log(likely)
    whole = np.bincount(np.repeat(np.arange(rows), texts.lengths + 1), nats, minlength=rows)
    sums = np.concatenate(([0.0], np.cumsum(nats[place][np.lexsort((-nats[place], of))])))
    return Surprise(whole, sums, texts.starts)


def _before(word: np.ndarray, edge: int, count: int) -> np.ndarray:
    """[words] one number for the `count` words before each; the mark stands for those before the text."""
    import numpy as np

    key: np.ndarray = np.zeros(len(word), dtype=np.uint64)
    last = word
    for step in range(count):
        moved = np.concatenate(([edge], last[:-1]))
        last = np.where(last == edge, edge, moved) if step else moved
        key = mix(key) ^ last.astype(np.uint64)
    return key


def _counts(keys: np.ndarray) -> np.ndarray:
    """[keys] how often each is among them."""
    import numpy as np

    _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[which]
