"""Lower learning rates for lower layers, which may be unfrozen later."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from ftp import Candidate, UserError, hookimpl, option, plugin
from ftp.types import Loss, Model, Run, StepOut

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from transformers import PreTrainedModel


@plugin(candidates=[Candidate(needs="classes")])
class Llrd:
    """Let lower layers learn more slowly, or later (Howard and Ruder 2018, arXiv:1801.06146, sections 3.2 and 3.3)."""

    decay: float = option(0.9, "rate of a layer over that of the layer above it", low=0, high=1)
    unfreeze: float = option(0.0, "share of the updates over which layers begin to learn, from the top down; 0: all at once",
                             low=0, high=1)

    def __post_init__(self) -> None:
        self.depth_of: dict[nn.Parameter, int] = {}

    @hookimpl(wrapper=True)
    def make_optimizer(self, run: Run, model: Model, loss: Loss) -> Generator[None, Optimizer, Optimizer]:
        """A weight that is `depth` layers below the head has `decay` ** depth of the rate."""
        from ftp.train import scale_rates, trained_weights

        optimizer = yield
        weights = trained_weights(model, loss)
        depths = depths_below_head(list(weights), model.net)
        self.depth_of = {weight: depths[name] for name, weight in weights.items()}
        scale_rates(optimizer, model, loss, lambda name, weight: self.decay ** depths[name])
        return optimizer

    @hookimpl(wrapper=True)
    def train_step(self, optimizer: Optimizer, step: int, total: int) -> Generator[None, StepOut, StepOut]:
        """Give weights whose turn has not come a rate of 0 for this update."""
        rates = [group["lr"] for group in optimizer.param_groups]
        deepest = max(self.depth_of.values(), default=1)
        for group in optimizer.param_groups:
            depth = self.depth_of.get(group["params"][0], 0)  # groups were split by it
            if step < self.unfreeze * total * depth / deepest:
                group["lr"] = 0.0
        out = yield
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        return out


def depths_below_head(names: Sequence[str], net: PreTrainedModel) -> dict[str, int]:
    """Name of a weight -> layers from the head down: 0 for the head, 1 for the highest layer, one more than all for embeddings.

    Layers are the numbered blocks of the network, found by the number in their weights' names. What stands beside them is
    embeddings where the network reads its tokens there, else head.
    """
    numbers: dict[str, int] = {}
    for name in names:
        match = re.search(r"\.(\d+)\.", name)
        if match is not None:
            numbers[name] = int(match[1])
    if not numbers:
        raise UserError("llrd: no numbered layers are found among the trained weights", "leave llrd out")
    # of the network and not of the trained weights: the highest layers alone may be trained
    num_layers = int(getattr(net.config.get_text_config(), "num_hidden_layers", 0)) or max(numbers.values()) + 1
    depths = {}
    for name in names:
        if name in numbers:
            depths[name] = num_layers - numbers[name]
        elif "embed" in name or re.search(r"\bw[tp]e\b", name):
            depths[name] = num_layers + 1
        else:
            depths[name] = 0
    return depths
