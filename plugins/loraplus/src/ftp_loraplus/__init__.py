"""A higher learning rate for the B matrices of LoRA (LoRA+)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from ftp import hookimpl, option, plugin
from ftp.types import Loss, Model, Run

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@plugin(requires=("lora",))
class Loraplus:
    """Let the B matrices of LoRA learn faster than its A matrices (LoRA+, Hayou et al. 2024, arXiv:2402.12354)."""

    ratio: float = option(16.0, "rate of B matrices over that of all other weights", low=0)

    @hookimpl(wrapper=True)
    def make_optimizer(self, run: Run, model: Model, loss: Loss) -> Generator[None, Optimizer, Optimizer]:
        from ftp.train import scale_rates

        def factor(name: str, weight: nn.Parameter) -> float:
            """Norms and biases go with B, as in the authors' code and PEFT's."""
            return self.ratio if "lora_B" in name or weight.ndim == 1 else 1.0

        optimizer = yield
        scale_rates(optimizer, model, loss, factor)
        return optimizer
