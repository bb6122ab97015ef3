"""The plugin `kto`: learn from single answers that were rated good or bad.

The loss compares the log ratio of an answer with z0, an estimate of how far the model has moved at all: the mean log ratio
of answers to other prompts. z0 belongs to the whole update. So before an update its mismatched pairs, which were fixed when
the rows were encoded, go through model and reference without gradients, their log ratios are added up over all
micro-batches and processes, and every row of the update is compared with the same z0, however the update was spread.
Outside of an update (evaluation) a batch takes the estimate from its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import Candidate, hookimpl, option, plugin
from ftp.types import Batch, Data, Loss, LossOut, Model, StartedRun, StepOut

if TYPE_CHECKING:
    from torch import Tensor


@plugin(wants=("feedback",), head="tokens", suggests={"learning_rate": 1e-6, "epochs": 1.0},
        candidates=[Candidate(cost=1.33)])  # the untrained model reads each row as well
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

    def __post_init__(self) -> None:
        self.z0: Tensor | None = None  # of the update that is being done

    @hookimpl
    def make_loss(self, run: StartedRun, data: Data, model: Model) -> Loss:
        """Encode each rated answer, and beside it an answer to another prompt."""
        from ftp_preference import kto_loss

        return kto_loss.make(self, run, data, model)

    def formula(self, ratio: Tensor, good: Tensor, z0: Tensor) -> Tensor:
        """Ethayarajh et al. 2024, section 4.1: the weight of a row, less its value."""
        import torch

        value = (self.beta * torch.where(good, ratio - z0, z0 - ratio)).sigmoid()
        return torch.where(good, self.desirable_weight, self.undesirable_weight) * (1 - value)

    @hookimpl(wrapper=True)
    def train_step(
        self, run: StartedRun, loss: Callable[[Batch], LossOut], batches: Sequence[Batch]
    ) -> Generator[None, StepOut, StepOut]:
        """Estimate z0 from all mismatched pairs of the update before it is done."""
        import torch

        sums = torch.zeros(2, device=run.accelerator.device)  # of log ratios, and how many pairs they are of
        with torch.no_grad():
            for batch in batches:  # one pass each, with pairs or without: sharded ranks must keep step
                pairs = batch.inputs["other"] or batch.inputs
                total = loss(replace(batch, inputs={**pairs, "estimates": True})).total
                if batch.inputs["other"] and batch.count:
                    sums += torch.stack([total, sums.new_tensor(len(pairs["lengths"]))])
        if run.accelerator.num_processes > 1:
            sums = run.accelerator.reduce(sums, "sum")
        self.z0 = (sums[0] / sums[1].clamp(min=1)).clamp(min=0)
        try:
            return (yield)
        finally:
            self.z0 = None
