"""How surprising a text is among the texts at hand: what tells a copied row from two people who wrote alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

OWN = 2  # occurrences left out of a count: the text's own and that of its possible copy
PRIOR = 5.0  # weight of the word's own frequency against what follows the word before
DISCOUNT = 0.75


def surprise(texts: Words) -> np.ndarray:
    """[texts] surprise of each text in nats, -ln of its probability under a word-pair model of all the texts.

    The model is an interpolated, discounted bigram model with a mark at the beginning and at the end (Ney, Essen and
    Kneser 1994). Each text is judged by the others: its own occurrence and one more are left out of every count, so
    that a leaked copy does not vouch for itself.
    """
    import numpy as np

    size, rows = len(texts.vocabulary), len(texts)
    edge = size  # one more word: the beginning, and the end
    lengths = texts.lengths
    place = np.arange(len(texts.ids)) + np.repeat(np.arange(rows), lengths)
    word = np.full(len(texts.ids) + rows, edge, dtype=np.int64)
    word[place] = texts.ids
    before = np.concatenate(([edge], word[:-1]))
    _, which, counts = np.unique(before * (size + 1) + word, return_inverse=True, return_counts=True)
    single = np.bincount(word, minlength=size + 1)
    pair = np.maximum(counts[which] - OWN, 0)
    alone = (np.maximum(single[word] - OWN, 0) + 0.5) / (len(word) + 0.5 * (size + 1))
    context = np.maximum(single[before] - OWN, 0)
    nats = -np.log((np.maximum(pair - DISCOUNT, 0) + PRIOR * alone) / (context + PRIOR))
    return np.bincount(np.repeat(np.arange(rows), lengths + 1), nats, minlength=rows)
