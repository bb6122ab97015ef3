"""The modes that a network's modules are in: evaluation for a while, and no dropout for good. Heavy: imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module is in the mode that it was in, also where they were in different ones.

    Args:
        net: the network.
    """
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def without_dropout(net: nn.Module) -> None:
    """Switch the checkpoint's own dropout off for good; an adapter keeps its own, which the user asked for.

    Args:
        net: the network, which is changed.
    """
    for module in _own(net):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # attention keeps its rate as a number, under names that differ between architectures
        for name in ("attention_dropout", "dropout_p", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def _own(module: nn.Module) -> Iterator[nn.Module]:
    """A network's modules, less those that an adapter puts around its layers."""
    yield module
    inner = getattr(module, "base_layer", None)
    for child in [inner] if isinstance(inner, nn.Module) else module.children():
        yield from _own(child)
