"""The objective plugin-name: a loss that wrong labels do less harm to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftp import hookimpl, option, plugin
from ftp.types import Batch, Data, Loss, LossOut, Model, Run

if TYPE_CHECKING:
    from torch import Tensor


@plugin(
    wants=("labelled",),  # the forms of rows that it reads, best first; a run without them is refused
    head="labels",  # what the network must end in
)
class PluginName:
    """Learn classes where some labels are wrong (Zhang and Sabuncu 2018, arXiv:1805.07836, equation 6)."""

    # A field is an option: --plugin-name.q 0.5 on the command line, q = 0.5 in a recipe.
    q: float = option(0.7, "how little a row with an unlikely label counts; near 0: cross entropy, "
                           "1: mean absolute error", low=0.01, high=1)

    def row_losses(self, p: Tensor) -> Tensor:
        """(1 - p^q) / q for the probability p of each row's label [rows]."""
        return (1 - p.clamp(min=1e-8) ** self.q) / self.q

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        """Core's loss of this head, but for what it computes."""
        import torch  # heavy imports stand inside hooks, so that `ftp --help` stays quick

        from ftp.losses import labels, wrapped
        from ftp.net import heads

        def compute(batch: Batch) -> LossOut:
            logits = heads.classify(model.net, batch.inputs).float()  # takes rows padded or packed
            p = logits.softmax(-1).gather(1, batch.inputs["label"].unsqueeze(1)).squeeze(1)
            losses = self.row_losses(p)
            # A sum, never a mean: the step divides once, by the rows of the whole update over all processes.
            return LossOut(losses.sum(), row_losses=losses.detach(), row_counts=torch.ones_like(losses),
                           outputs=logits.detach())

        # How rows become token ids, and how the model answers, stays that of core's loss for this head.
        core = labels.make(run, data, model)
        return wrapped(core, compute=compute, name="generalised cross entropy")
