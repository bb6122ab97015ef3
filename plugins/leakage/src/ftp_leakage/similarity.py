"""How alike two texts truly are: the check of every candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words


def in_common(texts: Words, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[pairs] words that two texts have in common (each as often as both have it, in any order), divided by the number
    of words of the longer. One word changed in n gives 1 - 1/n; another order of the same words gives 1."""
    import numpy as np
    from rapidfuzz.distance import LCSseq

    # the longest common subsequence of two sorted lists is what both multisets have in common
    ordered: dict[int, list[int]] = {}

    def of(text: int) -> list[int]:
        if text not in ordered:
            ordered[text] = sorted(texts.of(text))
        return ordered[text]

    return np.array(
        [LCSseq.normalized_similarity(of(a), of(b)) for a, b in zip(left.tolist(), right.tolist(), strict=True)],
        dtype=np.float64,
    )
