"""What an update and a look at the held-out rows give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftp.types.scores import Score

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True)
class StepOut:
    """What one update did.

    Attributes:
        loss: the sum over this rank's terms, divided by the count over all ranks; a scalar on the device.
        metrics: sums of what the loss measures on this rank, on the device.
        grad_norm: before clipping; None where nobody measured it.
        count: number of terms of the loss on this rank.
        rows: number of rows on this rank.
        tokens: number of tokens computed on this rank.
    """

    loss: torch.Tensor
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    grad_norm: torch.Tensor | None = None
    count: int = 0
    rows: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Evaluation:
    """One look at the held-out rows during training.

    Attributes:
        step: the updates done by then.
        loss: of the validation rows.
        scores: what `evaluate` gave.
        train_loss: the same measure on training rows, scored in evaluation mode (a fixed sample of them); None: not measured.
        losses: `[rows] float64`, of each validation row.
        train_losses: `[rows] float64`, of each row of that sample; None as `train_loss`.
    """

    step: int
    loss: float
    scores: tuple[Score, ...] = ()
    train_loss: float | None = None
    losses: NDArray[np.float64] | None = None
    train_losses: NDArray[np.float64] | None = None
