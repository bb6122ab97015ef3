"""The plugin `mlm`: plain text, some tokens hidden and guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Predictions, Run, Score


@plugin(wants=("text",), head="mask", builds_with=("model_config",))
class Mlm:
    """Train on plain text: guess hidden tokens from both sides (Devlin et al. 2019, section 3.1)."""

    mlm_probability: float = option(0.15, "share of tokens that are guessed", low=0.001, high=0.99)
    mask_replace_prob: float = option(0.8, "share of those that are replaced by the mask token", low=0, high=1)
    random_replace_prob: float = option(0.1, "share of those that are replaced by a random token; the rest stays", low=0, high=1)
    whole_word: bool = option(False, "hide all tokens of a word, or none")
    block_size: int | None = option(None, "tokens a block at most; default: what the model takes, 1024 at most", low=8)
    cross_documents: bool = option(False, "let blocks run over the ends of documents, as Transformers' run_mlm does; else "
                                          "no document sees another")
    model_config: str | None = option(None, "train from scratch: a Transformers configuration (file, folder, or JSON text) "
                                            "with fresh weights", path=True)
    tokenizer: str | None = option(None, "tokenizer of a network from scratch (folder or hub id); default: trained on the "
                                         "training rows", path=True)
    vocab_size: int = option(8192, "tokens of a tokenizer that is trained", low=261, high=1_000_000)

    @hookimpl
    def build_model(self, run: Run, data: Data) -> Model | None:
        """A network from scratch where `model_config` asks for one; else core loads a checkpoint."""
        if self.model_config is None:
            if self.tokenizer is not None:
                raise UserError("--mlm.tokenizer: a checkpoint brings its own", "it goes with --mlm.model_config")
            if self.vocab_size != type(self).vocab_size:
                raise UserError(f"--mlm.vocab_size {self.vocab_size}: a checkpoint brings its own tokenizer",
                                "it goes with --mlm.model_config")
            return None
        from ftp.model import scratch

        return scratch.build(run, data, who="mlm", config=self.model_config, tokenizer=self.tokenizer,
                             vocab_size=self.vocab_size)

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        """Cross entropy of the hidden tokens."""
        from ftp_mlm import loss

        return loss.make(self, run, model)

    @hookimpl
    def evaluate(self, predictions: Mapping[str, Predictions]) -> list[Score]:
        """exp of the mean loss of a hidden token; the same tokens are hidden at each evaluation of each model."""
        scores = []
        for split, scored in predictions.items():
            perplexity = math.exp(min(scored.loss, 700.0))  # above, exp overflows
            scores.append(Score("masked_perplexity", perplexity, "min", split))
        return scores
