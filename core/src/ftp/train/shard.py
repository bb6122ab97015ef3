"""Weights spread over processes by PyTorch's FSDP2, block by block. Heavy: imports torch.

Each rank keeps its share of every weight, gradient and optimizer state; a block's weights come together while it computes.
Checkpoints hold whole tensors under the usual names, so a run may go on with another number of processes, or without
`--shard`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch.distributed.checkpoint import state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

if TYPE_CHECKING:
    from accelerate import Accelerator

WHOLE = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)


def spread(whole: torch.nn.Module, accelerator: Accelerator) -> None:
    """Shard a module in place: each of its repeated blocks by itself (the members of its module lists), then the rest."""
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for module in list(whole.modules()):
        if isinstance(module, torch.nn.ModuleList):
            for block in module:
                if next(block.parameters(), None) is not None:  # FSDP2 refuses a module without any
                    fully_shard(block, mesh=mesh)
    fully_shard(whole, mesh=mesh)


def weights(whole: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state of the module in whole tensors on rank 0; empty on the others. All ranks must call it."""
    values: dict[str, torch.Tensor] = state_dict.get_model_state_dict(whole, options=WHOLE)
    return values


def put_weights(whole: torch.nn.Module, values: dict[str, torch.Tensor]) -> list[str]:
    """Give every rank its share of whole tensors; gives the names that the module does not have."""
    options = state_dict.StateDictOptions(full_state_dict=True, strict=False)
    unexpected: list[str] = state_dict.set_model_state_dict(whole, values, options=options).unexpected_keys
    return unexpected


def optimizer_state(whole: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, object]:
    """The optimizer's state in whole tensors on rank 0; empty before its first update. All ranks must call it."""
    # PyTorch would do an update of nothing to give it a state, which counts as one in what follows
    if not _unwrapped(optimizer).state:
        return {}
    for module in whole.modules():  # after an evaluation some weights are still whole, and not those of the optimizer
        if isinstance(module, FSDPModule):
            module.reshard()
    return dict(state_dict.get_optimizer_state_dict(whole, _unwrapped(optimizer), options=WHOLE))


def put_optimizer_state(whole: torch.nn.Module, optimizer: torch.optim.Optimizer, values: Mapping[str, object]) -> None:
    """Give every rank its share of the optimizer's state. Of one before its first update there is none."""
    if not values:
        return
    options = state_dict.StateDictOptions(full_state_dict=True)
    state_dict.set_optimizer_state_dict(whole, _unwrapped(optimizer), dict(values), options=options)


def _unwrapped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer that Accelerate's wrapper holds."""
    return getattr(optimizer, "optimizer", optimizer)
