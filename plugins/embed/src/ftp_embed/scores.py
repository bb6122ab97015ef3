"""How good vectors are: do similarities agree with people's, and is what is looked for found. Imports numpy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating]
CUT = 10
"""Ranks that nDCG and MRR look at, as in BEIR (Thakur et al. 2021, arXiv:2104.08663, section 4)."""


def cosines(left: Vectors, right: Vectors) -> Vectors:
    """[rows] the cosine of each row of `left` with that of `right`."""
    similarity: Vectors = (unit(left) * unit(right)).sum(1)
    return similarity


def unit(vectors: Vectors) -> Vectors:
    """The vectors at length 1; one of length 0 stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, 1e-12)
    return scaled


def ranks_of_relevant(queries: Vectors, documents: Vectors, relevant: Sequence[Sequence[int]]) -> list[NDArray[np.int64]]:
    """For each query the ranks (from 0, by cosine) of its relevant documents, in order. Of equals, the relevant one stands last.

    Args:
        relevant: for each query the numbers of the documents that answer it, at least one.
    """
    documents = unit(documents).T
    ranks = []
    for query, wanted in zip(unit(queries), relevant, strict=True):  # query by query: all scores at once may not fit
        scores = query @ documents
        of_wanted = np.sort(scores[list(wanted)])[::-1]
        others = np.delete(scores, list(wanted))
        better = (others[None, :] >= of_wanted[:, None]).sum(1)
        ranks.append(better + np.arange(len(of_wanted)))
    return ranks


def recall(ranks: Sequence[NDArray[np.int64]], at: int) -> float:
    """The mean over queries of the share of relevant documents that are among the first `at`."""
    return float(np.mean([(of_query < at).mean() for of_query in ranks]))


def ndcg(ranks: Sequence[NDArray[np.int64]], at: int = CUT) -> float:
    """The mean over queries of normalised discounted cumulative gain, relevance 0 or 1 (Järvelin and Kekäläinen 2002)."""
    gains = 1 / np.log2(np.arange(at) + 2)
    shares = []
    for of_query in ranks:
        best = gains[: len(of_query)].sum()
        shares.append(gains[of_query[of_query < at]].sum() / best)
    return float(np.mean(shares))


def reciprocal_rank(ranks: Sequence[NDArray[np.int64]], at: int = CUT) -> float:
    """The mean over queries of 1 / the place of the first relevant document; 0 where it is not among the first `at`."""
    firsts = [of_query[0] for of_query in ranks]
    return float(np.mean([1 / (first + 1) if first < at else 0.0 for first in firsts]))
