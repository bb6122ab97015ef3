"""For wrappers of a loss that change what is minimised while training, and nothing of held-out rows. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from ftp.answers.wrapped_loss import wrapped
from ftp.errors import UserError
from ftp.types import Batch, Loss, LossOut

if TYPE_CHECKING:
    from torch import Tensor


def while_training(loss: Loss, changed: Callable[[Batch, LossOut], LossOut]) -> Loss:
    """A loss that is another one while training; of held-out rows it is as it was.

    Args:
        loss: the loss as it is.
        changed: what is minimised in place of what the loss gives of a batch.
    """
    import torch

    def compute(batch: Batch) -> LossOut:
        out = loss.compute(batch)
        if not torch.is_grad_enabled() or not batch.count:
            return out
        return changed(batch, out)

    return wrapped(loss, compute=compute)


def with_added_terms(
    loss: Loss, plugin: str, goes_with: str, added: Callable[[Tensor, Tensor], Tensor], *, metric: str = ""
) -> Loss:
    """A loss that adds something to each term while training; of held-out rows it is as it was.

    Args:
        loss: the loss as it is.
        plugin: who adds, for the message.
        goes_with: the losses that it is for, in words.
        added: `[terms]` of logits `[terms, classes]` and targets `[terms]`.
        metric: what the mean of what is added is shown as; empty: it is not shown.

    Raises:
        UserError: in training, where the terms are no choices of one class.
    """

    def changed(batch: Batch, out: LossOut) -> LossOut:
        if out.logits is None or out.targets is None:
            raise no_choices(loss, plugin, goes_with)
        total = out.logits.each(added, out.targets).sum()
        shown = {metric: mean_of_rows(batch, total)} if metric else {}
        # added to the loss as it is, so that what another wrapper adds (an anchor, a second pass) stays in it
        return dataclasses.replace(
            out, total=out.total + total, row_losses=None, row_counts=None, metrics={**out.metrics, **shown})

    return while_training(loss, changed)


def no_choices(loss: Loss, plugin: str, goes_with: str) -> UserError:
    """The error of a plugin that needs logits and targets, where the terms of a loss are no choices of one class.

    Args:
        loss: whose terms they are.
        plugin: who needs them.
        goes_with: the losses that it is for, in words.
    """
    return UserError(f"{plugin}: the terms of the loss '{loss.name}' are no choices of one class",
                     f"it goes with {goes_with}; leave it out")


def mean_of_rows(batch: Batch, total: Tensor) -> Tensor:
    """What `LossOut.metrics` holds of a sum over the terms of a batch, so that the mean over the terms is shown.

    Args:
        batch: the batch.
        total: the sum.
    """
    return total.detach() / batch.count * batch.rows
