"""What an update and a look at the held-out rows give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftp.types.scores import Score

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StepOut:
    """What one update did: `loss` (mean over its count, on the device), `metrics`, `grad_norm` before clipping."""

    loss: torch.Tensor
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    grad_norm: torch.Tensor | None = None
    count: int = 0
    rows: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Evaluation:
    """One look at the held-out rows during training. `train_loss`: the same measure on training rows, re-scored in
    evaluation mode (a fixed sample of them); None when it was not asked for."""

    step: int
    loss: float
    scores: tuple[Score, ...] = ()
    train_loss: float | None = None
    losses: Any = None
    train_losses: Any = None
