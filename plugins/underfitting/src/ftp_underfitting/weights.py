"""Which weights are trained, and how far they moved: a norm and a few thousand values of each, before and after."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

VALUES = 4096
"""Values of a tensor that are kept, evenly spread."""
NO_GRADIENT = re.compile(r"(^|\.)(key|k_proj|k_lin)\.bias$")
"""The bias of attention's keys adds the same to all scores of a query: softmax does not see it (Cordonnier et al. 2020)."""


@dataclass(frozen=True)
class Kept:
    """What is kept of one trainable tensor: its norm, some of its values, and how many it has."""

    norm: float
    values: Any
    count: int


@dataclass(frozen=True)
class Moves:
    """How the trainable tensors moved. `still`: names of those that did not. `ratio`: length of the way from start to end
    over the length of the start, of all tensors that did not start at zero, together; None where all did.
    `tensors`: how many were compared."""

    tensors: int
    still: tuple[str, ...]
    ratio: float | None
    sampled: bool


def keep(named: Iterable[tuple[str, Any]]) -> dict[str, Kept]:
    """A note of each tensor that is trained."""
    import torch

    kept = {}
    for name, weight in named:
        if not weight.requires_grad or not weight.numel():
            continue
        with torch.no_grad():
            flat = weight.detach().reshape(-1)
            exact = torch.float32 if flat.device.type == "mps" else torch.float64
            norm = float(torch.linalg.vector_norm(flat, dtype=exact))
            step = math.ceil(flat.numel() / VALUES)
            kept[name] = Kept(norm, flat[::step].float().cpu().clone(), flat.numel())
    return kept


def compare(before: Mapping[str, Kept], after: Mapping[str, Kept]) -> Moves | None:
    """How far each tensor moved; None where there is none in common."""
    names = [name for name in before if name in after and before[name].count == after[name].count]
    if not names:
        return None
    still, way, length = [], 0.0, 0.0
    for name in names:
        old, new = before[name], after[name]
        moved = float((new.values - old.values).norm())
        if moved == 0 and new.norm == old.norm and not NO_GRADIENT.search(name):
            still.append(name)
        if old.norm > 0:  # an adapter that starts at zero has no length to compare with
            way += moved**2 * old.count / len(old.values)
            length += old.norm**2
    ratio = math.sqrt(way / length) if length else None
    return Moves(len(names), tuple(still), ratio, any(one.count > len(one.values) for one in before.values()))


def trained(net: Any, extra: Any = None) -> list[tuple[str, Any]]:
    """Names and tensors of the network and of what is trained beside it."""
    return [*net.named_parameters(), *(extra.named_parameters() if extra is not None else ())]


def frozen_heads(net: Any, fresh: Iterable[str]) -> list[str]:
    """New modules (random, not in the checkpoint) of which nothing is trained."""
    found = []
    for head in fresh:
        weights = [weight for name, weight in net.named_parameters() if f".{head}." in f".{name}."]
        if weights and not any(weight.requires_grad for weight in weights):
            found.append(head)
    return found
