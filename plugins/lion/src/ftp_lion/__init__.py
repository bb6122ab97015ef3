"""Step by the sign of the momentum (Lion)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ftp import hookimpl, option, plugin
from ftp.types import Loss, Model, Run

if TYPE_CHECKING:
    from torch.optim import Optimizer


@plugin
class Lion:
    """Step by the sign of the momentum, with half of AdamW's memory (Lion, Chen et al. 2023, arXiv:2302.06675)."""

    rate: float = option(0.2, "share of the learning rate, as steps are longer than AdamW's; decay is as many times stronger",
                         low=1e-6, high=1)
    beta1: float = option(0.9, "share of the momentum in a step", low=0, high=1)
    beta2: float = option(0.99, "share of the momentum that is kept", low=0, high=1)

    @hookimpl
    def make_optimizer(self, run: Run, model: Model, loss: Loss) -> Optimizer:
        from ftp.train import parameter_groups

        groups = parameter_groups(model, loss, run.settings)
        for group in groups:
            group["lr"] *= self.rate
            group["weight_decay"] /= self.rate  # what a weight loses in an update is their product
        return lion(groups, self.beta1, self.beta2)


def lion(groups: Sequence[Mapping[str, object]], beta1: float, beta2: float) -> Optimizer:
    """The optimizer Lion over groups of weights, each with its `lr` and `weight_decay`."""
    import torch  # here, as `ftp plugins` imports this module and must stay quick

    class LionOptimizer(torch.optim.Optimizer):  # type: ignore[misc]
        """Chen et al. 2023, algorithm 2. Its state is the momentum of each weight."""

        @torch.no_grad()  # type: ignore[untyped-decorator]
        def step(self, closure: Callable[[], float] | None = None) -> None:
            for group in self.param_groups:
                for weight in group["params"]:
                    if weight.grad is None:
                        continue
                    state = self.state[weight]
                    if not state:
                        state["momentum"] = torch.zeros_like(weight)
                    momentum = state["momentum"]
                    direction = momentum.lerp(weight.grad, 1 - beta1).sign_()
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.sub_(direction, alpha=group["lr"])
                    momentum.lerp_(weight.grad, 1 - beta2)

    return LionOptimizer(groups, {})
