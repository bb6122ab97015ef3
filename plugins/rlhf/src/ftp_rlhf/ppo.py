"""PPO (Schulman et al. 2017, arXiv:1707.06347) over tokens, as for language models (Ziegler et al. 2019, arXiv:1909.08593;
Ouyang et al. 2022, arXiv:2203.02155): the reward comes with the last token, a KL penalty with each; a value head beside the
network says what to expect."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ftp_rlhf.method import Columns, Gather, Numbers, Rollout, Terms, clipped, spread

if TYPE_CHECKING:
    from ftp_rlhf import Rlhf

EPSILON = 1e-8
"""Keeps a spread of 0 from dividing."""


def columns(rollout: Rollout, options: Rlhf, gather: Gather) -> list[Columns]:
    """Advantages to mean 0 and spread 1 over the rollout, what the values should have been (`returns`), and what they were."""
    rewards = _token_rewards(rollout)
    if options.whiten_rewards:
        scale = float(spread(gather(_flat(rewards)))) + EPSILON
        rewards = [token_rewards / scale for token_rewards in rewards]
    advantages = []
    for token_rewards, values in zip(rewards, rollout.values, strict=True):
        advantages.append(gae(token_rewards, values, options.gamma, options.lam))
    of_all_ranks = gather(_flat(advantages))
    mean = float(of_all_ranks.mean())
    scale = float(spread(of_all_ranks)) + EPSILON
    columns: list[Columns] = []
    for advantage, values in zip(advantages, rollout.values, strict=True):
        columns.append({"advantages": ((advantage - mean) / scale).tolist(), "returns": (advantage + values).tolist(),
                        "values": values.tolist()})
    return columns


def _token_rewards(rollout: Rollout) -> list[Numbers]:
    """Of each completion [tokens]: the KL penalty of every token, and the reward with the last (Ouyang et al. 2022, eq. 2)."""
    rewards = []
    for logps, ref_logps, reward in zip(rollout.logps, rollout.ref_logps, rollout.rewards, strict=True):
        per_token = -rollout.beta * (logps - ref_logps)
        per_token[-1] += reward
        rewards.append(per_token)
    return rewards


def _flat(per_completion: Sequence[Numbers]) -> list[float]:
    return list(map(float, chain.from_iterable(per_completion)))


def gae(rewards: Numbers, values: Numbers, gamma: float, lam: float) -> Numbers:
    """[tokens] generalised advantages of one completion (Schulman et al. 2016, arXiv:1506.02438, eq. 16); nothing is expected
    after its last token."""
    advantages = np.zeros_like(rewards)
    next_advantage = next_value = 0.0
    for token in reversed(range(len(rewards))):
        delta = rewards[token] + gamma * next_value - values[token]
        next_advantage = delta + gamma * lam * next_advantage
        next_value = values[token]
        advantages[token] = next_advantage
    return advantages


def losses(terms: Terms, options: Rlhf, tokens_per_row: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Schulman et al. 2017, eq. 9, with values clipped around those at the rollout as well."""
    assert terms.values is not None
    ratio = (terms.logps - terms.old_logps).exp()
    policy, outside = clipped(ratio, terms.columns["advantages"], options.epsilon, options.epsilon)
    old_values, returns = terms.columns["values"], terms.columns["returns"]
    clip = options.cliprange_value
    near = old_values + (terms.values - old_values).clamp(-clip, clip)
    value_loss = 0.5 * ((terms.values - returns) ** 2).maximum((near - returns) ** 2)
    shown = {"clip_ratio": terms.mean(outside), "value_loss": terms.mean(value_loss), "value": terms.mean(terms.values)}
    return terms.sum(policy + options.vf_coef * value_loss), shown


def by_tokens(options: Rlhf) -> bool:
    """Whether the loss is a mean over tokens, not over completions."""
    return True
