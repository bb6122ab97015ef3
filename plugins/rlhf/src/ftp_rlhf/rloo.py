"""RLOO (Ahmadian et al. 2024, arXiv:2402.14740, section 3.2): a completion is as good as its reward, less its KL penalty, above
the mean of the other completions of its prompt; a completion as a whole is one action."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ftp_rlhf.method import Columns, Gather, Rolled, Terms, clipped, spread
from ftp_rlhf.policy import by_row


def columns(rolled: Rolled, options: Any, gather: Gather) -> list[Columns]:
    """Ahmadian et al. 2024, eq. 8, with the reward of eq. 3 (the KL divergence by the log ratio of the completion)."""
    kl = np.array([float((logps - ref).sum()) for logps, ref in zip(rolled.logps, rolled.ref, strict=True)])
    groups = (rolled.rewards - rolled.beta * kl).reshape(-1, options.num_generations)
    others = (groups.sum(1, keepdims=True) - groups) / (options.num_generations - 1)
    advantages = np.ravel(groups - others)
    if options.normalize_advantages:
        everyone = gather(advantages)
        advantages = (advantages - everyone.mean()) / (float(spread(everyone)) + 1e-4)
    return [{"advantages": [float(value)] * len(logps)} for value, logps in zip(advantages, rolled.logps, strict=True)]


def losses(terms: Terms, options: Any, tokens_per_row: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped objective with the probability ratio of whole completions."""
    kept = by_row(terms.kept, terms.lengths) > 0
    ratio = by_row(terms.logps - terms.columns["old"], terms.lengths).exp()
    high = options.epsilon if options.epsilon_high is None else options.epsilon_high
    per_row, outside = clipped(ratio, terms.mean(terms.columns["advantages"]), options.epsilon, high)
    return per_row * kept, {"clip_ratio": outside * kept}


def by_tokens(options: Any) -> bool:
    """Whether the loss is a mean over tokens, not over completions."""
    return False
