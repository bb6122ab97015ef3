"""The optimizer of a run. Heavy: imports torch."""

from __future__ import annotations

from typing import Any

import torch

from ftp.errors import UserError
from ftp.settings import Settings
from ftp.train.muon import MuonAdamW, inner_matrices


def make_optimizer(whole: torch.nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), fused where there is one, or Muon beside it. Decay acts on matrices, not on norms
    and biases.

    Raises `UserError` when nothing is trainable.
    """
    weights = [weight for weight in whole.parameters() if weight.requires_grad]
    if not weights:
        raise UserError("no weight is trainable", "a parameterisation froze everything", "ftp plan --plugins ...")
    if settings.optim == "muon" and settings.shard:
        raise UserError("--optim muon with --shard: a matrix that is spread over processes cannot be orthogonalised here",
                        "leave out one of them")
    matrices = [weight for weight in weights if weight.ndim >= 2]
    vectors = [weight for weight in weights if weight.ndim < 2]  # norms and biases
    groups: list[dict[str, Any]] = []
    if settings.optim == "muon":
        inner = inner_matrices(whole)
        inner_weights = [weight for weight in matrices if id(weight) in inner]
        matrices = [weight for weight in matrices if id(weight) not in inner]
        groups.append({"params": inner_weights, "weight_decay": settings.weight_decay, "muon": True})
    groups.append({"params": matrices, "weight_decay": settings.weight_decay})
    groups.append({"params": vectors, "weight_decay": 0.0})
    # each group keeps its own peak rate, of which the schedule gives a share
    groups = [{**group, "peak": settings.learning_rate} for group in groups if group["params"]]

    # one kernel for all weights, where torch has it for this device
    is_fused = all(weight.device.type in ("cpu", "cuda", "mps") and weight.is_floating_point() for weight in weights)
    kind: Any = MuonAdamW if settings.optim == "muon" else torch.optim.AdamW
    betas = (settings.adam_beta1, settings.adam_beta2)
    optimizer: torch.optim.Optimizer = kind(
        groups, lr=settings.learning_rate, betas=betas, eps=settings.adam_epsilon, fused=is_fused
    )
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Give each group of weights `share` (0 to 1) of its own peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
