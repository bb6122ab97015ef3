"""GRPO (Shao et al. 2024, arXiv:2402.03300, section 4.1): a completion is as good as its reward compared with those of the other
completions of its prompt, in units of their spread; every token has that advantage. KL penalty in the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ftp_rlhf.method import Columns, Gather, Rolled, Terms, clipped, spread
from ftp_rlhf.policy import k3


def columns(rolled: Rolled, options: Any, gather: Gather) -> list[Columns]:
    """Shao et al. 2024, section 4.1.2; without the spread: Dr. GRPO (Liu et al. 2025, arXiv:2503.20783)."""
    groups = rolled.rewards.reshape(-1, options.num_generations)
    advantages = groups - groups.mean(1, keepdims=True)
    if options.scale_rewards == "group":
        advantages = advantages / (spread(groups, 1)[:, None] + 1e-4) if len(groups) else advantages
    elif options.scale_rewards == "batch":
        advantages = advantages / (float(spread(gather(rolled.rewards))) + 1e-4)
    return [{"advantages": [float(value)] * len(logps)} for value, logps in zip(np.ravel(advantages), rolled.logps, strict=True)]


def losses(terms: Terms, options: Any, tokens_per_row: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Shao et al. 2024, eq. 3 and 4; `dr_grpo`: Liu et al. 2025; `dapo`: Yu et al. 2025, arXiv:2503.14476, eq. 8.

    `tokens_per_row`: [rows] how many tokens a completion of the whole rollout has on average.
    """
    ratio = (terms.logps - terms.columns["old"]).exp()
    high = options.epsilon if options.epsilon_high is None else options.epsilon_high
    per_token, outside = clipped(ratio, terms.columns["advantages"], options.epsilon, high)
    if "ref" in terms.columns:
        kl = k3(terms.logps, terms.columns["ref"])
        per_token = per_token + terms.beta * (kl * ratio if options.use_bias_correction_kl else kl)
    if options.loss_type == "grpo":
        by_row = terms.mean(per_token)
    elif options.loss_type == "dr_grpo":
        by_row = terms.sum(per_token) / options.max_completion_length
    elif options.loss_type == "dapo":
        by_row = terms.sum(per_token) / tokens_per_row
    else:  # bnpo: divided by the number of tokens of the update, see `by_tokens`
        by_row = terms.sum(per_token)
    return by_row, {"clip_ratio": terms.mean(outside)}


def by_tokens(options: Any) -> bool:
    """Whether the loss is a mean over tokens, not over completions."""
    return bool(options.loss_type == "bnpo")
