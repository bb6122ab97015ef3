"""The loss of `clm`: documents as blocks of tokens, each token predicted from those before it. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftp import UserError
from ftp.data import cache_key, control_text
from ftp.data.control_text import TextTokenizer
from ftp.losses import TokenRow, blocks, is_asked, row_limit, tokens
from ftp.types import Batch, Loss, LossOut, Metric, Model, Prediction, Row, Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftp_clm import Clm

VERSION = 1
"""Raised when `encode` changes, so that no older encoded rows are taken."""
ACCURACY = "mean_token_accuracy"


def make(options: Clm, run: Run, model: Model) -> NextToken:
    """Cross entropy of every token but the first of a document. `UserError` for a network that it does not fit."""
    tokens.refuse_encoder_decoder(model, "clm")
    if options.model_config is not None and hasattr(model.net, "peft_config"):
        raise UserError("clm: a network from scratch has no trained weights that adapters could leave as they are",
                        "leave the adapter out of --plugins, or --clm.model_config")
    limit = row_limit(run, model)
    most = blocks.size(options.block_size, limit, "clm")
    tokenize = control_text.of_run(run, model.tokenizer)
    key = cache_key(model.tokenizer, "clm", VERSION, most, options.cross_documents, tokenize.key)
    return NextToken(options, model, tokenize, limit, most, key=key)


@dataclass(frozen=True)
class NextToken(Loss[TokenRow]):
    """The loss of `make`. `limit`: tokens that the model takes; `block_size`: tokens of a row at most."""

    options: Clm
    model: Model
    tokenize: TextTokenizer
    limit: int
    block_size: int
    key: str
    name: str = "cross entropy of the next token"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: {ACCURACY: tokens.SHARE_OF_TOKENS})

    def encode(self, rows: Sequence[Row]) -> Iterator[TokenRow]:
        if self.options.cross_documents:
            return self._joined(rows)
        return blocks.together(self._pieces(rows), self.block_size)

    def encode_to_score(self, rows: Sequence[Row]) -> Iterator[TokenRow]:
        return self._joined(rows) if self.options.cross_documents else blocks.alone(self._pieces(rows))

    def _joined(self, rows: Sequence[Row]) -> Iterator[TokenRow]:
        return blocks.joined(documents(self.tokenize, rows, *around(self.model.tokenizer)), self.block_size)

    def _pieces(self, rows: Sequence[Row]) -> Iterator[blocks.Numbered]:
        """Documents in pieces that fit; each goes on from the last token of the one before, to predict its first."""
        for row, document in documents(self.tokenize, rows, *around(self.model.tokenizer)):
            for piece in blocks.pieces(document, self.block_size, overlap=1):
                yield row, piece

    def ask(self, rows: Sequence[Row]) -> Iterator[TokenRow]:
        """Texts to continue."""
        before, _ = around(self.model.tokenizer)
        for row_index, row in enumerate(rows):
            ids = [*before, *self.tokenize(row["text"], add_special_tokens=False)["input_ids"]]
            if not 0 < len(ids) < self.limit:
                raise UserError(f"{row['text'][:60]!r}: {len(ids)} tokens, and the model takes 1 to {self.limit - 1}",
                                "give some text, and leave room for more")
            yield {"row": row_index, "input_ids": ids, "spans": []}

    def collate(self, rows: Sequence[TokenRow]) -> Batch:
        asked = [row["input_ids"] for row in rows] if is_asked(rows) else []
        return tokens.collate(self.model, rows, asked=asked)

    def compute(self, batch: Batch) -> LossOut:
        return tokens.compute(self.model, batch, accuracy=ACCURACY)

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        if out is not None:  # held-out text is scored, not continued
            return [Prediction(None)] * batch.rows
        tokenizer = self.model.tokenizer
        stop = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
        texts = tokens.generate(self.model, batch.inputs["asked"], stop=stop, limit=self.limit,
                                max_new_tokens=self.options.max_new_tokens)
        return [Prediction(tokenizer.decode(ids, skip_special_tokens=True)) for ids in texts]


def around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """What a document stands between: one BOS, where the tokenizer knows one, and one EOS."""
    before, after = blocks.ends(tokenizer)
    if not before and tokenizer.bos_token_id is not None:
        before = [tokenizer.bos_token_id]
    if tokenizer.eos_token_id is not None and after[-1:] != [tokenizer.eos_token_id]:
        after = [*after, tokenizer.eos_token_id]
    return before, after


def documents(
    tokenize: TextTokenizer, rows: Iterable[Row], before: list[int], after: list[int]
) -> Iterable[tuple[int, dict[str, list[int]]]]:
    """Each text as token ids between BOS and EOS, with its number; empty ones are left out."""
    texts = {row_index: row["text"] for row_index, row in enumerate(rows) if row["text"].strip()}
    if not texts:
        return
    encoded = tokenize(list(texts.values()), add_special_tokens=False, return_attention_mask=False, truncation=False,
                       verbose=False)
    for row_index, ids in zip(texts, encoded["input_ids"], strict=True):
        if len(before) + len(ids) + len(after) > 1:  # the first token is not predicted
            yield row_index, {"input_ids": [*before, *ids, *after]}
