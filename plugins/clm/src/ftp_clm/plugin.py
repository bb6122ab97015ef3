"""The plugin `clm`: plain text, each token predicted from those before it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from ftp import UserError, hookimpl, option, plugin
from ftp.types import Batch, Data, Loss, LossOut, Model, Prediction, Predictions, Row, Run, Score

VERSION = 1
"""Raised when `encode` changes, so that no older encoded rows are taken."""


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
        from ftp.data import control_text
        from ftp.data.encode import cache_key
        from ftp.losses import blocks as text
        from ftp.losses import tokens
        from ftp.losses.common import row_limit

        tokens.refuse_encoder_decoder(model, "clm")
        if self.model_config is not None and hasattr(model.net, "peft_config"):
            raise UserError("clm: a network from scratch has no trained weights that adapters could leave as they are",
                            "leave the adapter out of --plugins, or --clm.model_config")
        limit = row_limit(run, model)
        most = text.size(self.block_size, limit, "clm")
        before, after = around(model.tokenizer)
        tokenize = control_text.of_run(run, model.tokenizer)

        def encode(rows: Iterable[Row], split: str) -> Iterable[dict[str, Any]]:
            if split == "predict":
                return _prompts(tokenize, rows, before, limit)
            found = documents(tokenize, rows, before, after)
            if self.cross_documents:
                return text.joined(found, most)
            parts = ((row, part) for row, one in found for part in text.pieces(one, most, overlap=1))
            return text.together(parts, most) if split == "train" else text.alone(parts)

        def collate(rows: Sequence[Row]) -> Batch:
            return tokens.collate(model, rows, asked=[row["input_ids"] for row in rows if row.get("asked")])

        def compute(batch: Batch) -> LossOut:
            return tokens.compute(model, batch, accuracy="mean_token_accuracy")

        def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
            if out is not None:  # held-out text is scored, not continued
                return [Prediction(None)] * batch.rows
            stop = [] if model.tokenizer.eos_token_id is None else [int(model.tokenizer.eos_token_id)]
            made = tokens.generate(model, batch.inputs["asked"], stop=stop, max_new_tokens=self.max_new_tokens, limit=limit)
            return [Prediction(model.tokenizer.decode(ids, skip_special_tokens=True)) for ids in made]

        key = cache_key(model.tokenizer, "clm", VERSION, most, self.cross_documents, tokenize.key)
        return Loss(encode, collate, compute, answer, key=key,
                    metrics={"mean_token_accuracy": tokens.SHARE_OF_TOKENS}, name="cross entropy of the next token")

    @hookimpl
    def evaluate(self, run: Run, predictions: Mapping[str, Predictions], model: Model) -> list[Score]:
        """Perplexity, exp of the mean loss of a token; and bits per byte of text, which tokenizers do not change."""
        scores = []
        for split, one in predictions.items():
            scores.append(Score("perplexity", math.exp(min(one.loss, 700.0)), "min", split))
            if not self.cross_documents and (rate := self._rate(run, one, model)):
                scores.append(Score("bits_per_byte", one.loss / math.log(2) * rate, "min", split))
        return scores

    def _rate(self, run: Run, one: Predictions, model: Model) -> float:
        """Predicted tokens for each byte of text in the rows of a split, counted once a run."""
        from ftp.data import control_text

        key = (one.split, id(one.rows), len(one.rows))
        if key not in self._rates:
            found = documents(control_text.of_run(run, model.tokenizer), one.rows, *around(model.tokenizer))
            terms = sum(len(document["input_ids"]) - 1 for _, document in found)
            self._rates[key] = terms / max(1, sum(len(text.encode()) for text in one.rows["text"][:] if text.strip()))
        return self._rates[key]


def around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What a document stands between: one BOS, where the tokenizer knows one, and one EOS."""
    from ftp.losses.blocks import ends

    before, after = ends(tokenizer)
    if not before and tokenizer.bos_token_id is not None:
        before = [tokenizer.bos_token_id]
    if tokenizer.eos_token_id is not None and after[-1:] != [tokenizer.eos_token_id]:
        after = [*after, tokenizer.eos_token_id]
    return before, after


def documents(
    tokenize: Any, rows: Iterable[Row], before: list[int], after: list[int]
) -> Iterable[tuple[int, dict[str, list[int]]]]:
    """Each text as token ids between BOS and EOS, with its number; empty ones are left out."""
    given = [(number, row["text"]) for number, row in enumerate(rows) if row["text"].strip()]
    if not given:
        return
    found = tokenize([text for _, text in given], add_special_tokens=False, return_attention_mask=False, truncation=False,
                     verbose=False)
    for (number, _), ids in zip(given, found["input_ids"], strict=True):
        if len(before) + len(ids) + len(after) > 1:
            yield number, {"input_ids": [*before, *ids, *after]}


def _prompts(tokenize: Any, rows: Iterable[Row], before: list[int], limit: int) -> Iterable[dict[str, Any]]:
    """Texts to continue."""
    for number, row in enumerate(rows):
        ids = [*before, *tokenize(row["text"], add_special_tokens=False)["input_ids"]]
        if not 0 < len(ids) < limit:
            raise UserError(f"{row['text'][:60]!r}: {len(ids)} tokens, and the model takes 1 to {limit - 1}",
                            "give some text, and leave room for more")
        yield {"row": number, "input_ids": ids, "spans": [], "asked": True}
