"""Which weights are trained, and how far they moved.

Of each tensor a norm and a few thousand values are kept, before and after.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

VALUES = 4096
"""Values of a tensor that are kept, evenly spread."""
NO_GRADIENT = re.compile(r"(^|\.)(key|k_proj|k_lin)\.bias$")
"""The bias of attention's keys adds the same to all scores of a query, which softmax does not see
(Cordonnier et al. 2020)."""


@dataclass(frozen=True)
class Snapshot:
    """What is kept of one trainable tensor: its norm, some of its values, and how many it has."""

    norm: float
    values: torch.Tensor
    count: int


@dataclass(frozen=True)
class Moves:
    """How the trainable tensors moved.

    `tensors`: how many were compared. `still`: names of those that did not move. `ratio`: length of
    the way from start to end over the length of the start, of all tensors that did not start at
    zero, together; None where all did. `sampled`: some have more values than were kept.
    """

    tensors: int
    still: tuple[str, ...]
    ratio: float | None
    sampled: bool


def take_snapshots(named: Iterable[tuple[str, torch.Tensor]]) -> dict[str, Snapshot]:
    """A snapshot of each tensor that is trained."""
    import torch

    snapshots = {}
    for name, weight in named:
        if not weight.requires_grad or not weight.numel():
            continue
        with torch.no_grad():
            flat = weight.detach().reshape(-1)
            # a small step on a large tensor is lost in float32; Apple's GPUs have no float64
            precision = torch.float32 if flat.device.type == "mps" else torch.float64
            norm = float(torch.linalg.vector_norm(flat, dtype=precision))
            stride = math.ceil(flat.numel() / VALUES)
            values = flat[::stride].float().cpu().clone()
            snapshots[name] = Snapshot(norm, values, flat.numel())
    return snapshots


def compare(before: Mapping[str, Snapshot], after: Mapping[str, Snapshot]) -> Moves | None:
    """How far each tensor moved; None where there is none in common."""
    num_compared = 0
    still = []
    way_squared = 0.0
    length_squared = 0.0
    for name, old in before.items():
        new = after.get(name)
        if new is None or new.count != old.count:
            continue
        num_compared += 1
        moved = float((new.values - old.values).norm())
        if moved == 0 and new.norm == old.norm and not NO_GRADIENT.search(name):
            still.append(name)
        if old.norm > 0:  # an adapter that starts at zero has no length to compare with
            way_squared += moved**2 * old.count / len(old.values)  # the sample stands for all
            length_squared += old.norm**2
    if not num_compared:
        return None
    ratio = math.sqrt(way_squared / length_squared) if length_squared else None
    is_sampled = any(snapshot.count > len(snapshot.values) for snapshot in before.values())
    return Moves(num_compared, tuple(still), ratio, is_sampled)


def named_tensors(net: Any, extra: Any = None) -> list[tuple[str, torch.Tensor]]:
    """Names and tensors of the network, and of what is trained beside it."""
    tensors = list(net.named_parameters())
    if extra is not None:
        tensors += extra.named_parameters()
    return tensors


def frozen_heads(net: Any, fresh: Iterable[str]) -> list[str]:
    """New modules (random, not in the checkpoint) of which nothing is trained.

    Args:
        fresh: names of the new modules.
    """
    frozen = []
    for head in fresh:
        weights = []
        for name, weight in net.named_parameters():
            if f".{head}." in f".{name}.":
                weights.append(weight)
        if weights and not any(weight.requires_grad for weight in weights):
            frozen.append(head)
    return frozen
