"""The logits of a batch's terms, as `LossOut.logits` hands them to wrappers. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ftp.net.heads import Head, in_pieces

__all__ = ["Logits", "VocabularyLogits", "WholeLogits"]


class Logits(Protocol):
    """The logits of the terms of a batch, [terms, classes] with gradient while training, asked for a stretch at a time.

    The network ran once. Over a large vocabulary all logits together need more memory than the network, so that they are
    made where they are asked for, and again in the backward pass.
    """

    def __len__(self) -> int:
        """The number of terms."""

    def at(self, terms: Tensor) -> Tensor:
        """[n, classes] the logits of the terms `terms` [n]."""

    def each(
        self, function: Callable[[Tensor, Tensor], Tensor], beside: Tensor | Logits
    ) -> Tensor:
        """What a function gives for each term, asked for a stretch of them at a time.

        Args:
            function: `function(logits, beside)` gives `[n]` for `[n, classes]` logits.
            beside: of each term what the function reads too: a tensor `[terms, ...]` (the targets), or other logits of them.

        Returns:
            `[terms]`.
        """


@dataclass(frozen=True)
class WholeLogits:
    """Logits of few classes, all of which are there.

    Args:
        values: `[terms, classes]` fp32.
        num_classes: `[terms]` the number of classes of each term, where terms have different numbers (choices of a question):
            what stands behind them in `values` is no class, and no function of `each` sees it. None: all have all.
    """

    values: Tensor
    num_classes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    def at(self, terms: Tensor) -> Tensor:
        return self.values[terms]

    def each(self, function: Callable[[Tensor, Tensor], Tensor], beside: Tensor | Logits) -> Tensor:
        if not isinstance(beside, Tensor):
            beside = beside.at(torch.arange(len(self), device=self.values.device))
        if self.num_classes is None:
            return function(self.values, beside)
        # A share of a class that is not there would be infinite: terms with as many classes go together.
        order: list[Tensor] = []
        results: list[Tensor] = []
        for count in self.num_classes.unique().tolist():
            terms = (self.num_classes == count).nonzero().flatten()
            # targets are a number a term, other logits a row of classes
            beside_terms = beside[terms] if beside.dim() == 1 else beside[terms, :count]
            order.append(terms)
            results.append(function(self.values[terms, :count], beside_terms))
        return torch.cat(results)[torch.cat(order).argsort()]


@dataclass(frozen=True)
class VocabularyLogits:
    """Logits over a vocabulary, made from hidden states in pieces that fit (`ftp.net.heads.in_pieces`).

    Args:
        net: the network, whose vocabulary says how large a piece may be.
        head: its head at the slots of the terms.
        count: the number of terms.
    """

    net: nn.Module
    head: Head
    count: int

    def __len__(self) -> int:
        return self.count

    def at(self, terms: Tensor) -> Tensor:
        return self.head.at(terms).float()

    def each(self, function: Callable[[Tensor, Tensor], Tensor], beside: Tensor | Logits) -> Tensor:
        def piece(start: int, end: int) -> tuple[Tensor]:
            logits = self.head(start, end).float()
            if isinstance(beside, Tensor):
                return (function(logits, beside[start:end]),)
            return (function(logits, beside.at(torch.arange(start, end, device=logits.device))),)

        # two distributions lie side by side where other logits are compared
        copies = 1 if isinstance(beside, Tensor) else 2
        return in_pieces(self.net, self.count, piece, copies)[0]
