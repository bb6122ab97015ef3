"""The default `train_step`: one whole update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch

from ftp.types import Batch, LossOut, StartedRun, StepOut


def update(
    run: StartedRun, loss: Callable[[Batch], LossOut], batches: Sequence[Batch], optimizer: torch.optim.Optimizer
) -> StepOut:
    """Gradients of all `batches`, divided once by the count over all ranks and micro-batches; clip; step.

    Means of means are wrong as soon as micro-batches or ranks hold different numbers of trained terms; a sum divided
    once is the same update however the rows were spread. Nothing here waits for the device.
    """
    accelerator = run.accelerator
    world = accelerator.num_processes
    count: int | torch.Tensor = sum(batch.count for batch in batches)  # an int divides in 64 bits
    if world > 1:
        count = accelerator.reduce(torch.tensor(float(count), device=accelerator.device), "sum").clamp(min=1)
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=accelerator.device)
    metrics: dict[str, torch.Tensor] = {}
    for number, batch in enumerate(batches):
        # ranks exchange gradients once an update, behind the last micro-batch
        is_last = number == len(batches) - 1
        with nullcontext() if is_last else accelerator.no_sync(loss):
            out = loss(batch)
            accelerator.backward(out.total * (world / count))  # DDP averages over ranks: times world makes it a sum
        total += out.total.detach()
        for name, value in out.metrics.items():
            metrics[name] = metrics.get(name, 0) + value.detach()

    weights: list[torch.nn.Parameter] = []
    for group in optimizer.param_groups:
        weights += group["params"]
    norm = accelerator.clip_grad_norm_([dense_part(weight) for weight in weights], run.settings.max_grad_norm or float("inf"))
    if hasattr(norm, "full_tensor"):  # of sharded weights
        norm = norm.full_tensor()
    optimizer.step()
    # a batch of count 0 stands in on a rank without rows
    real = [batch for batch in batches if batch.count]
    return StepOut(
        total / count, metrics, norm,
        count=sum(batch.count for batch in real),
        rows=sum(batch.rows for batch in real),
        tokens=sum(batch.tokens for batch in real),
    )  # fmt: skip


def dense_part(weight: torch.Tensor) -> torch.Tensor:
    """What clipping scales in place: the weight; where its gradient is rows of a table (`nn.Embedding(sparse=True)`), a stand-in
    whose gradient is those rows."""
    if weight.grad is None or not weight.grad.is_sparse:
        return weight
    weight.grad = weight.grad.coalesce()
    values = weight.grad._values()
    part = torch.empty_like(values)
    part.grad = values
    return part
