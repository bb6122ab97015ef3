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
    """What a formula reads of pairs of answers, `[pairs] float32` each.

    Attributes:
        chosen: log probabilities of the chosen answers, in nats.
        rejected: those of the rejected ones.
        ref_chosen: log probabilities of the chosen answers under the reference; zero for a method without one.
        ref_rejected: those of the rejected ones.
        chosen_length: tokens of the chosen answers.
        rejected_length: those of the rejected ones.
    """

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
    """A loss over pairs of answers, one term a pair.

    Args:
        run: the run.
        data: its rows, of preferences.
        model: a causal language model.
        formula: log probabilities -> the loss of each pair `[pairs] float32`, and by name what to show of each pair.
        who: the plugin, for messages and for the names of its options.
        reference: whether the formula reads the log probabilities under the weights from before the run.
        precompute: whether those are computed once, before training.
        disable_dropout: whether the checkpoint's own dropout is switched off, as the two answers are compared.
        chat_template: a file with a Jinja template; None: the tokenizer's own, or ours where it has none.
        eos_token: a token that ends answers; None: the tokenizer's EOS.
        max_new_tokens: tokens of a generated answer at most.

    Raises:
        UserError: the network has an encoder and a decoder, or tokenizer or template cannot be used.
    """
    tokens.refuse_encoder_decoder(model, who)
    chat = templates.of_run(run, data, model, who=who, file=chat_template, eos_token=eos_token)
    if disable_dropout:
        without_dropout(model.net)
    limit = row_limit(run, model)
    # rows that are kept hold the log probabilities too
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
        # the chosen answers first, then the rejected ones, in one pass of the network
        chosen = [(row["input_ids"], row["spans"]) for row in rows]
        rejected = [(row["rejected_ids"], row["rejected_spans"]) for row in rows]
        ids, spans = zip(*chosen, *rejected, strict=True)
        inputs = answer_logps.lay(self.model, ids, spans)
        if self.precompute:
            logps = [row["ref_chosen_logps"] for row in rows] + [row["ref_rejected_logps"] for row in rows]
            inputs["ref_logps"] = torch.tensor(logps, device=inputs["input_ids"].device)
        return Batch(inputs, count=len(rows), rows=len(rows), tokens=sum(row["length"] for row in rows))

    def compute(self, batch: Batch) -> LossOut:
        inputs = batch.inputs
        own = answer_logps.logps(self.model.net, inputs)
        # a method without a reference reads zeros
        if not self.reference:
            reference = torch.zeros_like(own)
        elif self.precompute:
            reference = inputs["ref_logps"]
        else:
            reference = answer_logps.reference_logps(self.model, inputs)
        lengths = torch.tensor(inputs["lengths"], dtype=own.dtype, device=own.device)
        logps = Logps(*own.chunk(2), *reference.chunk(2), *lengths.chunk(2))
        losses, shown = self.formula(logps)
        shown = {**shown, "logps/chosen": logps.chosen, "logps/rejected": logps.rejected}
        metrics = {name: values.detach().float().sum() for name, values in shown.items()}
        return LossOut(losses.sum(), metrics, row_losses=losses.detach(), row_counts=torch.ones_like(losses))

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        return generation.answers(self.model, self.chat, batch, max_new_tokens=self.max_new_tokens, limit=self.limit)


def rewards(chosen: Tensor, rejected: Tensor) -> dict[str, Tensor]:
    """What is shown of the implicit rewards of both answers, by TRL's names.

    Args:
        chosen: `[pairs] float32` rewards of the chosen answers.
        rejected: `[pairs] float32` those of the rejected ones.

    Returns:
        `[pairs]` each, by name.
    """
    return {"rewards/chosen": chosen, "rewards/rejected": rejected, "rewards/margins": chosen - rejected,
            "rewards/accuracies": chosen > rejected}
