"""The penalty: distances of weights from their start, those of LoRA's adapters as what they add to the network. Heavy: torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ftp.types import Model


@dataclass(frozen=True)
class Pair:
    """A low-rank adapter: what it adds to a weight is `scale` B A. `a`, `b`: its matrices; `a0`, `b0`: their start."""

    a: nn.Parameter
    b: nn.Parameter
    a0: Tensor
    b0: Tensor
    scale: float

    def distance(self) -> Tensor:
        """|scale (B A - B0 A0)|², from matrices of the size of the rank alone: |B A|² = sum((Bᵀ B) * (A Aᵀ))."""
        a, b = self.a.float(), self.b.float()
        a0, b0 = self.a0.float(), self.b0.float()
        own = ((b.T @ b) * (a @ a.T)).sum()
        start = ((b0.T @ b0) * (a0 @ a0.T)).sum()
        both = ((b.T @ b0) * (a @ a0.T)).sum()
        return self.scale**2 * (own + start - 2 * both)


class Penalty:
    """alpha/2 |w - w0|² over trained weights that were there before, beta/2 |w|² over new ones (Li, Grandvalet and Davoine 2018,
    equation 5). Weights as they are now are the start."""

    def __init__(self, model: Model, extra: nn.Module | None, alpha: float, beta: float) -> None:
        self.alpha = alpha
        self.beta = beta
        self.pairs = pairs(model.net)
        paired: set[int] = set()
        for pair in self.pairs:
            paired |= {id(pair.a), id(pair.b)}
        self.new: list[nn.Parameter] = []
        if extra is not None:
            self.new += [weight for weight in extra.parameters() if weight.requires_grad]
        self.old: list[tuple[nn.Parameter, Tensor]] = []
        # a new head has no start to be drawn back to: it is drawn to zero, with a factor of its own (Li et al. 2018)
        for name, weight in model.net.named_parameters():
            if not weight.requires_grad or id(weight) in paired:
                continue
            if any(f".{head}." in f".{name}." for head in model.fresh):
                self.new.append(weight)
            else:
                self.old.append((weight, weight.detach().clone()))

    def __call__(self) -> Tensor:
        """The penalty, fp32 and outside autocast."""
        weights = [*(weight for weight, _ in self.old), *self.new, *(pair.a for pair in self.pairs)]
        device = weights[0].device
        with torch.autocast(device.type, enabled=False):
            old = [(weight.float() - start.float()).square().sum() for weight, start in self.old]
            old += [pair.distance() for pair in self.pairs]
            new = [weight.float().square().sum() for weight in self.new]
            zero = torch.zeros((), device=device)
            return self.alpha / 2 * sum(old, zero) + self.beta / 2 * sum(new, zero)


def pairs(net: nn.Module) -> list[Pair]:
    """Trained LoRA adapters of linear layers (PEFT's `lora_A`, `lora_B`, `scaling`)."""
    adapters = []
    for layer in net.modules():
        if not hasattr(layer, "scaling") or not isinstance(getattr(layer, "lora_A", None), nn.ModuleDict):
            continue
        for name in layer.lora_A:
            a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
            if a.ndim == b.ndim == 2 and a.requires_grad and b.requires_grad:
                adapters.append(Pair(a, b, a.detach().clone(), b.detach().clone(), float(layer.scaling[name])))
    return adapters
