"""The plugin `kto`: learn from single answers that were rated good or bad.

The loss compares the log ratio of an answer with z0, an estimate of how far the model has moved at all: the mean log ratio
of answers to other prompts. z0 belongs to the whole update. So before an update its mismatched pairs, which were fixed when
the rows were encoded, go through model and reference without gradients, their log ratios are added up over all
micro-batches and processes, and every row of the update is compared with the same z0, however the update was spread.
Outside of an update (evaluation) a batch takes the estimate from its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Batch, Data, Loss, LossOut, Metric, Model, Prediction, Row, Run, StepOut

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1


@plugin(wants=("feedback",), head="tokens", suggests={"learning_rate": 1e-6, "epochs": 1.0})
class Kto:
    """Learn from answers rated good or bad, one by one (KTO, Ethayarajh et al. 2024, arXiv:2402.01306)."""

    beta: float = option(0.1, "how strongly the model is held to what it was", low=1e-6)
    desirable_weight: float = option(1.0, "weight of rows rated good", low=0)
    undesirable_weight: float = option(1.0, "weight of rows rated bad", low=0)
    precompute_ref_log_probs: bool = option(False, "ask the reference once, before training, and keep its answers in the cache")
    disable_dropout: bool = option(True, "train without the checkpoint's dropout, which would blur the comparison")
    chat_template: Path | None = option(None, "file with a chat template in place of the tokenizer's own")
    eos_token: str | None = option(None, "token of the vocabulary that ends answers, where the tokenizer has no EOS")
    max_new_tokens: int = option(256, "tokens at most in an answer of `ftp predict`", low=1)

    z0: Any = field(default=None, init=False)  # of the update that is being done

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        """Encode each rated answer, and beside it an answer to another prompt."""
        import torch

        from ftp.data.encode import cache_key
        from ftp.losses import chat_template, conversations, generation, stretches, tokens
        from ftp.losses.common import row_limit
        from ftp.model.modes import without_dropout
        from ftp.train.device import precision
        from ftp_preference import answers, rows

        tokens.refuse_encoder_decoder(model, "kto")
        if data.splits and self.desirable_weight == self.undesirable_weight == 0:
            raise UserError("--kto.desirable_weight 0 and --kto.undesirable_weight 0: no row would be learnt from",
                            "leave out one of them at least")
        talk = chat_template.of_run(run, data, model, who="kto", file=self.chat_template, eos_token=self.eos_token)
        if self.disable_dropout:
            without_dropout(model.net)
        limit = row_limit(run, model)
        encode_ratings = rows.ratings(talk, limit, run.tell)

        def encode(given: Iterable[Row], split: str) -> list[dict[str, Any]]:
            if split == "predict":
                return list(generation.prompts(talk, given, limit))
            made = encode_ratings(given, split)
            if self.precompute_ref_log_probs:
                answers.precompute(run, model, made, {"ref_logps": ("input_ids", "spans"),
                                                      "ref_other_logps": ("other_ids", "other_spans")})
            return made

        def inputs_of(part: Sequence[Row], ids: str, spans: str, ref: str) -> dict[str, Any]:
            inputs = answers.lay(model, [one[ids] for one in part], [one[spans] for one in part])
            if self.precompute_ref_log_probs:
                inputs["ref_logps"] = torch.tensor([one[ref] for one in part], device=inputs["input_ids"].device)
            return inputs

        def collate(part: Sequence[Row]) -> Batch:
            if "asked" in part[0]:
                return generation.collate(model, part)
            inputs = inputs_of(part, "input_ids", "spans", "ref_logps")
            inputs["label"] = torch.tensor([one["label"] for one in part], device=inputs["input_ids"].device).bool()
            others = [one for one in part if one["other_ids"]]
            if others:
                inputs["other"] = inputs_of(others, "other_ids", "other_spans", "ref_other_logps")
            return Batch(inputs, count=len(part), rows=len(part), tokens=sum(one["length"] for one in part))

        def ratios(inputs: Any) -> Tensor:
            own = answers.logps(model.net, inputs)
            return own - (inputs["ref_logps"] if "ref_logps" in inputs else answers.reference_logps(model, inputs))

        def compute(batch: Batch) -> LossOut:
            if "label" not in batch.inputs:  # the mismatched pairs of an update (see `train_step`)
                return LossOut(ratios(batch.inputs).sum())
            good, z0 = batch.inputs["label"], self.z0
            if z0 is None:
                with torch.no_grad():
                    z0 = ratios(batch.inputs["other"]).mean() if "other" in batch.inputs else torch.zeros((), device=good.device)
                z0 = z0.clamp(min=0)
            ratio = ratios(batch.inputs)
            losses = self.formula(ratio, good, z0)
            ahead, sign = self.beta * (ratio - z0).detach(), torch.where(good, 1.0, -1.0)
            shown = {"rewards/accuracies": (ahead * sign > 0).float().sum(),
                     "rewards/aligned": (self.beta * ratio.detach() * sign).sum(), "kl": z0 * len(good)}
            return LossOut(losses.sum(), shown, row_losses=losses.detach(), row_counts=torch.ones_like(losses))

        def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
            return generation.answers(model, talk, batch, max_new_tokens=self.max_new_tokens, limit=limit)

        known = (answers.fingerprint(model.net), precision(run.settings)) if self.precompute_ref_log_probs else ()
        key = cache_key(model.tokenizer, "ratings", VERSION, limit, rows, conversations, stretches, talk.key, *known)
        return Loss(encode, collate, compute, answer, key=key, name="kto",
                    metrics={"rewards/accuracies": Metric("max"), "rewards/aligned": Metric("max")})

    def formula(self, ratio: Tensor, good: Tensor, z0: Tensor) -> Tensor:
        """Ethayarajh et al. 2024, section 4.1: the weight of a row, less its value."""
        import torch

        value = (self.beta * torch.where(good, ratio - z0, z0 - ratio)).sigmoid()
        return torch.where(good, self.desirable_weight, self.undesirable_weight) * (1 - value)

    @hookimpl(wrapper=True)
    def train_step(
        self, run: Run, loss: Callable[[Batch], LossOut], batches: Sequence[Batch]
    ) -> Generator[None, StepOut, StepOut]:
        """Estimate z0 from all mismatched pairs of the update before it is done."""
        import torch

        assert run.accelerator is not None
        found = torch.zeros(2, device=run.accelerator.device)
        with torch.no_grad():
            for batch in batches:  # one pass each, with pairs or without: sharded ranks must keep step
                inputs = batch.inputs.get("other") or {name: x for name, x in batch.inputs.items() if name != "label"}
                total = loss(replace(batch, inputs=inputs)).total
                if "other" in batch.inputs and batch.count:
                    found += torch.stack([total, found.new_tensor(len(inputs["lengths"]))])
        if run.accelerator.num_processes > 1:
            found = run.accelerator.reduce(found, "sum")
        self.z0 = (found[0] / found[1].clamp(min=1)).clamp(min=0)
        try:
            return (yield)
        finally:
            self.z0 = None
