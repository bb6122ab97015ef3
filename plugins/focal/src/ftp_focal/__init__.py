"""Focal loss: let terms that are already right count less."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from ftp import Candidate, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Run

if TYPE_CHECKING:
    from torch import Tensor


@plugin(kind="extra", candidates=[Candidate(needs="uneven")])
class Focal:
    """Let terms that are already right count less: -(1 - p)^gamma log p (focal loss, Lin et al. 2017, arXiv:1708.02002)."""

    gamma: float = option(2.0, "how much less; 0: cross entropy as it is", low=0, high=10)

    @hookimpl(wrapper=True)
    def make_loss(self, run: Run, data: Data, model: Model) -> Generator[None, Loss, Loss]:
        """Scale the terms while training; losses that are shown of held-out rows are plain cross entropies."""
        loss = yield
        if not data.splits:  # a finished run that only answers
            return loss
        from ftp.losses import with_added_terms

        def added(logits: Tensor, targets: Tensor) -> Tensor:
            return focal(logits, targets, self.gamma) - focal(logits, targets, 0.0)

        return with_added_terms(loss, "focal", "classes, tags and tokens", added)


def focal(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """[terms] focal losses, in nats, of logits [terms, classes] and targets [terms]: Lin et al. 2017, section 3.2, with the
    softmax over all classes in place of the sigmoid of one."""
    import torch
    from torch.nn.functional import cross_entropy

    losses = cross_entropy(logits, targets, reduction="none")
    if gamma == 0:
        return losses
    # 1 - p of p = exp(-loss), exact where p is near 1; above 0, where the power of a fraction has no slope
    missing = -torch.expm1(-losses)
    return missing.clamp(min=torch.finfo(missing.dtype).tiny) ** gamma * losses
