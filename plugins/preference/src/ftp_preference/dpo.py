"""The plugin `dpo`: prefer the chosen answer to the rejected one, measured against the model as it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ftp import Candidate, UserError, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, StartedRun

if TYPE_CHECKING:
    from torch import Tensor

    from ftp.losses.preference_pairs import Logps

LossType = Literal["sigmoid", "sigmoid_norm", "ipo", "hinge", "robust"]


@plugin(wants=("preference",), head="tokens", suggests={"learning_rate": 1e-6, "epochs": 1.0},
        candidates=[Candidate(cost=1.33)])  # the untrained model reads each row as well
class Dpo:
    """Prefer chosen to rejected answers, compared with the untrained model (DPO, Rafailov et al. 2023, arXiv:2305.18290)."""

    loss_type: LossType = option("sigmoid", "sigmoid; sigmoid_norm: a token's mean in place of an answer's sum; ipo (Azar et al. "
                                 "2023); hinge (SLiC, Zhao et al. 2023); robust (Chowdhury et al. 2024)")
    beta: float = option(0.1, "how strongly the model is held to what it was; of ipo: tau", low=1e-6)
    label_smoothing: float = option(0.0, "share of preferences taken to be the wrong way round (sigmoid, sigmoid_norm, robust)",
                                    low=0, high=0.499)
    precompute_ref_log_probs: bool = option(False, "ask the reference once, before training, and keep its answers in the cache")
    disable_dropout: bool = option(True, "train without the checkpoint's dropout, which would blur the comparison")
    chat_template: Path | None = option(None, "file with a chat template in place of the tokenizer's own")
    eos_token: str | None = option(None, "token of the vocabulary that ends answers, where the tokenizer has no EOS")
    max_new_tokens: int = option(256, "tokens at most in an answer of `ftp predict`", low=1)

    @hookimpl
    def make_loss(self, run: StartedRun, data: Data, model: Model) -> Loss:
        """Encode both answers of each row, and compare their log probabilities with those of the reference."""
        from ftp.losses import preference_pairs

        if self.label_smoothing and self.loss_type in ("ipo", "hinge"):
            raise UserError(f"--dpo.label_smoothing {self.label_smoothing}: loss_type {self.loss_type} has none",
                            "leave it out, or take loss_type sigmoid, sigmoid_norm or robust")
        return preference_pairs.make(
            run, data, model, self.formula, who="dpo", reference=True,
            precompute=self.precompute_ref_log_probs, disable_dropout=self.disable_dropout,
            chat_template=self.chat_template, eos_token=self.eos_token,
            max_new_tokens=self.max_new_tokens)

    def formula(self, logps: Logps) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of each pair, from the log ratios of trained model to reference of both answers."""
        from torch.nn.functional import logsigmoid

        from ftp.losses.preference_pairs import rewards

        chosen, rejected = logps.chosen - logps.ref_chosen, logps.rejected - logps.ref_rejected
        shown = rewards(self.beta * chosen, self.beta * rejected)
        if self.loss_type in ("ipo", "sigmoid_norm"):
            chosen, rejected = chosen / logps.chosen_length, rejected / logps.rejected_length
        margin, noise = chosen - rejected, self.label_smoothing
        right, wrong = -logsigmoid(self.beta * margin), -logsigmoid(-self.beta * margin)
        if self.loss_type == "ipo":  # Azar et al. 2023, eq. 17, with a token's mean as their authors had it
            losses = (margin - 1 / (2 * self.beta)) ** 2
        elif self.loss_type == "hinge":
            losses = (1 - self.beta * margin).relu()
        elif self.loss_type == "robust":  # Chowdhury et al. 2024, arXiv:2403.00409: unbiased if `noise` of the pairs are swapped
            losses = ((1 - noise) * right - noise * wrong) / (1 - 2 * noise)
        else:  # Rafailov et al. 2023, eq. 7; with noise: conservative DPO, Mitchell 2023
            losses = (1 - noise) * right + noise * wrong
        return losses, shown
