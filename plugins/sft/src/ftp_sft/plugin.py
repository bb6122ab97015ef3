"""The plugin `sft`: conversations, with the loss on what the assistant says."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ftp import hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Run


@plugin(wants=("conversation",), head="tokens", suggests={"learning_rate": 2e-5, "batch_size": 16})
class Sft:
    """Fine-tune on conversations: learn what the assistant says, and when it stops (Ouyang et al. 2022, section 3.5).

    Decoders read a conversation as one text. Of an encoder-decoder (T5, BART) each turn of the assistant is written by the
    decoder, given everything before it in the encoder; prompt and answer may have `--max-length` tokens each.
    """

    train_on: Literal["answers", "last", "all"] = option(
        "answers", "tokens that are learnt: of every turn of the assistant, of its last one, or all of them")
    unfit: Literal["error", "drop"] = option(
        "error", "rows without an answer to learn: error names them; drop leaves them out and says how many")
    chat_template: Path | None = option(None, "file with a Jinja chat template to use and save instead of the tokenizer's")
    eos_token: str | None = option(None, "token of the vocabulary that ends an answer, for a tokenizer without an EOS")
    generate: int = option(0, "held-out rows of each split, the first ones, that are answered by generation at each "
                              "evaluation (slow); other rows get no answer", low=0)
    max_new_tokens: int = option(256, "tokens at most in an answer that is generated", low=1)

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        """Cross entropy of the assistant's tokens."""
        from ftp_sft import loss

        return loss.make(self, run, data, model)
