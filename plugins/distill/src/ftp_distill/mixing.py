"""The loss with a teacher in it. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ftp import heads as specs
from ftp.model import evaluating
from ftp.net import heads
from ftp.types import Batch, Loss, LossOut, Model
from ftp_distill.teachers import Teacher

NEAR = 1e-4


@dataclass(frozen=True)
class Formula:
    """alpha * T^2 * divergence(teacher, student) + (1 - alpha) * own, for each term."""

    alpha: float
    temperature: float
    kind: str
    beta: float

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """[n] how far the student's distribution is from the teacher's, in nats, times T^2 (Hinton et al. 2015, section 2: so
        that gradients keep their size). Both [n, classes] logits.

        jsd: beta KL(teacher, mixture) + (1 - beta) KL(student, mixture), the mixture being beta teacher + (1 - beta) student
        (Agarwal et al. 2024, eq. 1).
        """
        s = (student.float() / self.temperature).log_softmax(-1)
        t = (teacher.float() / self.temperature).log_softmax(-1)
        if self.kind == "forward":
            divergence = kl(t, s)
        elif self.kind == "reverse":
            divergence = kl(s, t)
        else:
            weight = torch.tensor(self.beta, device=s.device)
            mixture = torch.logaddexp(t + weight.log(), s + torch.log1p(-weight))
            divergence = self.beta * kl(t, mixture) + (1 - self.beta) * kl(s, mixture)
        return divergence * self.temperature**2


def kl(p: Tensor, q: Tensor) -> Tensor:
    """[n] KL(p, q) of log probabilities [n, classes]. A class that `p` gives no chance adds nothing."""
    return torch.where(p == -torch.inf, 0, p.exp() * (p - q)).sum(-1)


def compute(model: Model, loss: Loss, teacher: Teacher, formula: Formula) -> Callable[[Batch], LossOut]:
    """`Loss.compute` with the teacher in it; without gradients (evaluation) the own loss alone."""
    plain: list[bool] = []  # whether the own loss is the cross entropy of these terms; measured once

    def mixed(batch: Batch) -> LossOut:
        if not torch.is_grad_enabled():
            return loss.compute(batch)
        if not plain and batch.count:
            plain.append(_is_plain(model, loss, teacher, formula, batch))
        own, apart, of = _terms(model, teacher, formula, batch)
        counts = torch.zeros(batch.rows, device=of.device).index_add_(0, of, torch.ones_like(own))
        spread = torch.zeros_like(counts).index_add_(0, of, apart.detach())
        metrics = {"distill/divergence": (spread / counts.clamp(min=1)).sum()}
        # the own cross entropy is at hand: the head need not run twice
        if plain == [True]:
            each = formula.alpha * apart + (1 - formula.alpha) * own
            by_row = torch.zeros_like(counts).index_add_(0, of, each.detach())
            return LossOut(each.sum(), metrics, by_row, counts)
        out = loss.compute(batch)
        total = formula.alpha * apart.sum() + (1 - formula.alpha) * out.total
        return LossOut(total, {**out.metrics, **metrics})

    return mixed


def _is_plain(model: Model, loss: Loss, teacher: Teacher, formula: Formula, batch: Batch) -> bool:
    with evaluating(model.net), torch.no_grad():
        theirs, ours = float(loss.compute(batch).total), float(_terms(model, teacher, formula, batch)[0].sum())
    return abs(theirs - ours) <= NEAR * max(1.0, abs(theirs))


def _terms(model: Model, teacher: Teacher, formula: Formula, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """(own cross entropies [n], divergences [n], row numbers [n]) of the terms of a batch."""
    inputs = batch.inputs
    if specs.get(model.head).picks_class_of == "row":
        student = heads.classify(model.net, inputs).float()
        with teacher.net() as net, torch.no_grad():
            theirs = teacher.ordered(heads.classify(net, inputs))
        own = cross_entropy(student, inputs["label"], reduction="none")
        return own, formula.divergence(student, theirs), torch.arange(len(own), device=own.device)
    where, target = inputs["where"], inputs["target"]
    student = heads.head_at(model.net, inputs, where)
    if teacher.is_model:  # one network in two states, one after the other
        mine = student(0, len(where))
        with teacher.net() as net, torch.no_grad():
            theirs = heads.logits_at(net, inputs, where)
        return cross_entropy(mine.float(), target, reduction="none"), formula.divergence(mine, theirs), inputs["of"]
    with teacher.net() as net, torch.no_grad():
        teaches = heads.head_at(net, inputs, where)

    def piece(start: int, end: int) -> tuple[Tensor, Tensor]:
        mine = student(start, end)
        with torch.no_grad():
            theirs = teaches(start, end)
        width = min(mine.shape[-1], theirs.shape[-1])  # some embeddings have rows that are no token's
        own = cross_entropy(mine.float(), target[start:end], reduction="none")
        return own, formula.divergence(mine[:, :width], theirs[:, :width])

    own, apart = heads.in_pieces(model.net, len(where), piece, copies=2)
    return own, apart, inputs["of"]
