"""Let two passes with different dropout agree (R-Drop)."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import TYPE_CHECKING

from ftp import Candidate, UserError, hookimpl, option, plugin
from ftp.types import Batch, Data, Loss, LossOut, Model, Run

if TYPE_CHECKING:
    from torch import Tensor, nn


def symmetric_kl(first: Tensor, second: Tensor) -> Tensor:
    """[terms] the mean of KL(first || second) and KL(second || first), in nats, of logits [terms, classes]."""
    p = first.log_softmax(-1)
    q = second.log_softmax(-1)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1) / 2


def has_dropout(net: nn.Module) -> bool:
    """Whether two passes of a network in training differ: a dropout layer, or one inside attention."""
    from torch import nn

    for module in net.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            return True
        if (getattr(module, "attention_dropout", 0.0) or 0.0) > 0:
            return True
    return False


@plugin(kind="extra", goes_with=("clm",), candidates=[Candidate(needs="classes", cost=2.0)])
class Rdrop:
    """Draw two passes of the same rows with different dropout together (R-Drop, Liang et al. 2021, arXiv:2106.14448)."""

    alpha: float = option(1.0, "weight of the divergence of both passes beside the mean of their losses", low=0)

    @hookimpl(wrapper=True)
    def make_loss(self, run: Run, data: Data, model: Model) -> Generator[None, Loss, Loss]:
        """Compute the loss twice while training; losses that are shown of held-out rows are those of one pass."""
        loss = yield
        if not data.splits:  # a finished run that only answers
            return loss
        if run.settings.shard:
            raise UserError("rdrop: sharded weights go through the network once an update", "leave out --shard, or rdrop")
        if not has_dropout(model.net):
            run.tell("rdrop: this network has no dropout, so that both passes agree, and training is only slower")
        from ftp.losses import mean_of_rows, no_choices, while_training

        def with_second_pass(batch: Batch, first: LossOut) -> LossOut:
            second = loss.compute(batch)
            if first.logits is None or second.logits is None:
                raise no_choices(loss, "rdrop", "classes, tags and tokens")
            divergence = first.logits.each(symmetric_kl, second.logits).sum()
            total = (first.total + second.total) / 2 + self.alpha * divergence
            return dataclasses.replace(first, total=total, row_losses=None, row_counts=None,
                                       metrics={**first.metrics, "rdrop": mean_of_rows(batch, divergence)})

        return while_training(loss, with_second_pass)
