"""What flows between rollouts and methods (`grpo`, `rloo`, `ppo`: a module each). Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ftp_rlhf.policy import by_row

if TYPE_CHECKING:
    from ftp_rlhf import Rlhf

Numbers = NDArray[np.float64]

Gather = Callable[["Sequence[float] | Numbers"], Numbers]
"""One rank's numbers -> those of all ranks."""


Columns = dict[str, list[float]]
"""What the loss of a method reads of a completion, a number a token: `advantages`; of PPO also `returns` and `values`."""


@dataclass(frozen=True)
class Rollout:
    """The completions of one rank's prompts, those of a prompt side by side. `rewards`: [completions] penalties included.
    `logps`, `ref_logps`, `values`: of each completion [tokens], under the policy at the rollout and under the reference (the
    same as `logps` where the KL divergence has no weight). `beta`: its weight."""

    rewards: Numbers
    logps: Sequence[Numbers]
    ref_logps: Sequence[Numbers]
    values: Sequence[Numbers]
    beta: float


@dataclass(frozen=True)
class Terms:
    """The tokens of the completions of a batch, completion after completion: [terms] each. `lengths`: tokens of each
    completion. `kept`: 1, or 0 for tokens that are not to be learnt from. `old_logps`: log probabilities at the rollout;
    `ref_logps`: under the reference, None without a divergence to hold. `columns`: what the method's `columns` gave.
    `beta`: weight of the KL divergence."""

    lengths: Sequence[int]
    kept: Tensor
    logps: Tensor
    old_logps: Tensor
    ref_logps: Tensor | None
    columns: Mapping[str, Tensor]
    beta: Tensor
    values: Tensor | None = None

    def mean(self, terms: Tensor) -> Tensor:
        """[rows] the mean over each completion's kept tokens; 0 where none is."""
        return self.sum(terms) / by_row(self.kept, self.lengths).clamp(min=1)

    def sum(self, terms: Tensor) -> Tensor:
        """[rows] the sum over each completion's kept tokens."""
        return by_row(terms * self.kept, self.lengths)


class Method(Protocol):
    """What the module of a method has."""

    def columns(self, rollout: Rollout, options: Rlhf, gather: Gather) -> list[Columns]:
        """What the loss reads of each completion."""

    def losses(self, terms: Terms, options: Rlhf, tokens_per_row: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """[rows] the loss of each completion, and by name what is shown of each.

        Args:
            tokens_per_row: [rows] how many tokens a completion of the whole rollout has on average.
        """

    def by_tokens(self, options: Rlhf) -> bool:
        """Whether the loss is a mean over tokens, not over completions."""


def clipped(ratio: Tensor, advantages: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """The clipped objective, negative, and where it was clipped (Schulman et al. 2017, eq. 7)."""
    loss = -(ratio * advantages).minimum(ratio.clamp(1 - low, 1 + high) * advantages)
    outside = ((ratio < 1 - low) & (advantages < 0)) | ((ratio > 1 + high) & (advantages > 0))
    return loss, outside.float()


def spread(values: Numbers, axis: int | None = None) -> Numbers:
    """The standard deviation as of a sample (divided by n - 1); 0 for a single value."""
    count = values.size if axis is None else values.shape[axis]
    if count <= 1:
        return np.zeros_like(values.mean(axis=axis))
    return np.asarray(values.std(axis=axis, ddof=1))


def same_for_all_tokens(advantages: Numbers, logps: Sequence[Numbers]) -> list[Columns]:
    """One advantage a completion, as that of each of its tokens."""
    columns: list[Columns] = []
    for advantage, token_logps in zip(advantages, logps, strict=True):
        columns.append({"advantages": [float(advantage)] * len(token_logps)})
    return columns
