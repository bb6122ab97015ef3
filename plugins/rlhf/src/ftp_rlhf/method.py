"""What flows between rollouts and methods. A method is a module with two functions:

    columns(rolled, options, gather) -> for each completion what the loss reads of it, as lists of a number a token
    losses(terms, options, scale)    -> [rows] the loss of each completion, and what to show of each

Heavy: imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ftp_rlhf.policy import by_row

Numbers = NDArray[np.float64]

Gather = Callable[["Sequence[float] | Numbers"], Numbers]
"""One rank's numbers -> those of all ranks."""

Columns = dict[str, list[float]]


@dataclass(frozen=True)
class Rolled:
    """The completions of one rank's prompts, those of a prompt side by side. `rewards`: [completions] penalties included.
    `logps`, `ref`, `values`: of each completion [tokens], under the policy at the rollout and under the reference (the same
    as `logps` where the KL divergence has no weight). `beta`: its weight."""

    rewards: Numbers
    logps: Sequence[Numbers]
    ref: Sequence[Numbers]
    values: Sequence[Numbers]
    beta: float


@dataclass(frozen=True)
class Terms:
    """The tokens of the completions of a batch, completion after completion: [terms] each. `lengths`: tokens of each
    completion. `kept`: 1, or 0 for tokens that are not to be learnt from. `columns`: what the method's `columns` gave, with
    `old` (log probabilities at the rollout) and `ref`. `beta`: weight of the KL divergence."""

    lengths: Sequence[int]
    kept: Tensor
    logps: Tensor
    columns: Mapping[str, Tensor]
    beta: Tensor
    values: Tensor | None = None

    def mean(self, terms: Tensor) -> Tensor:
        """[rows] the mean over each completion's kept tokens; 0 where none is."""
        return self.sum(terms) / by_row(self.kept, self.lengths).clamp(min=1)

    def sum(self, terms: Tensor) -> Tensor:
        """[rows] the sum over each completion's kept tokens."""
        return by_row(terms * self.kept, self.lengths)


def clipped(ratio: Tensor, advantages: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """The clipped objective, negative, and where it was clipped (Schulman et al. 2017, eq. 7)."""
    loss = -(ratio * advantages).minimum(ratio.clamp(1 - low, 1 + high) * advantages)
    outside = ((ratio < 1 - low) & (advantages < 0)) | ((ratio > 1 + high) & (advantages > 0))
    return loss, outside.float()


def spread(values: Any, axis: int | None = None) -> Any:
    """The standard deviation as of a sample (divided by n - 1); 0 for a single value."""
    count = np.size(values) if axis is None else np.shape(values)[axis]
    return np.std(values, axis=axis, ddof=1) if count > 1 else np.zeros_like(np.mean(values, axis=axis))
