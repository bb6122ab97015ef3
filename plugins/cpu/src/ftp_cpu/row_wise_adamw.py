"""AdamW on the rows of an embedding table that were ever read, instead of on all of them. Heavy: imports torch.

A batch reads some hundred of a table's tens of thousands of rows. The others have no gradient, and those that never had
one have no moments either: AdamW changes them by its decay alone. So a table's gradient is kept as its rows, and its
update done where there is a moment; the weights, and the optimizer's state, are those of a dense update. Measured on
MiniLM-L6 (a table of 30,522 rows, half of its weights): a fifth of an update on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

FEWEST = 4096
"""Rows of a table below which a dense update costs no more."""

_able: WeakSet[torch.optim.Optimizer] = WeakSet()
"""The optimizers that take gradients of tables as rows."""

_read = WeakTensorKeyDictionary()
"""For a table's first moments: which rows have any [rows]. What a checkpoint brings back is worked out from them."""


def enable(optimizer: torch.optim.Optimizer) -> None:
    """Let torch's fused AdamW take gradients of tables as rows; any other optimizer is left as it is."""
    # subclasses of AdamW may do anything with a gradient
    is_plain = type(optimizer) is torch.optim.AdamW
    if is_plain and all(group["fused"] and not group["amsgrad"] for group in optimizer.param_groups):
        optimizer.register_step_pre_hook(_before_step)
        _able.add(optimizer)


def _before_step(optimizer: torch.optim.Optimizer, arguments: object, keywords: object) -> None:
    update(optimizer)


@contextmanager
def row_gradients(net: object, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Within it, backward passes give gradients of tables as rows, wherever `optimizer` takes them: of a trained table on a
    CPU that no other module shares, in one process (the caller sees to that). `net`: what is called for the loss, which some
    plugin may have put in the place of a module."""
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
    tables = _tables(net) if inner in _able and isinstance(net, nn.Module) else []
    for table in tables:
        table.sparse = True
    try:
        yield
    finally:
        for table in tables:
            table.sparse = False


def _tables(net: nn.Module) -> list[nn.Embedding]:
    """The tables of a network whose gradients may be kept as rows."""
    modules = []
    for module in net.modules():
        if type(module) is not nn.Embedding:
            continue
        is_worth_it = module.weight.requires_grad and len(module.weight) >= FEWEST and module.weight.device.type == "cpu"
        is_plain = module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
        if is_worth_it and is_plain:
            modules.append(module)
    if not modules:
        return []
    # a weight that another module reads as well (a tied head) gets a dense gradient from there
    uses = [id(weight) for _, weight in net.named_parameters(remove_duplicate=False)]
    return [module for module in modules if uses.count(id(module.weight)) == 1]


def update(optimizer: torch.optim.Optimizer) -> None:
    """Do AdamW's step for tables whose gradients are rows, and take these gradients away; the optimizer's own step does
    the rest. Where most rows have moments the gradient is made dense and left to it."""
    with torch.no_grad():
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is not None and weight.grad.is_sparse:
                    _update(weight, weight.grad.coalesce(), group, optimizer.state[weight])


def _update(weight: Tensor, gradient: Tensor, group: Mapping[str, Any], state: dict[str, Tensor]) -> None:
    if not state:  # as torch.optim.AdamW begins
        state["step"] = torch.zeros((), dtype=torch.float32)
        state["exp_avg"] = torch.zeros_like(weight)
        state["exp_avg_sq"] = torch.zeros_like(weight)
    first, second = state["exp_avg"], state["exp_avg_sq"]
    if first not in _read:
        _read[first] = (first != 0).any(1) | (second != 0).any(1)
    rows = gradient._indices()[0]
    has_moments = _read[first]
    has_moments[rows] = True
    where = has_moments.nonzero()[:, 0]  # rows that have moments
    if 2 * len(where) > len(weight):
        weight.grad = gradient.to_dense()
        return
    weight.grad = None

    # decay is for all rows; the rest of the step for those that have moments, gathered and put back
    if group["weight_decay"]:
        weight.mul_(1 - group["lr"] * group["weight_decay"])
    slopes = weight.new_zeros(len(where), weight.shape[1])
    slopes[torch.searchsorted(where, rows)] = gradient._values()
    state["step"] += 1
    beta1, beta2 = group["betas"]
    parts = [tensor[where] for tensor in (weight, first, second)]
    torch._fused_adamw_([parts[0]], [slopes], [parts[1]], [parts[2]], [], [state["step"]], lr=group["lr"], beta1=beta1,
                        beta2=beta2, weight_decay=0.0, eps=group["eps"], amsgrad=False, maximize=False)
    for tensor, part in zip((weight, first, second), parts, strict=True):
        tensor[where] = part
