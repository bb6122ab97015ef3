"""Sharpness-aware minimisation: take the gradient where the loss is worst nearby."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Batch, LossOut, StartedRun, StepOut

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Move = list[tuple["torch.nn.Parameter", "Tensor"]]
"""Weights, and by how much each was moved."""


@plugin(kind="extra", goes_with=("clm",))
class Sam:
    """Take each gradient where the loss is worst nearby (SAM, Foret et al. 2021, arXiv:2010.01412)."""

    rho: float = option(0.05, "how far the weights are moved for it, as the length of all moves together", low=1e-6)

    @hookimpl(wrapper=True)
    def train_step(
        self, run: StartedRun, loss: Callable[[Batch], LossOut], batches: Sequence[Batch], optimizer: torch.optim.Optimizer
    ) -> Generator[None, StepOut, StepOut]:
        """Move the weights along the gradient, let the update take its gradient there, and move them back before it steps."""
        if run.settings.shard:
            raise UserError("sam: sharded weights cannot be moved beside the update", "leave out --shard, or sam")
        norm, move = self.climb(run, loss, batches, optimizer)
        inner = getattr(optimizer, "optimizer", optimizer)  # of accelerate's wrapper, which has no hooks of its own
        hook = inner.register_step_pre_hook(lambda *_: _back(move))
        try:
            out = yield
        finally:
            hook.remove()
            _back(move)  # where the optimizer took no step, as a gradient was not finite
        # metrics are sums over the rows of this process
        return dataclasses.replace(out, metrics={**out.metrics, "sam_norm": norm * out.rows})

    def climb(
        self, run: StartedRun, loss: Callable[[Batch], LossOut], batches: Sequence[Batch], optimizer: torch.optim.Optimizer
    ) -> tuple[Tensor, Move]:
        """Move all trained weights by rho g / |g| for the gradient g of the mean loss; |g| and the moves."""
        import torch

        accelerator = run.accelerator
        count = torch.tensor(float(sum(batch.count for batch in batches)), device=accelerator.device)
        if accelerator.num_processes > 1:
            count = accelerator.reduce(count, "sum")
        optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(batches):
            # processes exchange gradients behind the last micro-batch, as in the update itself
            is_last = number == len(batches) - 1
            with nullcontext() if is_last else accelerator.no_sync(loss):
                scale = accelerator.num_processes / count.clamp(min=1)
                (loss(batch).total * scale).backward()
        weights: list[torch.nn.Parameter] = []
        for group in optimizer.param_groups:
            weights += [weight for weight in group["params"] if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights])
        move: Move = []
        if bool(norm.isfinite()) and float(norm) > 0:
            with torch.no_grad():
                for weight in weights:
                    step = weight.grad * (self.rho / norm)
                    weight.add_(step)
                    move.append((weight, step))
        optimizer.zero_grad(set_to_none=True)
        return norm, move


def _back(move: Move) -> None:
    """Undo a move, once."""
    import torch

    with torch.no_grad():
        while move:
            weight, step = move.pop()
            weight.sub_(step)
