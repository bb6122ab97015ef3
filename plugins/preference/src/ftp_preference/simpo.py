"""The plugin `simpo`: prefer the chosen answer by a margin, by the mean log probability of its tokens; no reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import Candidate, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, StartedRun

if TYPE_CHECKING:
    from torch import Tensor

    from ftp.losses.preference_pairs import Logps


@plugin(wants=("preference",), head="tokens", suggests={"learning_rate": 1e-6, "epochs": 1.0}, candidates=[Candidate()])
class Simpo:
    """Prefer chosen to rejected answers by a margin, without a reference (SimPO, Meng et al. 2024, arXiv:2405.14734)."""

    beta: float = option(2.0, "scale of the reward", low=1e-6)
    simpo_gamma: float = option(1.0, "margin that the reward of the chosen answer is to have (gamma in the paper)", low=0)
    label_smoothing: float = option(0.0, "share of preferences taken to be the wrong way round", low=0, high=0.499)
    disable_dropout: bool = option(True, "train without the checkpoint's dropout, which would blur the comparison")
    chat_template: Path | None = option(None, "file with a chat template in place of the tokenizer's own")
    eos_token: str | None = option(None, "token of the vocabulary that ends answers, where the tokenizer has no EOS")
    max_new_tokens: int = option(256, "tokens at most in an answer of `ftp predict`", low=1)

    @hookimpl
    def make_loss(self, run: StartedRun, data: Data, model: Model) -> Loss:
        """Encode both answers of each row, and compare the mean log probabilities of their tokens."""
        from ftp.losses import preference_pairs

        return preference_pairs.make(
            run, data, model, self.formula, who="simpo", reference=False,
            disable_dropout=self.disable_dropout, chat_template=self.chat_template,
            eos_token=self.eos_token, max_new_tokens=self.max_new_tokens)

    def formula(self, logps: Logps) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Meng et al. 2024, eq. 6; with label smoothing as in TRL's CPO."""
        from torch.nn.functional import logsigmoid

        from ftp.losses.preference_pairs import rewards

        chosen, rejected = self.beta * logps.chosen / logps.chosen_length, self.beta * logps.rejected / logps.rejected_length
        margin = chosen - rejected - self.simpo_gamma
        losses = -(1 - self.label_smoothing) * logsigmoid(margin) - self.label_smoothing * logsigmoid(-margin)
        return losses, rewards(chosen, rejected)
