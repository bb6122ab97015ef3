"""Label smoothing: give all classes a share of the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import TYPE_CHECKING

from ftp import Candidate, UserError, hookimpl, option, plugin
from ftp.types import Batch, Data, Loss, LossOut, Model, Run

if TYPE_CHECKING:
    from torch import Tensor


@plugin(kind="extra", goes_with=("clm",), candidates=[Candidate(needs="classes")])
class Smoothing:
    """Give all classes a share of the target, so that answers are less sure (Szegedy et al. 2016, section 7)."""

    share: float = option(0.1, "share of the target that all classes get alike", low=0, high=0.999)

    @hookimpl(wrapper=True)
    def make_loss(self, run: Run, data: Data, model: Model) -> Generator[None, Loss, Loss]:
        """Smooth the targets while training; losses that are shown of held-out rows are without it."""
        loss = yield
        if not data.splits:  # a finished run that only answers
            return loss
        import torch

        from ftp.losses import wrapped

        def compute(batch: Batch) -> LossOut:
            out = loss.compute(batch)
            if not torch.is_grad_enabled() or not batch.count:
                return out
            if out.logits is None or out.targets is None:
                raise UserError(f"smoothing: the terms of the loss '{loss.name}' are no choices of one class",
                                "it goes with classes, tags and tokens; leave it out")
            total = out.logits.each(self.smoothed, out.targets).sum()
            # metrics are shown as means over rows
            added = (total - out.total).detach() / batch.count * batch.rows
            return dataclasses.replace(out, total=total, row_losses=None, row_counts=None,
                                       metrics={**out.metrics, "smoothing": added})

        return wrapped(loss, compute=compute)

    def smoothed(self, logits: Tensor, targets: Tensor) -> Tensor:
        """[terms] cross entropy with smoothed targets, of logits [terms, classes] and targets [terms]."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, targets, reduction="none", label_smoothing=self.share)
