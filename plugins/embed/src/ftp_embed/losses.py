"""The losses on vectors of texts. All compare by cosine; `vectors` are [rows, texts of a row, size]. Heavy: imports torch.

Each is held to the loss of the same name in sentence-transformers, value and gradient (tests/test_losses.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize, relu

from ftp_embed.ranks import gather_rows


def ranking_losses(vectors: Tensor, texts: Tensor, scale: float, both_ways: bool = False) -> Tensor:
    """[rows] cross entropy in nats of finding each anchor's positive among all texts but the anchors of the batch.

    Multiple negatives ranking (Henderson et al. 2017, arXiv:1705.00652, section 4.3), also known as InfoNCE: the positives and
    negatives of all rows, on all ranks, are the negatives of a row.

    Args:
        vectors: of anchor, positive and, where there is one, negative.
        texts: [rows, texts of a row] int64, a number that is the same for the same text. What is the same text as the row's own
            anchor or positive is none of its negatives.
        scale: what cosines are multiplied by (1 / temperature).
        both_ways: the mean with finding each positive's anchor among all anchors.
    """
    rows = len(vectors)
    all_vectors, first = gather_rows(vectors)
    all_texts, _ = gather_rows(texts)
    own = torch.arange(first, first + rows, device=vectors.device)

    # columns of the scores: the positives of all rows, then their negatives
    candidates = all_vectors[:, 1:].transpose(0, 1).flatten(0, 1)
    candidate_texts = all_texts[:, 1:].T.flatten()
    losses = _choice_losses(vectors[:, 0], candidates, own, _same_text(texts, candidate_texts), scale)
    if both_ways:
        backwards = _choice_losses(vectors[:, 1], all_vectors[:, 0], own, _same_text(texts, all_texts[:, 0]), scale)
        losses = (losses + backwards) / 2
    return losses


def _same_text(texts: Tensor, candidates: Tensor) -> Tensor:
    """[rows, candidates] whether a candidate is the row's own anchor or positive, by its text."""
    return (texts[:, :1] == candidates) | (texts[:, 1:2] == candidates)


def _choice_losses(asking: Tensor, candidates: Tensor, right: Tensor, excluded: Tensor, scale: float) -> Tensor:
    """[rows] cross entropy of choosing the candidate `right` [rows], of those that are not excluded [rows, candidates]."""
    scores = normalize(asking, dim=-1) @ normalize(candidates, dim=-1).T * scale
    is_right = torch.arange(len(candidates), device=right.device) == right[:, None]
    scores = scores.masked_fill(excluded & ~is_right, -torch.inf)
    return scores.logsumexp(1) - scores[is_right]


def cosent_loss(vectors: Tensor, targets: Tensor, scale: float) -> Tensor:
    """A number: log(1 + the sum of exp(scale (cos of j - cos of i)) over all pairs i that are to be more alike than pair j).

    CoSENT (Huang et al. 2024, doi:10.1109/TASLP.2024.3402087). The pairs of all ranks are compared with one another.

    Args:
        targets: [rows] how alike the two texts of a row are, in any unit: only their order counts.
    """
    all_vectors, _ = gather_rows(vectors)
    all_targets, _ = gather_rows(targets)
    cosines = cosine_similarity(all_vectors[:, 0], all_vectors[:, 1], dim=-1) * scale
    behind = cosines[None, :] - cosines[:, None]  # [i, j]
    behind = behind[all_targets[:, None] > all_targets[None, :]]
    return torch.cat([behind.new_zeros(1), behind]).logsumexp(0)


def triplet_losses(vectors: Tensor, margin: float) -> Tensor:
    """[rows] by how much the positive is not nearer than the negative by the margin, in cosine distance (Schroff et al. 2015,
    arXiv:1503.03832, equation 2, with the cosine in place of the squared distance)."""
    anchor, positive, negative = vectors.unbind(1)
    distance = 1 - cosine_similarity(anchor, positive, dim=-1)
    distance_of_negative = 1 - cosine_similarity(anchor, negative, dim=-1)
    return relu(distance - distance_of_negative + margin)


def at_each_size(loss: Callable[[Tensor], Tensor], vectors: Tensor, sizes: Sequence[int]) -> Tensor:
    """The sum of a loss over the first numbers of each vector, for each of the sizes (Matryoshka, Kusupati et al. 2022,
    arXiv:2205.13147, equation 1, with weights of 1)."""
    total = loss(vectors[..., : sizes[0]])
    for size in sizes[1:]:
        total = total + loss(vectors[..., :size])
    return total
