"""For wrappers of a loss that change what a term costs, from its logits and target alone. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from ftp.answers.wrapped_loss import wrapped
from ftp.errors import UserError
from ftp.types import Batch, Loss, LossOut

if TYPE_CHECKING:
    from torch import Tensor


def with_added_terms(loss: Loss, plugin: str, goes_with: str, added: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """A loss that adds something to each term while training; of held-out rows it is as it was.

    Args:
        loss: the loss as it is.
        plugin: who adds, for the message.
        goes_with: the losses that it is for, in words.
        added: `[terms]` of logits `[terms, classes]` and targets `[terms]`.

    Raises:
        UserError: in training, where the terms are no choices of one class.
    """
    import torch

    def compute(batch: Batch) -> LossOut:
        out = loss.compute(batch)
        if not torch.is_grad_enabled() or not batch.count:
            return out
        if out.logits is None or out.targets is None:
            raise UserError(f"{plugin}: the terms of the loss '{loss.name}' are no choices of one class",
                            f"it goes with {goes_with}; leave it out")
        # added to the loss as it is, so that what another wrapper adds (an anchor, a second pass) stays in it
        total = out.total + out.logits.each(added, out.targets).sum()
        return dataclasses.replace(out, total=total, row_losses=None, row_counts=None)

    return wrapped(loss, compute=compute)
