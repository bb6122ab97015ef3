"""How alike two texts truly are: the check of every candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words


def in_common(
    texts: Words, left: np.ndarray, right: np.ndarray, others: Words | None = None, of_shorter: bool = False
) -> np.ndarray:
    """[pairs] words that two texts have in common (each as often as both have it, in any order), divided by the number
    of words of the longer. One word changed in n gives 1 - 1/n; another order of the same words gives 1.

    `others`: the texts that `right` counts, where these are not the same. `of_shorter`: divided by the number of words
    of the shorter instead, so that a part of a text is as like as can be. Two empty texts are alike.
    """
    import numpy as np
    from rapidfuzz.distance import LCSseq

    ordered: dict[tuple[bool, int], list[int]] = {}

    def of(text: int, second: bool) -> list[int]:
        key = (second, text)
        if key not in ordered:
            ordered[key] = sorted((others if second and others is not None else texts).of(text))
        return ordered[key]

    def alike(a: int, b: int) -> float:
        one, other = of(a, False), of(b, True)
        size = min(len(one), len(other)) if of_shorter else max(len(one), len(other))
        if size == 0:
            return float(len(one) == len(other))
        # the longest common subsequence of two sorted lists is what both multisets have in common
        return float(LCSseq.similarity(one, other)) / size

    return np.array([alike(a, b) for a, b in zip(left.tolist(), right.tolist(), strict=True)], dtype=np.float64)
