"""Hold the weights near where they began (L2-SP)."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Batch, Data, Loss, LossOut, Model, Run


@plugin(kind="extra", suggests={"weight_decay": 0.0})
class L2sp:
    """Hold the weights near where they began: alpha/2 |w - w0|² on old ones, beta/2 |w|² on new ones (Xuhong Li et al. 2018)."""

    alpha: float = option(0.1, "weight of the squared distance of old weights from their start", low=0)
    beta: float = option(0.01, "weight of the squared length of new weights (a new head)", low=0)

    @hookimpl(wrapper=True)
    def make_loss(self, run: Run, data: Data, model: Model) -> Generator[None, Loss, Loss]:
        """Add the penalty to what is minimised; losses that are shown of held-out rows are without it."""
        loss = yield
        if not data.splits:  # a finished run that only answers
            return loss
        if run.settings.shard:
            raise UserError("l2sp: the start of sharded weights cannot be kept", "leave out --shard, or l2sp")
        import torch

        from ftp.losses import wrapped
        from ftp_l2sp.penalty import Penalty

        penalty = Penalty(model, loss.extra, self.alpha, self.beta)

        def compute(batch: Batch) -> LossOut:
            out = loss.compute(batch)
            if not torch.is_grad_enabled():
                return out
            value = penalty()
            # the step divides the sum of totals by the sum of counts: so the penalty weighs once, however rows were spread
            return dataclasses.replace(out, total=out.total + batch.count * value,
                                       metrics={**out.metrics, "l2sp": value.detach() * batch.rows})

        return wrapped(loss, compute=compute)
