"""The plugin `reward`: a network that gives the better of two answers the higher score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ftp import hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Run

if TYPE_CHECKING:
    from torch import Tensor


@plugin(wants=("preference",), head="score", suggests={"learning_rate": 2e-5, "epochs": 1.0})
class Reward:
    """Train a score that is higher for the better of two answers (Bradley and Terry 1952; Ouyang et al. 2022, eq. 1)."""

    margin_column: str | None = option(None, "column that says by how much an answer is better (Touvron et al. 2023, eq. 2); "
                                       "default: margin, where the rows have one")
    center_rewards_coefficient: float = option(0.0, "weight that holds the sum of both scores near zero, such as 0.01 "
                                               "(Eisenstein et al. 2023)", low=0)
    chat_template: Path | None = option(None, "file with a chat template in place of the tokenizer's own")
    eos_token: str | None = option(None, "token of the vocabulary that ends answers, where the tokenizer has no EOS")

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        """Score both answers of each row with the same network, and compare."""
        from ftp_reward import loss

        return loss.make(self, run, data, model)

    def formula(self, chosen: Tensor, rejected: Tensor, margin: Tensor) -> Tensor:
        """[pairs] minus the log probability, by Bradley and Terry, that chosen beats rejected by the margin; and what holds
        both scores near zero."""
        from torch.nn.functional import logsigmoid

        return -logsigmoid(chosen - rejected - margin) + self.center_rewards_coefficient * (chosen + rejected) ** 2
