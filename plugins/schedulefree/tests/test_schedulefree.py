"""Steps are those of the paper's algorithm, and the average is what is scored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import ftp
from ftp.settings import Settings
from ftp_schedulefree import Schedulefree


def test_steps_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2).double()
    run: Any = SimpleNamespace(settings=Settings(learning_rate=0.05, weight_decay=0.1, adam_beta2=0.8, adam_epsilon=1e-6))
    model: Any = SimpleNamespace(net=net)
    loss: Any = SimpleNamespace(extra=None)
    plugin = Schedulefree(beta=0.7)
    optimizer = plugin.make_optimizer(run, model, loss)
    rate_of = plugin.make_schedule(SimpleNamespace(settings=Settings(warmup_steps=2)), 10)  # type: ignore[arg-type]
    assert [rate_of(step) for step in (0, 1, 2, 9)] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])

    # Defazio et al. 2024, algorithm 1 with AdamW, as it is printed, for each weight: z, x and y
    values = {name: [weight.detach().clone()] * 3 for name, weight in net.named_parameters()}  # none is written in place
    seconds = {name: torch.zeros_like(weight) for name, weight in net.named_parameters()}
    shares = 0.0
    for step in range(5):
        rate = 0.05 * rate_of(step)
        shares += rate**2
        c = rate**2 / shares
        for group in optimizer.param_groups:
            group["lr"] = rate
        for name, weight in net.named_parameters():
            g = weight.grad = torch.randn_like(weight)
            z, x, y = values[name]
            seconds[name] = 0.8 * seconds[name] + 0.2 * g**2
            corrected = seconds[name] / (1 - 0.8 ** (step + 1))
            decay = 0.1 if name == "weight" else 0.0
            z = z - rate * g / (corrected.sqrt() + 1e-6) - rate * decay * y
            x = (1 - c) * x + c * z
            y = (1 - 0.7) * z + 0.7 * x
            values[name] = [z, x, y]
        optimizer.step()
        for name, weight in net.named_parameters():
            torch.testing.assert_close(weight.detach(), values[name][2])
    with plugin.averaged():
        for name, weight in net.named_parameters():
            torch.testing.assert_close(weight.detach(), values[name][1])
    for name, weight in net.named_parameters():
        torch.testing.assert_close(weight.detach(), values[name][2])


def test_sharded_weights_are_refused() -> None:
    run: Any = SimpleNamespace(settings=Settings(shard=True))
    with pytest.raises(ftp.UserError, match="leave out --shard"):
        Schedulefree().make_optimizer(run, None, None)  # type: ignore[arg-type]
