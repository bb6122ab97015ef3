"""The loss of `kto`: rated answers, each beside an answer to another prompt. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ftp import UserError
from ftp.data import cache_key
from ftp.losses import (
    TokenRow,
    answer_logps,
    chat_template,
    conversations,
    generation,
    is_asked,
    prompted_answers,
    row_limit,
    stretches,
    tokens,
)
from ftp.losses.conversations import Chat
from ftp.losses.prompted_answers import RatingRow, encode_ratings
from ftp.model import without_dropout
from ftp.types import Batch, Data, Loss, LossOut, Metric, Model, Prediction, Row, StartedRun

if TYPE_CHECKING:
    from ftp_preference import Kto

VERSION = 1


def make(options: Kto, run: StartedRun, data: Data, model: Model) -> Ratings:
    """The loss of `Kto.formula`, one term a row. `UserError` for options and models that do not go together."""
    tokens.refuse_encoder_decoder(model, "kto")
    if data.splits and options.desirable_weight == options.undesirable_weight == 0:
        raise UserError("--kto.desirable_weight 0 and --kto.undesirable_weight 0: no row would be learnt from",
                        "leave out one of them at least")
    chat = chat_template.of_run(run, data, model, who="kto", file=options.chat_template, eos_token=options.eos_token)
    if options.disable_dropout:
        without_dropout(model.net)
    limit = row_limit(run, model)
    precompute = options.precompute_ref_log_probs
    known = answer_logps.kept_under(run, model) if precompute else ()
    key = cache_key(model.tokenizer, "ratings", VERSION, limit, prompted_answers, conversations, stretches, chat.key, *known)
    return Ratings(options, run, model, chat, limit, precompute, key=key)


@dataclass(frozen=True)
class Ratings(Loss[RatingRow]):
    """The loss of `make`. `limit`: tokens of a prompt with its answer at most."""

    options: Kto
    run: StartedRun
    model: Model
    chat: Chat
    limit: int
    precompute: bool
    key: str
    name: str = "kto"
    metrics: Mapping[str, Metric] = field(
        default_factory=lambda: {"rewards/accuracies": Metric("max"), "rewards/aligned": Metric("max")})

    def encode(self, rows: Sequence[Row]) -> list[RatingRow]:
        encoded = encode_ratings(self.chat, rows, self.limit, self.run.tell)
        if self.precompute:
            columns = {"ref_logps": ("input_ids", "spans"), "ref_other_logps": ("other_ids", "other_spans")}
            answer_logps.precompute(self.run, self.model, encoded, columns)
        return encoded

    def ask(self, rows: Sequence[Row]) -> Iterator[TokenRow]:
        return generation.prompts(self.chat, rows, self.limit)

    def collate(self, rows: Sequence[RatingRow]) -> Batch:
        """The rated answers; in `other` those to other prompts, empty where no row has one."""
        if is_asked(rows):
            return generation.collate(self.model, rows)
        ref_logps = [row["ref_logps"] for row in rows] if self.precompute else []
        inputs = self._inputs([row["input_ids"] for row in rows], [row["spans"] for row in rows], ref_logps)
        inputs["label"] = torch.tensor([row["label"] for row in rows], device=inputs["input_ids"].device).bool()
        paired = [row for row in rows if row["other_ids"]]
        inputs["other"] = {}
        if paired:
            ref_logps = [row["ref_other_logps"] for row in paired] if self.precompute else []
            inputs["other"] = self._inputs(
                [row["other_ids"] for row in paired], [row["other_spans"] for row in paired], ref_logps)
        return Batch({**inputs, "estimates": False}, count=len(rows), rows=len(rows), tokens=sum(row["length"] for row in rows))

    def _inputs(self, ids: list[list[int]], spans: list[list[int]], reference: list[float]) -> dict[str, Any]:
        inputs = answer_logps.lay(self.model, ids, spans)
        if self.precompute:
            inputs["ref_logps"] = torch.tensor(reference, device=inputs["input_ids"].device)
        return inputs

    def ratios(self, inputs: Mapping[str, Any]) -> Tensor:
        """[answers] log ratio of each answer under model and reference, in nats."""
        own = answer_logps.logps(self.model.net, inputs)
        return own - (inputs["ref_logps"] if self.precompute else answer_logps.reference_logps(self.model, inputs))

    def compute(self, batch: Batch) -> LossOut:
        if batch.inputs["estimates"]:  # the mismatched pairs of an update (see `Kto.train_step`)
            return LossOut(self.ratios(batch.inputs).sum())
        good = batch.inputs["label"]
        z0 = self.options.z0
        if z0 is None:
            z0 = self._estimate(batch).clamp(min=0)
        ratio = self.ratios(batch.inputs)
        losses = self.options.formula(ratio, good, z0)
        ahead = self.options.beta * (ratio - z0).detach()
        sign = torch.where(good, 1.0, -1.0)
        metrics = {"rewards/accuracies": (ahead * sign > 0).float().sum(),
                   "rewards/aligned": (self.options.beta * ratio.detach() * sign).sum(), "kl": z0 * len(good)}
        return LossOut(losses.sum(), metrics, row_losses=losses.detach(), row_counts=torch.ones_like(losses))

    def _estimate(self, batch: Batch) -> Tensor:
        """z0 from the rows of one batch; 0 where none is paired with another's answer."""
        with torch.no_grad():
            if batch.inputs["other"]:
                return self.ratios(batch.inputs["other"]).mean()
            return torch.zeros((), device=batch.inputs["label"].device)

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        limits = {"max_new_tokens": self.options.max_new_tokens, "limit": self.limit}
        return generation.answers(self.model, self.chat, batch, **limits)
