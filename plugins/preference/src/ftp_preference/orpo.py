"""The plugin `orpo`: learn the chosen answer, and hold it more likely than the rejected one; no reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftp import Candidate, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, StartedRun

if TYPE_CHECKING:
    from torch import Tensor

    from ftp.losses.preference_pairs import Logps


@plugin(wants=("preference",), head="tokens", suggests={"learning_rate": 8e-6, "epochs": 1.0}, candidates=[Candidate()])
class Orpo:
    """Learn chosen answers while the odds of rejected ones fall; no reference (ORPO, Hong et al. 2024, arXiv:2403.07691)."""

    beta: float = option(0.1, "weight of the odds ratio (lambda in the paper)", low=0)
    disable_dropout: bool = option(True, "train without the checkpoint's dropout, which would blur the comparison")
    chat_template: Path | None = option(None, "file with a chat template in place of the tokenizer's own")
    eos_token: str | None = option(None, "token of the vocabulary that ends answers, where the tokenizer has no EOS")
    max_new_tokens: int = option(256, "tokens at most in an answer of `ftp predict`", low=1)

    @hookimpl
    def make_loss(self, run: StartedRun, data: Data, model: Model) -> Loss:
        """Encode both answers of each row, and compare their odds."""
        from ftp.losses import preference_pairs

        return preference_pairs.make(
            run, data, model, self.formula, who="orpo", reference=False,
            disable_dropout=self.disable_dropout, chat_template=self.chat_template,
            eos_token=self.eos_token, max_new_tokens=self.max_new_tokens)

    def formula(self, logps: Logps) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Hong et al. 2024, eq. 6: the mean loss of the chosen answer's tokens, less beta times the log sigmoid of the log
        odds ratio (eq. 7), where the probability of an answer is its tokens' geometric mean."""
        from torch.nn.functional import logsigmoid

        from ftp.losses.preference_pairs import rewards

        chosen, rejected = logps.chosen / logps.chosen_length, logps.rejected / logps.rejected_length
        ratio = chosen - rejected - (_log1mexp(chosen) - _log1mexp(rejected))
        shown = {**rewards(self.beta * chosen, self.beta * rejected), "log_odds_ratio": ratio, "nll": -chosen}
        return -chosen - self.beta * logsigmoid(ratio), shown


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x < 0, exact at both ends (Maechler 2012). An answer of probability 1 counts as one just below."""
    import torch

    x = x.clamp(max=-torch.finfo(x.dtype).tiny)
    near = x > -0.6931471805599453
    return torch.where(near, (-x.where(near, -x.new_ones(())).expm1()).log(), (-x.where(~near, -x.new_ones(())).exp()).log1p())
