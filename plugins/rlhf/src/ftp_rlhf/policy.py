"""What the network says of completions: log probabilities, entropies, values. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from ftp import forward
from ftp.errors import UserError


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
class Seen:
    """[terms] each, completion after completion: the log probability of each token, the entropy (in nats) of its distribution,
    and, with a value head, the value of the state in which it was chosen."""

    logps: Tensor
    entropies: Tensor
    values: Tensor | None = None


def look(net: nn.Module, inputs: Mapping[str, Any], temperature: float, value: nn.Module | None = None) -> Seen:
    """One pass over laid out completions (`ftp.losses.tokens.collate`). Large vocabularies are done in pieces."""
    where, target = inputs["where"], inputs["target"]

    def told(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        logits = logits.float() / temperature
        with torch.no_grad():
            logs = logits.log_softmax(-1)
            entropies = -(logs.exp() * logs).sum(-1)
        return -cross_entropy(logits, target, reduction="none"), entropies

    if forward._parts(net).backbone is None:
        if value is not None:
            raise UserError("--rlhf.method ppo: the states of a network with a learnt prompt cannot be told from its tokens'",
                            "--rlhf.method rloo has no value head")
        return Seen(*told(forward.logits_at(net, inputs, where), target))
    output = forward._encode(net, inputs)
    states = output.last_hidden_state[where]

    def piece(states: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return told(forward._head(net, output, states[None])[0], target)

    size = max(1, forward.LOGIT_BYTES // (4 * int(forward._parts(net).inner.config.get_text_config().vocab_size)))
    if len(where) <= size:
        logps, entropies = piece(states, target)
    else:
        pieces = zip(states.split(size), target.split(size), strict=True)
        parts = [checkpoint(piece, *each, use_reentrant=False) for each in pieces]
        logps, entropies = (torch.cat(column) for column in zip(*parts, strict=True))
    values = None if value is None else value(states.to(next(value.parameters()).dtype)).float()[:, 0]
    return Seen(logps, entropies, values)


def by_row(terms: Tensor, lengths: Sequence[int]) -> Tensor:
    """[rows] the sum of each completion's terms; the same bits each time, also on a GPU."""
    return pad_sequence(terms.split(list(lengths)), batch_first=True).sum(1)


def k3(logps: Tensor, ref: Tensor) -> Tensor:
    """The KL divergence from `ref` estimated at sampled tokens: unbiased, never negative (Schulman 2020, "Approximating KL
    divergence", k3; the one of GRPO, Shao et al. 2024, eq. 4)."""
    return (ref - logps).exp() - (ref - logps) - 1
