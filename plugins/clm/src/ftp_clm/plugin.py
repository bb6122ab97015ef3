"""The plugin `clm`: plain text, each token predicted from those before it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Data, Loss, Model, Predictions, Run, Score


@plugin(wants=("text",), head="tokens", suggests={"batch_size": 16}, builds_with=("model_config",))
class Clm:
    """Train on plain text: predict each next token (Radford et al. 2018, section 3.1)."""

    block_size: int | None = option(None, "tokens a block at most; default: what the model takes, 1024 at most", low=8)
    cross_documents: bool = option(False, "let blocks run over the ends of documents, as Transformers' run_clm does; else "
                                          "no document sees another")
    model_config: str | None = option(None, "train from scratch: a Transformers configuration (file, folder, or JSON text) "
                                            "with fresh weights", path=True)
    tokenizer: str | None = option(None, "tokenizer of a network from scratch (folder or hub id); default: trained on the "
                                         "training rows", path=True)
    vocab_size: int = option(8192, "tokens of a tokenizer that is trained", low=260, high=1_000_000)
    max_new_tokens: int = option(64, "tokens at most in a continuation that is generated (ftp predict)", low=1)
    _rates: dict[tuple[str, int, int], float] = field(default_factory=dict, init=False, repr=False)

    @hookimpl
    def build_model(self, run: Run, data: Data) -> Model | None:
        """A network from scratch where `model_config` asks for one; else core loads a checkpoint."""
        if self.model_config is None:
            if self.tokenizer is not None:
                raise UserError("--clm.tokenizer: a checkpoint brings its own", "it goes with --clm.model_config")
            if self.vocab_size != type(self).vocab_size:
                raise UserError(f"--clm.vocab_size {self.vocab_size}: a checkpoint brings its own tokenizer",
                                "it goes with --clm.model_config")
            return None
        from ftp.model import scratch

        return scratch.build(run, data, who="clm", config=self.model_config, tokenizer=self.tokenizer,
                             vocab_size=self.vocab_size)

    @hookimpl
    def make_loss(self, run: Run, data: Data, model: Model) -> Loss:
        """Cross entropy of every token but the first of a document."""
        from ftp_clm import loss

        return loss.make(self, run, model)

    @hookimpl
    def evaluate(self, run: Run, predictions: Mapping[str, Predictions], model: Model) -> list[Score]:
        """Perplexity, exp of the mean loss of a token; and bits per byte of text, which tokenizers do not change."""
        scores = []
        for split, scored in predictions.items():
            scores.append(Score("perplexity", math.exp(min(scored.loss, 700.0)), "min", split))  # above, exp overflows
            if self.cross_documents:
                continue
            tokens_per_byte = self._tokens_per_byte(run, scored, model)
            if tokens_per_byte:
                scores.append(Score("bits_per_byte", scored.loss / math.log(2) * tokens_per_byte, "min", split))
        return scores

    def _tokens_per_byte(self, run: Run, scored: Predictions, model: Model) -> float:
        """Predicted tokens for each byte of text in the rows of a split, counted once a run."""
        from ftp.data import control_text
        from ftp_clm.loss import around, documents

        # evaluations of one run score the same rows again and again
        key = (scored.split, id(scored.rows), len(scored.rows))
        if key not in self._rates:
            tokenize = control_text.of_run(run, model.tokenizer)
            encoded = documents(tokenize, scored.rows, *around(model.tokenizer))
            num_terms = sum(len(document["input_ids"]) - 1 for _, document in encoded)
            num_bytes = sum(len(text.encode()) for text in scored.rows["text"][:] if text.strip())
            self._rates[key] = num_terms / max(1, num_bytes)
        return self._rates[key]
