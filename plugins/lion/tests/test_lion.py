"""Lion does what algorithm 2 of its paper says, at its share of the rate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from ftp.settings import Settings
from ftp_lion import Lion


def test_steps_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    run: Any = SimpleNamespace(settings=Settings(learning_rate=0.05, weight_decay=0.1))
    model: Any = SimpleNamespace(net=net)
    loss: Any = SimpleNamespace(extra=None)
    optimizer = Lion(rate=0.5, beta1=0.8, beta2=0.9).make_optimizer(run, model, loss)
    # Chen et al. 2023, algorithm 2, as it is printed: w <- w - rate (sign(b1 m + (1 - b1) g) + decay w), m <- b2 m + (1 - b2) g
    weights = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    momenta = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for _ in range(4):
        for name, weight in net.named_parameters():
            weight.grad = torch.randn_like(weight)
            decay = 0.2 if name == "weight" else 0.0
            step = torch.sign(0.8 * momenta[name] + 0.2 * weight.grad) + decay * weights[name]
            weights[name] = weights[name] - 0.025 * step
            momenta[name] = 0.9 * momenta[name] + 0.1 * weight.grad
        optimizer.step()
        for name, weight in net.named_parameters():
            torch.testing.assert_close(weight.detach(), weights[name])
