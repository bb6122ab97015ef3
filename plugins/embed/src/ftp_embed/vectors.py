"""Texts as vectors: pooling, and gradients of batches that do not fit at once. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ftp.net import heads, layout

Pooling = Literal["mean", "cls", "last"]
"""The vector of a text: the mean of its tokens' last hidden states, that of its first token, or that of its last."""


def pool(inputs: Mapping[str, Tensor], states: Tensor, pooling: Pooling) -> Tensor:
    """[texts, size] float32 the vector of each text.

    Args:
        states: [slots, size] the last hidden states, as `heads.hidden` gives them.
    """
    tokens, bounds = layout.real(inputs, states).float(), layout.bounds(inputs)
    if pooling == "cls":
        return tokens[bounds[:-1]]
    if pooling == "last":
        return tokens[bounds[1:] - 1]
    lengths = bounds.diff()
    sums = tokens.new_zeros(len(lengths), tokens.shape[1]).index_add(0, layout.rows(inputs), tokens)
    return sums / lengths[:, None]


def embed(net: nn.Module, parts: Sequence[Mapping[str, Tensor]], pooling: Pooling) -> Tensor:
    """[texts, size] float32 the vectors of the texts of all parts, which go through the network one after another.

    With more than one part, only vectors are kept; the backward pass takes the parts through the network again, one at a time,
    each with the gradient of its vectors (gradient caching, Gao et al. 2021, arXiv:2101.06983, section 3.2). So a loss
    that compares all texts needs the memory of one part, and its gradient is that of the whole batch.
    """

    def vectors_of(inputs: Mapping[str, Tensor]) -> Tensor:
        return pool(inputs, heads.hidden(net, inputs), pooling)

    if len(parts) == 1 or not torch.is_grad_enabled():
        return torch.cat([vectors_of(part) for part in parts])
    return torch.cat([checkpoint(vectors_of, part, use_reentrant=False) for part in parts])
