"""AdamW without a schedule: it scores an average of where its steps led (Schedule-Free)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Loss, Model, Run

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@plugin
class Schedulefree:
    """Train at a constant rate, and score an average of where AdamW's steps led (Schedule-Free, Defazio et al. 2024)."""

    beta: float = option(0.9, "share of the average in the point at which gradients are taken", low=0.01, high=0.99)

    def __post_init__(self) -> None:
        self.optimizer: Optimizer | None = None

    @hookimpl
    def make_optimizer(self, run: Run, model: Model, loss: Loss) -> Optimizer:
        from ftp.train import parameter_groups

        settings = run.settings
        if settings.shard:
            raise UserError("schedulefree: weights that are spread over processes are not averaged",
                            "leave out --shard, or schedulefree")
        groups = parameter_groups(model, loss, settings)
        self.optimizer = schedule_free(groups, self.beta, settings.adam_beta2, settings.adam_epsilon)
        return self.optimizer

    @hookimpl
    def make_schedule(self, run: Run, total: int) -> Callable[[int], float]:
        """The warm-up of the run, then a constant rate."""
        import dataclasses

        from ftp.train import default_schedule

        return partial(default_schedule, dataclasses.replace(run.settings, lr_scheduler_type="constant"), total)

    @hookimpl
    def evaluated_weights(self) -> AbstractContextManager[None]:
        return self.averaged()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the network has the averages x, not the points y at which gradients are taken."""
        states = self.optimizer.state.items() if self.optimizer is not None else ()
        points = [(weight, weight.detach().clone()) for weight, _ in states]
        for weight, state in states:
            weight.data.copy_(state["average"])
        try:
            yield
        finally:
            for weight, point in points:
                weight.data.copy_(point)


def schedule_free(groups: Sequence[Mapping[str, object]], beta1: float, beta2: float, epsilon: float) -> Optimizer:
    """Schedule-Free AdamW over groups of weights, each with its `lr` and `weight_decay`."""
    import torch  # here, as `ftp plugins` imports this module and must stay quick

    class ScheduleFreeAdamW(torch.optim.Optimizer):  # type: ignore[misc]
        """Defazio et al. 2024 (arXiv:2405.15682), algorithm 1. A weight is its point y; its state has z and the average x."""

        @torch.no_grad()  # type: ignore[untyped-decorator]
        def step(self, closure: Callable[[], float] | None = None) -> None:
            for group in self.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        self.move(weight, self.state[weight], group["lr"], group["weight_decay"])

        def move(self, weight: nn.Parameter, state: dict[str, Any], rate: float, decay: float) -> None:
            if not state:
                state.update(step=0, shares=0.0, second=torch.zeros_like(weight), z=weight.clone(), average=weight.clone())
            state["step"] += 1
            state["shares"] += rate**2  # the paper weighs each step by its squared rate
            share = rate**2 / max(state["shares"], 1e-30)
            second, z, average = state["second"], state["z"], state["average"]
            second.mul_(beta2).addcmul_(weight.grad, weight.grad, value=1 - beta2)
            scale = (second / (1 - beta2 ** state["step"])).sqrt_().add_(epsilon)
            z.addcdiv_(weight.grad, scale, value=-rate).sub_(weight, alpha=rate * decay)
            average.lerp_(z, share)
            weight.copy_(z.lerp(average, beta1))

    return ScheduleFreeAdamW(groups, {})
