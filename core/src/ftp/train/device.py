"""Device, arithmetic and processes of a run, carried by accelerate."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ftp.errors import UserError
from ftp.settings import Settings

if TYPE_CHECKING:
    from accelerate import Accelerator


def calm_threads() -> None:
    """Let waiting OpenMP threads sleep soon instead of spinning, unless the user set it. On a machine where one core is
    busy elsewhere, spinning threads make a run several times slower. And keep fewer of the CPU's kernels (oneDNN makes one
    for each new size of a product, and keeps its memory): with 1024 of them, the default, a run was measured to grow by
    30 MB an update. Works only before torch is imported."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")


def accelerator(settings: Settings, *, training: bool = True) -> Accelerator:
    """The accelerator of a run. Raises `UserError` when the device asked for is not there."""
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    kind = device_kind(settings)
    if settings.device not in ("auto", kind):
        raise UserError(f"--device {settings.device}: this machine has none", f"it has: {kind}")
    AcceleratorState._reset_state()  # a second run in one process may want another precision
    if kind == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
    accelerator = Accelerator(
        cpu=kind == "cpu",
        mixed_precision={"fp32": "no"}.get(precision(settings), precision(settings)),
        # a weight that no row of a batch used (a pooler, an expert) must not hang the other ranks
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=training, broadcast_buffers=False)],
    )
    if settings.shard and training and accelerator.num_processes < 2:
        raise UserError("--shard: there is one process, so nothing to spread weights over",
                        "add --processes N, or leave out --shard")
    return accelerator


def device_kind(settings: Settings) -> str:
    """`cuda`, `mps` or `cpu`: what `--device` names, or the best there is."""
    import torch

    if settings.device == "cpu":
        return "cpu"
    if torch.cuda.is_available() and settings.device in ("auto", "cuda"):
        return "cuda"
    if torch.backends.mps.is_available() and settings.device in ("auto", "mps"):
        return "mps"
    return "cpu"


def precision(settings: Settings) -> str:
    """`fp32`, `bf16` or `fp16`: what `--precision` names; auto takes bf16 where the hardware multiplies in it."""
    import torch

    kind = device_kind(settings)
    if settings.precision != "auto":
        if settings.precision == "fp16" and kind == "cpu":
            raise UserError("--precision fp16: not on a CPU", "bf16 or fp32")
        return settings.precision
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if kind == "cpu":
        has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return "bf16" if has is not None and has() else "fp32"
    return "fp32"


def describe(accelerator: Accelerator) -> str:
    """One line about where a run computes: device, arithmetic, processes."""
    import torch

    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {torch.get_num_threads()} threads"
    arithmetic = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    world = accelerator.num_processes
    return f"{name}, {arithmetic}" + (f", {world} processes" if world > 1 else "")


def facts(accelerator: Accelerator, settings: Settings) -> dict[str, str | int]:
    """What decides the last digits of a run beside its recipe, for run.json."""
    import torch

    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {"device": describe(accelerator), "device_kind": device.type, "device_name": name, "precision": precision(settings),
            "processes": accelerator.num_processes, "threads": threads()}


def threads() -> int:
    """Threads of one process's arithmetic; another number may give other last digits."""
    import torch

    return int(torch.get_num_threads())
