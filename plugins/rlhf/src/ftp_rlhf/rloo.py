"""RLOO (Ahmadian et al. 2024, arXiv:2402.14740, section 3.2): a completion is as good as its reward, less its KL penalty, above
the mean of the other completions of its prompt; a completion as a whole is one action."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ftp_rlhf.method import Columns, Gather, Rollout, Terms, clipped, same_for_all_tokens, spread
from ftp_rlhf.policy import by_row

if TYPE_CHECKING:
    from ftp_rlhf import Rlhf


def columns(rollout: Rollout, options: Rlhf, gather: Gather) -> list[Columns]:
    """Ahmadian et al. 2024, eq. 8, with the reward of eq. 3 (the KL divergence by the log ratio of the completion)."""
    log_ratios = zip(rollout.logps, rollout.ref_logps, strict=True)
    kl = np.array([float((logps - ref_logps).sum()) for logps, ref_logps in log_ratios])
    groups = (rollout.rewards - rollout.beta * kl).reshape(-1, options.num_generations)
    mean_of_others = (groups.sum(1, keepdims=True) - groups) / (options.num_generations - 1)
    advantages = np.ravel(groups - mean_of_others)
    if options.normalize_advantages:
        of_all_ranks = gather(advantages)
        advantages = (advantages - of_all_ranks.mean()) / (float(spread(of_all_ranks)) + 1e-4)
    return same_for_all_tokens(advantages, rollout.logps)


def losses(terms: Terms, options: Rlhf, tokens_per_row: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped objective with the probability ratio of whole completions."""
    kept = by_row(terms.kept, terms.lengths) > 0
    ratio = by_row(terms.logps - terms.old_logps, terms.lengths).exp()
    high = options.epsilon if options.epsilon_high is None else options.epsilon_high
    per_row, outside = clipped(ratio, terms.mean(terms.columns["advantages"]), options.epsilon, high)
    return per_row * kept, {"clip_ratio": outside * kept}


def by_tokens(options: Rlhf) -> bool:
    """Whether the loss is a mean over tokens, not over completions."""
    return False
