"""How surprising a text is among the texts at hand: what tells a copied row from two people who
wrote alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftp_leakage.keys import mix

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

OWN = 2  # occurrences left out of a count: the text's own and that of its possible copy
DISCOUNT = 0.75  # of a count; as in Kneser-Ney smoothing
CONTEXTS = ((1, 5.0), (3, 100.0))
"""Words before, and the weight of what fewer words say against what these say. Three tell a prompt
that many rows are written into; their weight is such that a few rows make no prompt."""


@dataclass(frozen=True)
class Surprise:
    """Surprise in nats.

    Args:
        whole: [texts] float64 surprise of each text.
        sums: [words + 1] float64 running sum over words, those of each text the most surprising
            first.
        starts: [texts + 1] where each text begins.
    """

    whole: np.ndarray
    sums: np.ndarray
    starts: np.ndarray

    def without(self, text: np.ndarray, count: np.ndarray | int) -> np.ndarray:
        """[...] surprise of texts without so many of their words, whichever these are: the most
        surprising ones."""
        start = self.starts[text]
        rest: np.ndarray = self.whole[text] - (self.sums[start + count] - self.sums[start])
        return rest


def surprise(texts: Words) -> Surprise:
    """How surprising texts are: -ln of their probability given what all of them have after the same
    words.

    The model is interpolated and discounted (Ney, Essen and Kneser 1994), from single words over
    pairs to runs of four, with a mark at the beginning and at the end. Each text is judged by the
    others: its own occurrence and one more are left out of every count, so that a leaked copy does
    not vouch for itself. What many texts have in common (a prompt that each is written into) is
    hardly a surprise, so that no two of them are alike for it.
    """
    import numpy as np

    num_texts = len(texts)
    edge = len(texts.vocabulary)  # one more word: the beginning and the end of a text
    num_kinds = edge + 1

    # all texts in a row, with the mark behind each
    text_of_word = np.repeat(np.arange(num_texts), texts.lengths)
    slot = np.arange(len(texts.ids)) + text_of_word
    word = np.full(len(texts.ids) + num_texts, edge, dtype=np.int64)
    word[slot] = texts.ids

    # single words, with half a count for each so that none is impossible
    counts = np.bincount(word, minlength=num_kinds)
    probability = (_of_others(counts[word]) + 0.5) / (len(word) + 0.5 * num_kinds)

    # each longer context takes a discounted count, and leaves its weight to the shorter one
    for count, weight in CONTEXTS:
        context = _context_keys(word, edge, count)
        in_context = _of_others(_counts(mix(context) ^ word.astype(np.uint64)))
        discounted = np.maximum(in_context - DISCOUNT, 0)
        probability = (discounted + weight * probability) / (_of_others(_counts(context)) + weight)
    nats = -np.log(probability)

    text_of_slot = np.repeat(np.arange(num_texts), texts.lengths + 1)
    whole = np.bincount(text_of_slot, nats, minlength=num_texts)
    most_surprising_first = np.lexsort((-nats[slot], text_of_word))
    sums = np.concatenate(([0.0], np.cumsum(nats[slot][most_surprising_first])))
    return Surprise(whole, sums, texts.starts)


def _of_others(counts: np.ndarray) -> np.ndarray:
    """Counts without the text's own occurrence and that of its possible copy."""
    import numpy as np

    others: np.ndarray = np.maximum(counts - OWN, 0)
    return others


def _context_keys(word: np.ndarray, edge: int, count: int) -> np.ndarray:
    """[words] uint64 one number for the `count` words before each; the mark stands for those before
    the text."""
    import numpy as np

    key: np.ndarray = np.zeros(len(word), dtype=np.uint64)
    previous = word
    for step in range(count):
        moved = np.concatenate(([edge], previous[:-1]))
        # once a mark is reached, all words further back are marks
        previous = np.where(previous == edge, edge, moved) if step else moved
        key = mix(key) ^ previous.astype(np.uint64)
    return key


def _counts(keys: np.ndarray) -> np.ndarray:
    """[keys] how often each is among them."""
    import numpy as np

    _, index, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[index]
