"""PPO (Schulman et al. 2017, arXiv:1707.06347) over tokens, as for language models (Ziegler et al. 2019, arXiv:1909.08593;
Ouyang et al. 2022, arXiv:2203.02155): the reward comes with the last token, a KL penalty with each; a value head beside the
network tells what to expect."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ftp_rlhf.method import Columns, Gather, Numbers, Rolled, Terms, clipped, spread


def columns(rolled: Rolled, options: Any, gather: Gather) -> list[Columns]:
    """Advantages to mean 0 and spread 1 over the rollout, what the values should have been (`returns`), and what they were."""
    rewards = [-rolled.beta * (logps - ref) for logps, ref in zip(rolled.logps, rolled.ref, strict=True)]
    for per_token, reward in zip(rewards, rolled.rewards, strict=True):
        per_token[-1] += reward
    if options.whiten_rewards:
        size = float(spread(gather([float(value) for one in rewards for value in one])))
        rewards = [one / (size + 1e-8) for one in rewards]
    advantages = [gae(reward, value, options.gamma, options.lam) for reward, value in zip(rewards, rolled.values, strict=True)]
    returns = [one + value for one, value in zip(advantages, rolled.values, strict=True)]
    everyone = gather([float(value) for one in advantages for value in one])
    mean, size = float(everyone.mean()), float(spread(everyone))
    return [{"advantages": ((one - mean) / (size + 1e-8)).tolist(), "returns": wanted.tolist(), "values": value.tolist()}
            for one, wanted, value in zip(advantages, returns, rolled.values, strict=True)]


def gae(rewards: Numbers, values: Numbers, gamma: float, lam: float) -> Numbers:
    """[tokens] generalised advantages of one completion (Schulman et al. 2016, arXiv:1506.02438, eq. 16); nothing is expected
    after its last token."""
    advantages, after, value_after = np.zeros_like(rewards), 0.0, 0.0
    for place in reversed(range(len(rewards))):
        delta = rewards[place] + gamma * value_after - values[place]
        after = delta + gamma * lam * after
        advantages[place], value_after = after, values[place]
    return advantages


def losses(terms: Terms, options: Any, tokens_per_row: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Schulman et al. 2017, eq. 9, with values clipped around those at the rollout as well."""
    assert terms.values is not None
    ratio = (terms.logps - terms.columns["old"]).exp()
    policy, outside = clipped(ratio, terms.columns["advantages"], options.epsilon, options.epsilon)
    before, wanted, clip = terms.columns["values"], terms.columns["returns"], options.cliprange_value
    near = before + (terms.values - before).clamp(-clip, clip)
    value = 0.5 * ((terms.values - wanted) ** 2).maximum((near - wanted) ** 2)
    shown = {"clip_ratio": terms.mean(outside), "value_loss": terms.mean(value), "value": terms.mean(terms.values)}
    return terms.sum(policy + options.vf_coef * value), shown


def by_tokens(options: Any) -> bool:
    """Whether the loss is a mean over tokens, not over completions."""
    return True
