"""AdamW whose state takes two bytes a weight in place of eight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Loss, Model, Run

if TYPE_CHECKING:
    from torch.optim import Optimizer


@plugin(needs=("bitsandbytes",))
class AdamW8bit:
    """AdamW with its two averages in 8 bits each, by blocks of weights (Dettmers et al. 2022, arXiv:2110.02861)."""

    smallest: int = option(4096, "weights of fewer numbers keep averages of 32 bits: they cost little and are often norms and "
                                 "biases", low=1)
    paged: bool = option(False, "let the averages move to the computer's memory where that of the GPU is full (CUDA alone)")

    @hookimpl
    def make_optimizer(self, run: Run, model: Model, loss: Loss) -> Optimizer:
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise UserError(f"adamw8bit: bitsandbytes cannot be imported: {error}", "install it",
                            "ftp install --exact bitsandbytes") from error
        from ftp.train import parameter_groups

        if run.settings.shard:
            raise UserError("adamw8bit: its averages are cut into blocks, which --shard would cut elsewhere",
                            "leave out --shard, or adamw8bit", "ftp run --plugins ...,-adamw8bit")
        settings = run.settings
        optimizer: Optimizer = AdamW8bit(
            parameter_groups(model, loss, settings), lr=settings.learning_rate, betas=(settings.adam_beta1, settings.adam_beta2),
            eps=settings.adam_epsilon, min_8bit_size=self.smallest, is_paged=self.paged)
        return optimizer
