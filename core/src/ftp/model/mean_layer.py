"""Let a network that answers at its first token answer from the mean of all tokens. Heavy: imports torch.

Encoders of BERT's kind read the class of a text at its first token. Where the checkpoint never trained that token for it, as
in sentence encoders, the mean over tokens says far more. The last layer becomes one that averages: with keys of zero every
token attends to all others alike, and values that pass through make the attention their mean. It stays a layer like the others,
trained like them and saved like them, so that plain Transformers loads the network.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

AMPLIFIED = 30.0
"""How much more the mean counts than the token itself, which a layer adds to what it attends to."""

GAIN = 0.5
"""Scale of standardised states before the tanh of the head, where it is nearly straight."""

SMALL_GAIN = 0.05
"""Scale of the states before the tanh while they are measured, where it is straight."""

FULL = 1 - 1e-6
"""What a tanh gives at most that is undone."""


@dataclass(frozen=True)
class Parts:
    """Names of the modules that change: the last `layer`, and the `dense` layer that the head begins with."""

    layer: str
    dense: str

    @property
    def changed(self) -> tuple[str, str]:
        """The modules that a run must train and save, as they are no longer those of the checkpoint."""
        return self.layer, self.dense.removesuffix(".dense")


def parts_of(net: PreTrainedModel) -> Parts | None:
    """The last layer of a network of BERT's kind with a head that begins with a dense layer; None for other networks."""
    modules = dict(net.named_modules())
    prefix = net.base_model_prefix
    count = getattr(net.config, "num_hidden_layers", 0)
    layer = f"{prefix}.encoder.layer.{count - 1}"
    needed = ("attention.self.key", "attention.self.value", "attention.output.dense", "attention.output.LayerNorm",
              "output.dense", "output.LayerNorm")
    for name in needed:
        module = modules.get(f"{layer}.{name}")
        # quantised layers are of other classes, or have weights of another one, and stay as they are
        weight = getattr(module, "weight", None)
        if type(module) not in (nn.Linear, nn.LayerNorm) or type(getattr(weight, "data", None)) is not Tensor:
            return None
    for dense in (f"{prefix}.pooler.dense", "classifier.dense"):
        if type(modules.get(dense)) is nn.Linear:
            return Parts(layer, dense)
    return None


def layers_of(net: PreTrainedModel, parts: Parts) -> nn.ModuleList:
    """The layers of the body."""
    layers = net.get_submodule(parts.layer.rpartition(".")[0])
    assert isinstance(layers, nn.ModuleList)
    return layers


def end_behind(net: PreTrainedModel, parts: Parts, number: int) -> Parts:
    """Let the body end one layer behind a layer: further ones are taken away, and behind the last comes one more.

    A network that ends there already stays as it is.

    Args:
        net: the network, whose configuration is changed with it.
        parts: what `parts_of` gives.
        number: of the layer, the first being 1.

    Returns:
        The parts of the network as it is now, whose last layer is for `average`.
    """
    layers = layers_of(net, parts)
    if number == len(layers):
        # the configuration stays one and the same: it says how all layers attend
        configs = [module.config for module in layers[-1].modules() if hasattr(module, "config")]
        layers.append(copy.deepcopy(layers[-1], {id(config): config for config in configs}))
    del layers[number + 1 :]
    net.config.num_hidden_layers = len(layers)
    return replace(parts, layer=f"{parts.layer.rpartition('.')[0]}.{number}")


def average(net: PreTrainedModel, parts: Parts) -> None:
    """Make the last layer average, and let the head take its states as they are."""
    layer = parts.layer
    width = net.get_submodule(parts.dense).weight.shape[0]
    one = torch.eye(width)
    zero = torch.zeros(width)
    values = {
        # the same score for every token
        f"{layer}.attention.self.key.weight": torch.zeros(width, width),
        f"{layer}.attention.self.key.bias": zero,
        f"{layer}.attention.self.value.weight": one,
        f"{layer}.attention.self.value.bias": zero,
        f"{layer}.attention.output.dense.weight": one * AMPLIFIED,
        f"{layer}.attention.output.dense.bias": zero,
        f"{layer}.attention.output.LayerNorm.weight": torch.ones(width),
        f"{layer}.attention.output.LayerNorm.bias": zero,
        # the feed-forward part adds nothing at first, and learns, as its first half stays as it is
        f"{layer}.output.dense.weight": torch.zeros_like(net.get_submodule(f"{layer}.output.dense").weight),
        f"{layer}.output.dense.bias": zero,
        f"{layer}.output.LayerNorm.weight": torch.ones(width),
        f"{layer}.output.LayerNorm.bias": zero,
        f"{parts.dense}.weight": one * SMALL_GAIN,
        f"{parts.dense}.bias": zero,
    }
    with torch.no_grad():
        for name, value in values.items():
            net.get_parameter(name).copy_(value)


def standardise(net: PreTrainedModel, parts: Parts, read: NDArray[np.float32]) -> NDArray[np.float32]:
    """Let the head's dense layer standardise what it gets, after `average`.

    Means of tokens are much alike: what rows differ in is small beside what they have in common. A head that reads them as they
    are takes a large difference of large numbers, which any dropout throws off.

    Args:
        net: the network.
        parts: what `parts_of` gives.
        read: `[rows, width] float32` what the layer behind the tanh reads now.

    Returns:
        `[rows, width] float32` what it reads from now on.
    """
    # a network of another kind may fill the tanh, which cannot be undone
    states = np.arctanh(np.clip(read, -FULL, FULL)) / SMALL_GAIN
    mean, spread = states.mean(0), states.std(0) + 1e-6
    dense = net.get_submodule(parts.dense)
    with torch.no_grad():
        dense.weight.copy_(torch.diag(torch.from_numpy(GAIN / spread)))
        dense.bias.copy_(torch.from_numpy(-GAIN * mean / spread))
    standardised: NDArray[np.float32] = np.tanh(GAIN * (states - mean) / spread)
    return standardised
