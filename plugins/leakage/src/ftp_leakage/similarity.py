"""How alike two texts truly are: the check of every candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words


def in_common(
    texts: Words,
    left: np.ndarray,
    right: np.ndarray,
    others: Words | None = None,
    of_shorter: bool = False,
) -> np.ndarray:
    """[pairs] float64 share of words that two texts have in common, each as often as both have it
    and in any order, of the words of the longer.

    One word changed in n gives 1 - 1/n; another order of the same words gives 1. Two empty texts
    are alike.

    Args:
        left: [pairs] numbers of texts.
        right: [pairs] numbers of texts, of `others` where these are given.
        of_shorter: the share of the words of the shorter instead, so that a part of a text is as
            like as can be.
    """
    import numpy as np
    from rapidfuzz.distance import LCSseq

    left_sorted = _SortedWords(texts)
    right_sorted = left_sorted if others is None else _SortedWords(others)
    similarity = np.zeros(len(left), dtype=np.float64)
    for pair, (left_text, right_text) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        left_words = left_sorted[left_text]
        right_words = right_sorted[right_text]
        lengths = (len(left_words), len(right_words))
        length = min(lengths) if of_shorter else max(lengths)
        if length == 0:
            similarity[pair] = float(lengths[0] == lengths[1])
            continue
        # the longest common subsequence of two sorted lists is what both multisets have in common
        similarity[pair] = float(LCSseq.similarity(left_words, right_words)) / length
    return similarity


class _SortedWords(dict[int, list[int]]):
    """The words of each text in order of their numbers, sorted when they are first needed."""

    def __init__(self, texts: Words) -> None:
        self.texts = texts

    def __missing__(self, text: int) -> list[int]:
        self[text] = sorted(self.texts.ids_of(text))
        return self[text]
