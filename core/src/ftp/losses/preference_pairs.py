"""What the methods that learn from pairs share: everything but the formula. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ftp.data.encode import cache_key
from ftp.losses import answer_logps, conversations, generation, prompted_answers, stretches, tokens
from ftp.losses import chat_template as templates
from ftp.losses.common import TokenRow, is_asked, row_limit
from ftp.losses.conversations import Chat
from ftp.losses.prompted_answers import PairRow, SamePairs, encode_pairs
from ftp.model.modes import without_dropout
from ftp.types import Batch, Data, Loss, LossOut, Metric, Model, Prediction, Row, StartedRun

__all__ = ["Logps", "make", "rewards"]

VERSION = 1


@dataclass(frozen=True)
class Logps:
    """[pairs] each: log probabilities of both answers and numbers of their tokens; `ref_` under the reference (zero for a
    method without one)."""

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_length: Tensor
    rejected_length: Tensor


AIMS = {"rewards/accuracies": Metric("max"), "rewards/margins": Metric("max"), "log_odds_ratio": Metric("max"),
        "nll": Metric("min")}
"""Which of what is shown is better when it is higher; of an answer's reward alone that cannot be said."""

Formula = Callable[[Logps], tuple[Tensor, Mapping[str, Tensor]]]
"""Log probabilities -> the loss of each pair, and what to show of each pair."""


def make(
    run: StartedRun,
    data: Data,
    model: Model,
    formula: Formula,
    *,
    who: str,
    reference: bool,
    precompute: bool = False,
    disable_dropout: bool = True,
    chat_template: Path | None = None,
    eos_token: str | None = None,
    max_new_tokens: int = 256,
) -> PreferencePairs:
    """A loss over pairs of answers, one term a pair. `reference`: the formula reads the reference's log probabilities."""
    tokens.refuse_encoder_decoder(model, who)
    chat = templates.of_run(run, data, model, who=who, file=chat_template, eos_token=eos_token)
    if disable_dropout:
        without_dropout(model.net)
    limit = row_limit(run, model)
    known = answer_logps.kept_under(run, model) if precompute else ()
    key = cache_key(model.tokenizer, "pairs", VERSION, limit, prompted_answers, conversations, stretches, chat.key, *known)
    return PreferencePairs(run, model, chat, formula, limit, max_new_tokens, reference, precompute, name=who, key=key)


@dataclass(frozen=True)
class PreferencePairs(Loss[PairRow]):
    """The loss of `make`. `limit`: tokens of a prompt with its answer at most."""

    run: StartedRun
    model: Model
    chat: Chat
    formula: Formula
    limit: int
    max_new_tokens: int
    reference: bool
    precompute: bool
    name: str
    key: str
    metrics: Mapping[str, Metric] = field(default_factory=lambda: AIMS)
    learnt: SamePairs = field(default_factory=SamePairs)
    scored: SamePairs = field(default_factory=SamePairs)

    def encode(self, rows: Sequence[Row]) -> list[PairRow]:
        return self._encoded(rows, self.learnt)

    def encode_to_score(self, rows: Sequence[Row]) -> list[PairRow]:
        return self._encoded(rows, self.scored)

    def _encoded(self, rows: Sequence[Row], seen: SamePairs) -> list[PairRow]:
        encoded = encode_pairs(self.chat, rows, self.limit, seen)
        if self.precompute:
            kept = [row for row in encoded if "left_out" not in row]
            columns = {"ref_chosen_logps": ("input_ids", "spans"), "ref_rejected_logps": ("rejected_ids", "rejected_spans")}
            answer_logps.precompute(self.run, self.model, kept, columns)
        return encoded

    def ask(self, rows: Sequence[Row]) -> Iterator[TokenRow]:
        return generation.prompts(self.chat, rows, self.limit)

    def collate(self, rows: Sequence[PairRow]) -> Batch:
        if is_asked(rows):
            return generation.collate(self.model, rows)
        ids = [row["input_ids"] for row in rows] + [row["rejected_ids"] for row in rows]
        spans = [row["spans"] for row in rows] + [row["rejected_spans"] for row in rows]
        inputs = answer_logps.lay(self.model, ids, spans)
        if self.precompute:
            known = [row["ref_chosen_logps"] for row in rows] + [row["ref_rejected_logps"] for row in rows]
            inputs["ref_logps"] = torch.tensor(known, device=inputs["input_ids"].device)
        return Batch(inputs, count=len(rows), rows=len(rows), tokens=sum(row["length"] for row in rows))

    def compute(self, batch: Batch) -> LossOut:
        inputs = batch.inputs
        own = answer_logps.logps(self.model.net, inputs)
        if not self.reference:
            other = torch.zeros_like(own)
        elif self.precompute:
            other = inputs["ref_logps"]
        else:
            other = answer_logps.reference_logps(self.model, inputs)
        lengths = torch.tensor(inputs["lengths"], dtype=own.dtype, device=own.device)
        both = Logps(*own.chunk(2), *other.chunk(2), *lengths.chunk(2))
        losses, shown = self.formula(both)
        shown = {**shown, "logps/chosen": both.chosen, "logps/rejected": both.rejected}
        metrics = {name: values.detach().float().sum() for name, values in shown.items()}
        return LossOut(losses.sum(), metrics, row_losses=losses.detach(), row_counts=torch.ones_like(losses))

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        return generation.answers(self.model, self.chat, batch, max_new_tokens=self.max_new_tokens, limit=self.limit)


def rewards(chosen: Tensor, rejected: Tensor) -> dict[str, Tensor]:
    """What is shown of the implicit rewards of both answers, by TRL's names."""
    return {"rewards/chosen": chosen, "rewards/rejected": rejected, "rewards/margins": chosen - rejected,
            "rewards/accuracies": chosen > rejected}
