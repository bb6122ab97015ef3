"""An outsider's method in one file: its own optimizer, schedule, order of rows, averaged weights and state."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from ftp import hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Run, StepOut

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.optim import Optimizer


@plugin
class AllInOne:
    """Descend with momentum, less and less far, on short rows first, and keep the mean of the weights."""

    momentum: float = option(0.9, "share of the last direction that is kept", low=0, high=1)

    def __post_init__(self) -> None:
        self.weights: dict[str, nn.Parameter] = {}
        self.mean: dict[str, Tensor] = {}
        self.updates = 0

    @hookimpl
    def make_optimizer(self, run: Run, model: Model, loss: Loss) -> Optimizer:
        from torch.optim import SGD

        from ftp.train import parameter_groups, trained_weights

        self.weights = trained_weights(model, loss)
        groups = parameter_groups(model, loss, run.settings)
        return SGD(groups, lr=run.settings.learning_rate, momentum=self.momentum)

    @hookimpl
    def make_schedule(self, total: int) -> Callable[[int], float]:
        return lambda step: 1 / (1 + 4 * step / total)

    @hookimpl
    def order_rows(
        self, run: Run, data: Data, lengths: NDArray[np.int64], rows: NDArray[np.int64], epoch: int
    ) -> list[NDArray[np.int64]]:
        import numpy as np

        size = run.settings.batch_size
        # rows of one length are drawn anew in each epoch
        shuffled = np.random.default_rng([run.settings.seed, epoch]).permutation(len(lengths))
        by_length = shuffled[np.argsort(lengths[shuffled], kind="stable")]
        return [by_length[start : start + size] for start in range(0, len(by_length), size)]

    @hookimpl(wrapper=True)
    def train_step(self) -> Generator[None, StepOut, StepOut]:
        out = yield
        self.updates += 1
        for name, weight in self.weights.items():
            value = weight.detach().float()
            if name in self.mean:
                self.mean[name].lerp_(value, 1 / self.updates)
            else:
                self.mean[name] = value.clone()
        return out

    @hookimpl
    def evaluated_weights(self) -> AbstractContextManager[None]:
        return self.in_place()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the network has the mean of its weights."""
        trained = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.put(self.mean)
        try:
            yield
        finally:
            self.put(trained)

    def put(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.weights[name].data.copy_(value)

    def state(self) -> dict[str, object]:
        return {"updates": self.updates, "mean": self.mean}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.updates = state["updates"]
        self.mean = dict(state["mean"])
