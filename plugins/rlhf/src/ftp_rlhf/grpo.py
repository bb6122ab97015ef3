"""GRPO (Shao et al. 2024, arXiv:2402.03300, section 4.1): a completion is as good as its reward compared with those of the other
completions of its prompt, in units of their spread; every token has that advantage. KL penalty in the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ftp_rlhf.method import Columns, Gather, Rollout, Terms, clipped, same_for_all_tokens, spread
from ftp_rlhf.policy import k3

if TYPE_CHECKING:
    from ftp_rlhf import Rlhf

EPSILON = 1e-4
"""Keeps a spread of 0 from dividing, as in TRL."""


def columns(rollout: Rollout, options: Rlhf, gather: Gather) -> list[Columns]:
    """Shao et al. 2024, section 4.1.2; without the spread: Dr. GRPO (Liu et al. 2025, arXiv:2503.20783)."""
    groups = rollout.rewards.reshape(-1, options.num_generations)
    advantages = groups - groups.mean(1, keepdims=True)
    if options.scale_rewards == "group" and len(groups):
        advantages = advantages / (spread(groups, 1)[:, None] + EPSILON)
    elif options.scale_rewards == "batch":  # every rank asks for the others' rewards, also one without prompts
        advantages = advantages / (float(spread(gather(rollout.rewards))) + EPSILON)
    return same_for_all_tokens(np.ravel(advantages), rollout.logps)


def losses(terms: Terms, options: Rlhf, tokens_per_row: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Shao et al. 2024, eq. 3 and 4; `dr_grpo`: Liu et al. 2025; `dapo`: Yu et al. 2025, arXiv:2503.14476, eq. 8."""
    ratio = (terms.logps - terms.old_logps).exp()
    high = options.epsilon if options.epsilon_high is None else options.epsilon_high
    per_token, outside = clipped(ratio, terms.columns["advantages"], options.epsilon, high)
    if terms.ref_logps is not None:
        kl = k3(terms.logps, terms.ref_logps)
        per_token = per_token + terms.beta * (kl * ratio if options.use_bias_correction_kl else kl)
    if options.loss_type == "grpo":
        row_losses = terms.mean(per_token)
    elif options.loss_type == "dr_grpo":
        row_losses = terms.sum(per_token) / options.max_completion_length
    elif options.loss_type == "dapo":
        row_losses = terms.sum(per_token) / tokens_per_row
    else:  # bnpo: divided by the number of tokens of the update, see `by_tokens`
        row_losses = terms.sum(per_token)
    return row_losses, {"clip_ratio": terms.mean(outside)}


def by_tokens(options: Rlhf) -> bool:
    """Whether the loss is a mean over tokens, not over completions."""
    return options.loss_type == "bnpo"
