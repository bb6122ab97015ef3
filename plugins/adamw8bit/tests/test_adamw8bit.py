"""Small weights step exactly as with AdamW, large ones nearly, and the averages of large ones take a byte each."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("bitsandbytes")

from ftp import UserError
from ftp.settings import Settings
from ftp.train.optimizer import adamw
from ftp_adamw8bit import AdamW8bit

RATE = 0.01


def optimizers(net: torch.nn.Module, **options: Any) -> tuple[Any, torch.nn.Module, Any]:
    """The optimizer over a network, a copy of the network, and core's AdamW over that."""
    run: Any = SimpleNamespace(settings=Settings(learning_rate=RATE, weight_decay=0.1))
    loss: Any = SimpleNamespace(extra=None)
    other = copy.deepcopy(net)
    tried: Any = AdamW8bit(**options).make_optimizer(run, SimpleNamespace(net=net), loss)  # type: ignore[arg-type]
    return tried, other, adamw(SimpleNamespace(net=other), loss, run.settings)  # type: ignore[arg-type]


def step_both(net: torch.nn.Module, tried: Any, other: torch.nn.Module, reference: Any, updates: int) -> float:
    """The same gradients for both; the largest difference of a weight."""
    pairs = list(zip(net.parameters(), other.parameters(), strict=True))
    for _ in range(updates):
        for weight, same in pairs:
            weight.grad = torch.randn_like(weight)
            same.grad = weight.grad.clone()
        tried.step()
        reference.step()
    return max(float((weight - same).abs().max().detach()) for weight, same in pairs)


def test_small_weights_step_as_with_adamw() -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(16, 16)
    assert step_both(net, *optimizers(net), updates=5) < 1e-6


def test_large_weights_step_nearly_as_with_adamw_in_a_byte_an_average() -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(128, 128)
    tried, other, reference = optimizers(net)
    apart = step_both(net, tried, other, reference, updates=5)
    # rounding shows, and is far below the five steps of about the rate that each weight takes
    assert 0 < apart < RATE
    state = tried.state[net.weight]
    assert state["state1"].dtype == state["state2"].dtype == torch.uint8
    assert tried.state[net.bias]["state1"].dtype == torch.float32


def test_the_smallest_that_is_rounded_is_an_option() -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(128, 128)
    assert step_both(net, *optimizers(net, smallest=10**6), updates=5) < 1e-6


def test_sharded_weights_are_refused() -> None:
    run: Any = SimpleNamespace(settings=Settings(shard=True))
    model: Any = SimpleNamespace(net=torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match="leave out --shard"):
        AdamW8bit().make_optimizer(run, model, SimpleNamespace(extra=None))  # type: ignore[arg-type]
