"""KL between what the model said before the run and what it says now. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ftp import UserError
from ftp import heads as specs
from ftp.net import heads
from ftp.types import Batch, Model


def divergence(model: Model, batch: Batch, positions: int) -> Tensor:
    """Sum over the terms of a batch (trained tokens, or rows) of KL(before || now) in nats.

    Of more than `positions` tokens that many are taken, evenly spread, and weighed up to all. Raises `UserError` for batches
    that do not say which tokens they train.
    """
    inputs: Any = batch.inputs
    if specs.get(model.head).picks_class_of == "row":
        now = heads.classify(model.net, inputs)
        before = _reference(model, lambda net: heads.classify(net, inputs))
        return kl(before, now).sum()
    if "where" not in inputs or len(inputs["where"]) != batch.count:
        raise UserError("kl_anchor: this objective does not say which tokens it trains",
                        "it goes with clm, mlm and sft; objectives on preferences have an anchor of their own (--dpo.beta)")
    where = inputs["where"]
    some = where[torch.linspace(0, len(where) - 1, positions, device=where.device).long()] if len(where) > positions else where
    before = _reference(model, lambda net: heads.logits_at(net, inputs, some))
    now = heads.logits_at(model.net, inputs, some)
    return kl(before, now).sum() * (len(where) / len(some))


def kl(before: Tensor, now: Tensor) -> Tensor:
    """[n] KL(before || now) of distributions given by logits [n, classes], fp32."""
    p, q = before.float().log_softmax(-1), now.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def _reference(model: Model, ask: Callable[[Any], Tensor]) -> Tensor:
    assert model.reference is not None
    with torch.no_grad(), model.reference() as net:
        return ask(net).detach()
