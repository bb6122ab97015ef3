"""What the methods that learn from pairs share: everything but the formula. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ftp.data.encode import cache_key
from ftp.losses import chat_template as templates
from ftp.losses import conversations, generation, stretches, tokens
from ftp.losses.common import row_limit
from ftp.model.modes import without_dropout
from ftp.train.device import precision
from ftp.types import Batch, Data, Loss, LossOut, Metric, Model, Prediction, Row, Run
from ftp_preference import answers, rows

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
    run: Run,
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
) -> Loss:
    """A loss over pairs of answers, one term a pair. `reference`: the formula reads the reference's log probabilities."""
    tokens.refuse_encoder_decoder(model, who)
    talk = templates.of_run(run, data, model, who=who, file=chat_template, eos_token=eos_token)
    if disable_dropout:
        without_dropout(model.net)
    limit = row_limit(run, model)
    encode_pairs = rows.pairs(talk, limit)

    def encode(given: Iterable[Row], split: str) -> list[dict[str, Any]]:
        if split == "predict":
            return list(generation.prompts(talk, given, limit))
        made = encode_pairs(given, split)
        if precompute:
            kept = [one for one in made if "left_out" not in one]
            answers.precompute(run, model, kept, {"ref_chosen_logps": ("input_ids", "spans"),
                                                  "ref_rejected_logps": ("rejected_ids", "rejected_spans")})
        return made

    def collate(part: Sequence[Row]) -> Batch:
        if "asked" in part[0]:
            return generation.collate(model, part)
        inputs = answers.lay(model, [one["input_ids"] for one in part] + [one["rejected_ids"] for one in part],
                             [one["spans"] for one in part] + [one["rejected_spans"] for one in part])
        if precompute:
            known = [one["ref_chosen_logps"] for one in part] + [one["ref_rejected_logps"] for one in part]
            inputs["ref_logps"] = torch.tensor(known, device=inputs["input_ids"].device)
        return Batch(inputs, count=len(part), rows=len(part), tokens=sum(one["length"] for one in part))

    def compute(batch: Batch) -> LossOut:
        inputs = batch.inputs
        own = answers.logps(model.net, inputs)
        if not reference:
            other = torch.zeros_like(own)
        else:
            other = inputs["ref_logps"] if precompute else answers.reference_logps(model, inputs)
        lengths = torch.tensor(inputs["lengths"], dtype=own.dtype, device=own.device)
        both = Logps(*own.chunk(2), *other.chunk(2), *lengths.chunk(2))
        losses, shown = formula(both)
        shown = {**shown, "logps/chosen": both.chosen, "logps/rejected": both.rejected}
        return LossOut(losses.sum(), {name: value.detach().float().sum() for name, value in shown.items()},
                       row_losses=losses.detach(), row_counts=torch.ones_like(losses))

    def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
        return generation.answers(model, talk, batch, max_new_tokens=max_new_tokens, limit=limit)

    known = (answers.fingerprint(model.net), precision(run.settings)) if precompute else ()
    key = cache_key(model.tokenizer, "pairs", VERSION, limit, rows, conversations, stretches, talk.key, *known)
    return Loss(encode, collate, compute, answer, key=key, name=who, metrics=AIMS)


def rewards(chosen: Tensor, rejected: Tensor) -> dict[str, Tensor]:
    """What is shown of the implicit rewards of both answers, by TRL's names."""
    return {"rewards/chosen": chosen, "rewards/rejected": rejected, "rewards/margins": chosen - rejected,
            "rewards/accuracies": chosen > rejected}
