"""The loss with a teacher in it. Heavy: imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ftp import UserError
from ftp import heads as specs
from ftp.net import heads
from ftp.net.logits import Logits, VocabularyLogits
from ftp.types import Batch, Loss, LossOut, Model
from ftp_distill.teachers import Teacher


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
        width = min(student.shape[-1], teacher.shape[-1])  # some embeddings have rows that are no token's
        s = (student[:, :width].float() / self.temperature).log_softmax(-1)
        t = (teacher[:, :width].float() / self.temperature).log_softmax(-1)
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

    def mixed(batch: Batch) -> LossOut:
        out = loss.compute(batch)
        if not torch.is_grad_enabled() or not batch.count:
            return out
        if out.logits is None:
            raise UserError(f"distill: the loss '{loss.name}' does not say what its terms chose from",
                            "it goes with classes of rows and with tokens: sentiment, classify, sft, clm, mlm")
        divergences = out.logits.each(formula.divergence, _teacher_logits(model, teacher, batch))
        row_of_term = _row_of_term(model, batch, divergences)
        counts = _sums_by_row(torch.ones_like(divergences), row_of_term, batch.rows)
        row_divergences = _sums_by_row(divergences.detach(), row_of_term, batch.rows)
        row_losses = None
        if out.row_losses is not None:
            row_losses = formula.alpha * row_divergences + (1 - formula.alpha) * out.row_losses
        # metrics are sums over rows, shown as means
        metrics = {**out.metrics, "distill/divergence": (row_divergences / counts.clamp(min=1)).sum()}
        total = formula.alpha * divergences.sum() + (1 - formula.alpha) * out.total
        return dataclasses.replace(out, total=total, row_losses=row_losses, metrics=metrics)

    return mixed


def _sums_by_row(terms: Tensor, row_of_term: Tensor, rows: int) -> Tensor:
    """[rows] the sum of each row's terms."""
    return torch.zeros(rows, device=terms.device).index_add_(0, row_of_term, terms)


def _row_of_term(model: Model, batch: Batch, terms: Tensor) -> Tensor:
    """[terms] the number of the row that each term is of."""
    if specs.get(model.head).picks_class_of == "row":
        return torch.arange(len(terms), device=terms.device)
    rows: Tensor = batch.inputs["of"]
    return rows


def _teacher_logits(model: Model, teacher: Teacher, batch: Batch) -> Tensor | Logits:
    """[terms, classes] what the teacher says of the terms of a batch."""
    inputs = batch.inputs
    with teacher.net() as net, torch.no_grad():
        if specs.get(model.head).picks_class_of == "row":
            return teacher.ordered(heads.classify(net, inputs))
        # behind this context the network is the student again, so that all is asked within it
        if teacher.is_model:
            return heads.logits_at(net, inputs, inputs["where"])
        return VocabularyLogits(net, heads.head_at(net, inputs, inputs["where"]), len(inputs["where"]))
