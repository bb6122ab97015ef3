"""What the network says of completions: log probabilities, entropies, values. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from ftp import UserError
from ftp.net import heads
from ftp.types import Batch


class Extra(nn.Module):  # type: ignore[misc,unused-ignore]
    """What is trained or kept beside the network: the weight of the KL divergence, and PPO's value head (it begins at 0)."""

    def __init__(self, beta: float, size: int | None) -> None:
        super().__init__()
        self.register_buffer("beta", torch.tensor(beta))
        self.value: nn.Linear | None = None
        if size is not None:
            self.value = nn.Linear(size, 1)
            nn.init.zeros_(self.value.weight)
            nn.init.zeros_(self.value.bias)


@dataclass(frozen=True)
class TokenScores:
    """[terms] each, completion after completion: the log probability of each token, the entropy (in nats) of its distribution,
    and, with a value head, the value of the state in which it was chosen."""

    logps: Tensor
    entropies: Tensor
    values: Tensor | None = None


def score_tokens(net: nn.Module, batch: Batch, temperature: float, value_head: nn.Module | None = None) -> TokenScores:
    """One pass over laid out completions (`ftp.losses.tokens.collate`). Large vocabularies are done in pieces."""
    where, target = batch.inputs["where"], batch.inputs["target"]
    head = heads.head_at(net, batch.inputs, where)
    if value_head is not None and head.states is None:
        raise UserError("--rlhf.method ppo: the states of a network with a learnt prompt cannot be told from its tokens'",
                        "--rlhf.method rloo has no value head")

    def piece(start: int, end: int) -> tuple[Tensor, Tensor]:
        logits = head(start, end).float() / temperature
        # entropies are only shown: their gradient would keep the logits of all pieces
        with torch.no_grad():
            log_shares = logits.log_softmax(-1)
            entropies = -(log_shares.exp() * log_shares).sum(-1)
        return -cross_entropy(logits, target[start:end], reduction="none"), entropies

    logps, entropies = heads.in_pieces(net, len(where), piece)
    values = None
    if value_head is not None and head.states is not None:
        values = value_head(head.states.to(next(value_head.parameters()).dtype)).float()[:, 0]
    return TokenScores(logps, entropies, values)


def by_row(terms: Tensor, lengths: Sequence[int]) -> Tensor:
    """[rows] the sum of each completion's terms; the same bits each time, also on a GPU."""
    return pad_sequence(terms.split(list(lengths)), batch_first=True).sum(1)


def k3(logps: Tensor, ref: Tensor) -> Tensor:
    """The KL divergence from `ref` estimated at sampled tokens: unbiased, never negative (Schulman 2020, "Approximating KL
    divergence", k3; the one of GRPO, Shao et al. 2024, eq. 4)."""
    return (ref - logps).exp() - (ref - logps) - 1
