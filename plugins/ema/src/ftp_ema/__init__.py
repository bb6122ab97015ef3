"""Score and save an average of the weights instead of the last ones (EMA, SWA)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from ftp import Candidate, UserError, hookimpl, option, plugin
from ftp.types import Loss, Model, Run, StepOut

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


@plugin(candidates=[Candidate()])
class Ema:
    """Score and save a running average of the weights (Polyak and Juditsky 1992), or their mean from --ema.start on (SWA)."""

    decay: float = option(0.99, "share of the average that stays at each update; 1: the mean of all updates (SWA)", low=0, high=1)
    start: float = option(0.0, "share of the updates before the average begins (SWA: 0.75)", low=0, high=1)

    def __post_init__(self) -> None:
        self.weights: dict[str, nn.Parameter] = {}
        self.average: dict[str, Tensor] = {}
        self.count = 0  # updates in the average

    @hookimpl(wrapper=True)
    def make_optimizer(self, run: Run, model: Model, loss: Loss) -> Generator[None, Optimizer, Optimizer]:
        """Note which weights are trained."""
        from ftp.train import trained_weights

        if run.settings.shard:
            raise UserError("ema: weights that are spread over processes are not averaged", "leave out --shard, or ema")
        self.weights = trained_weights(model, loss)
        return (yield)

    @hookimpl(wrapper=True)
    def train_step(self, step: int, total: int) -> Generator[None, StepOut, StepOut]:
        """Take the weights into the average after each update."""
        out = yield
        if step >= self.start * total:
            self.count += 1
            self.add_weights()
        return out

    def add_weights(self) -> None:
        """average = keep * average + (1 - keep) * weights, in fp32.

        Early on `keep` is that of a plain mean, so that the first weights do not weigh more than later ones. With a decay of
        1 it stays that of a mean (Izmailov et al. 2018, arXiv:1803.05407, algorithm 1).
        """
        keep = min(self.decay, (self.count - 1) / self.count)
        for name, weight in self.weights.items():
            value = weight.detach().float()
            if name in self.average:
                self.average[name].lerp_(value, 1 - keep)
            else:
                self.average[name] = value.clone()

    @hookimpl
    def evaluated_weights(self) -> AbstractContextManager[None]:
        return self.averaged()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the network has the averaged weights; before the first of them its own."""
        trained = {name: self.weights[name].detach().clone() for name in self.average}
        self.put(self.average)
        try:
            yield
        finally:
            self.put(trained)

    def put(self, values: Mapping[str, Tensor]) -> None:
        """Copy values into the network."""
        for name, value in values.items():
            self.weights[name].data.copy_(value)

    def state(self) -> dict[str, object]:
        return {"count": self.count, "average": self.average}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]
        for name, value in state["average"].items():
            self.average[name] = value.to(self.weights[name].device)
