"""Hold what the model says near what it said before the run (KL from the reference)."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

from ftp import UserError, heads, hookimpl, option, plugin
from ftp.types import Batch, Data, Loss, LossOut, Model, Run


@plugin(kind="extra", goes_with=("clm",))
class KlAnchor:
    """Hold what the model says of training rows near what it said before: KL(before || now) (Li and Hoiem 2016)."""

    weight: float = option(0.1, "weight of the mean KL beside the mean loss", low=0)
    positions: int = option(1024, "trained tokens of a forward pass at which it is taken, evenly spread (each needs two "
                                  "distributions over the vocabulary in memory)", low=1)

    @hookimpl(wrapper=True)
    def make_loss(self, run: Run, data: Data, model: Model) -> Generator[None, Loss, Loss]:
        """Add the KL to what is minimised; losses that are shown of held-out rows are without it."""
        loss = yield
        if not data.splits:  # a finished run that only answers
            return loss
        self._refuse(run, model, loss)
        from ftp.losses import mean_of_rows, while_training
        from ftp_kl_anchor.divergence import divergence

        def anchored(batch: Batch, out: LossOut) -> LossOut:
            total = divergence(model, batch, out, self.positions)  # a sum over the batch's terms, as the loss is
            return dataclasses.replace(out, total=out.total + self.weight * total,
                                       metrics={**out.metrics, "kl": mean_of_rows(batch, total)})

        return while_training(loss, anchored)

    def _refuse(self, run: Run, model: Model, loss: Loss) -> None:
        head = heads.get(model.head)
        is_held = head.is_over_vocabulary or head.picks_class_of == "row"
        if not is_held or loss.makes_rows:
            raise UserError("kl_anchor: it holds what a model says of tokens, or of the class of a row; "
                            f"this run's head is '{model.head}'",
                            "l2sp holds the weights of any model", "ftp run --plugins ...,l2sp")
        if head.has_classes and model.fresh:
            raise UserError(f"kl_anchor: the head ({', '.join(model.fresh)}) is new, so there are no answers of before to "
                            "hold on to",
                            "l2sp holds the weights instead", "ftp run --plugins ...,l2sp")
        if model.reference is None or getattr(model.net.config, "is_encoder_decoder", False):
            raise UserError("kl_anchor: this model has no answers of before the run to compare with, or is an encoder-decoder",
                            "l2sp holds the weights instead", "ftp run --plugins ...,l2sp")
        if run.settings.shard:
            raise UserError("kl_anchor: sharded weights cannot be asked beside the loss", "leave out --shard, or kl_anchor")
