"""KL between what the model said before the run and what it says now. Heavy: imports torch."""

from __future__ import annotations

import torch
from torch import Tensor

from ftp import UserError
from ftp import heads as specs
from ftp.net import heads
from ftp.types import Batch, LossOut, Model


def divergence(model: Model, batch: Batch, out: LossOut, positions: int) -> Tensor:
    """Sum over the terms of a batch (trained tokens, or rows) of KL(before || now) in nats.

    Args:
        out: the loss of the batch, whose logits are what the model says now.
        positions: of more terms that many are taken, evenly spread, and weighed up to all.

    Raises:
        UserError: the objective does not say what its terms chose from.
    """
    now = out.logits
    if now is None or len(now) != batch.count:
        raise UserError("kl_anchor: this objective does not say which tokens it trains",
                        "it goes with clm, mlm and sft; objectives on preferences have an anchor of their own (--dpo.beta)")
    device = next(model.net.parameters()).device
    terms = torch.arange(len(now), device=device)
    if len(now) > positions:
        terms = torch.linspace(0, len(now) - 1, positions, device=device).long()
    return kl(_before(model, batch, terms), now.at(terms)).sum() * (len(now) / len(terms))


def _before(model: Model, batch: Batch, terms: Tensor) -> Tensor:
    """[n, classes] what the weights of before the run say of some terms."""
    assert model.reference is not None
    with torch.no_grad(), model.reference() as net:
        if specs.get(model.head).picks_class_of == "row":
            return heads.classify(net, batch.inputs)[terms]
        return heads.logits_at(net, batch.inputs, batch.inputs["where"][terms])


def kl(before: Tensor, now: Tensor) -> Tensor:
    """[n] KL(before || now) of distributions given by logits [n, classes], fp32."""
    p, q = before.float().log_softmax(-1), now.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
