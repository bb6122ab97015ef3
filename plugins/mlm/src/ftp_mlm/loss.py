"""The loss of `mlm`: blocks of tokens, some of them hidden and guessed. Heavy: imports torch."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from ftp import UserError
from ftp.data import cache_key, control_text
from ftp.data.control_text import TextTokenizer
from ftp.losses import TokenRow, blocks, is_asked, row_limit, tokens
from ftp.net import heads, layout
from ftp.types import Batch, Loss, LossOut, Metric, Model, Prediction, Row, Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ftp_mlm import Mlm

VERSION = 1
"""Raised when `encode` changes, so that no older encoded rows are taken."""
ACCURACY = "masked_accuracy"


class MaskRow(TokenRow, total=False):
    """A block of text. `words`: with whole words, the number of the word of each token."""

    words: list[int]


def make(options: Mlm, run: Run, model: Model) -> HiddenTokens:
    """Cross entropy of the hidden tokens. `UserError` for a model or options that do not go together."""
    refuse(options, model)
    tokenizer = model.tokenizer
    tokenize = control_text.of_run(run, tokenizer)
    # in a text that is asked the mask is meant: it stands where a word is missing
    asking = control_text.of_run(run, tokenizer, allowed=(str(tokenizer.mask_token),))
    limit = row_limit(run, model)
    most = blocks.size(options.block_size, limit, "mlm")
    key = cache_key(tokenizer, "mlm", VERSION, most, options.cross_documents, options.whole_word, tokenize.key)
    return HiddenTokens(options, model, tokenize, asking, Masks(options, model, run.settings.seed), limit, most, key=key)


@dataclass(frozen=True)
class HiddenTokens(Loss[MaskRow]):
    """The loss of `make`. `limit`: tokens that the model takes; `block_size`: tokens of a row at most; `asking`: how texts
    with blanks to fill in become tokens."""

    options: Mlm
    model: Model
    tokenize: TextTokenizer
    asking: TextTokenizer
    masks: Masks
    limit: int
    block_size: int
    key: str
    name: str = "cross entropy of hidden tokens"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: {ACCURACY: tokens.SHARE_OF_TOKENS})

    def encode(self, rows: Sequence[Row]) -> Iterable[MaskRow]:
        if self.options.cross_documents:
            return self._joined(rows)
        return blocks.together(self._pieces(rows), self.block_size)  # type: ignore[return-value]

    def encode_to_score(self, rows: Sequence[Row]) -> Iterable[MaskRow]:
        if self.options.cross_documents:
            return self._joined(rows)
        return blocks.alone(self._pieces(rows))  # type: ignore[return-value]

    def _documents(self, rows: Sequence[Row]) -> Iterable[blocks.Numbered]:
        return documents(self.model.tokenizer, self.tokenize, rows, self.options.whole_word)

    def _joined(self, rows: Sequence[Row]) -> Iterable[MaskRow]:
        before, after = blocks.ends(self.model.tokenizer)
        whole = ((row, blocks.wrapped(document, before, after)) for row, document in self._documents(rows))
        return blocks.joined(whole, self.block_size)  # type: ignore[return-value]

    def _pieces(self, rows: Sequence[Row]) -> Iterator[blocks.Numbered]:
        """Documents in pieces that fit, each between its own special tokens."""
        before, after = blocks.ends(self.model.tokenizer)
        inner = self.block_size - len(before) - len(after)
        for row, document in self._documents(rows):
            for piece in blocks.pieces(document, inner):
                yield row, blocks.wrapped(piece, before, after)

    def ask(self, rows: Sequence[Row]) -> Iterator[MaskRow]:
        """Texts with blanks to fill in."""
        tokenizer = self.model.tokenizer
        for number, row in enumerate(rows):
            ids = list(self.asking(row["text"])["input_ids"])
            if tokenizer.mask_token_id not in ids:
                raise UserError(f"{row['text'][:60]!r}: nothing to guess in it",
                                f"write {tokenizer.mask_token} where a word is missing")
            if len(ids) > self.limit:
                raise UserError(f"{row['text'][:60]!r}: {len(ids)} tokens, and the model takes {self.limit}", "shorten it")
            yield {"row": number, "input_ids": ids}

    def collate(self, rows: Sequence[MaskRow]) -> Batch:
        if not is_asked(rows):
            ids, labels = self.masks.hide(rows, fixed=not self.model.net.training)
            return tokens.lay(self.model, rows, ids, labels, shift=False)
        mask = self.model.tokenizer.mask_token_id
        ids = [list(row["input_ids"]) for row in rows]
        labels = []  # the masks are guessed
        for row_ids in ids:
            labels.append([token if token == mask else layout.IGNORED for token in row_ids])
        return tokens.lay(self.model, rows, ids, labels, shift=False, asked=ids)

    def compute(self, batch: Batch) -> LossOut:
        return tokens.compute(self.model, batch, accuracy=ACCURACY)

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        if out is not None:  # held-out text is scored, not filled in
            return [Prediction(None)] * batch.rows
        tokenizer = self.model.tokenizer
        guessed = iter(heads.logits_at(self.model.net, batch.inputs, batch.inputs["where"]).argmax(-1).tolist())
        predictions = []
        for ids in batch.inputs["asked"]:
            filled = [next(guessed) if token == tokenizer.mask_token_id else token for token in ids]
            predictions.append(Prediction(tokenizer.decode(filled, skip_special_tokens=True)))
        return predictions


def refuse(options: Mlm, model: Model) -> None:
    """Raise `UserError` with everything in which model and options do not go together."""
    tokenizer = model.tokenizer
    problems = []
    if tokenizer.mask_token_id is None:
        problems.append("the tokenizer has no mask token: mlm trains encoders, as BERT and RoBERTa are")
    if options.whole_word and not tokenizer.is_fast:
        problems.append("--mlm.whole_word: the tokenizer does not tell words (it is not a fast one)")
    if options.mask_replace_prob + options.random_replace_prob > 1:
        problems.append(f"--mlm.mask_replace_prob {options.mask_replace_prob} and --mlm.random_replace_prob "
                        f"{options.random_replace_prob}: together more than 1")
    if options.model_config is not None and hasattr(model.net, "peft_config"):
        problems.append("mlm: a network from scratch has no trained weights that adapters could leave as they are")
    if problems:
        raise UserError("\n".join(problems))


class Masks:
    """Draws which tokens are hidden: anew at each step in training, always the same for a row in evaluation."""

    def __init__(self, options: Mlm, model: Model, seed: int) -> None:
        tokenizer = model.tokenizer
        # some tables have rows that are no token's, some tokenizers numbers that are in no table
        size = min(model.net.get_input_embeddings().weight.shape[0], max(tokenizer.get_vocab().values()) + 1)
        self.options = options
        self.seed = seed
        self.mask_id = int(tokenizer.mask_token_id)
        self.special = torch.zeros(max(size, max(tokenizer.all_special_ids) + 1), dtype=torch.bool)
        self.special[list(tokenizer.all_special_ids)] = True
        words = ~self.special
        words[size:] = False
        self.words = words.nonzero()[:, 0]

    def hide(self, rows: Sequence[MaskRow], *, fixed: bool) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids of the rows with some hidden, and labels: the hidden ids, -100 elsewhere.

        What is hidden in a row depends on its own tokens and a number alone: in training its `draw`, which is of the run's seed
        and the step, so neither micro-batches nor processes change it; with `fixed` the run's seed. Rows without a `draw` take
        torch's global generator. Every row has a hidden token, or it would teach nothing.
        """
        ids_of_rows: list[list[int]] = []
        labels_of_rows: list[list[int]] = []
        for row in rows:
            generator = None
            number = self.seed if fixed else row.get("draw")
            if number is not None:
                content = torch.tensor(row["input_ids"], dtype=torch.int32).numpy().tobytes()
                generator = torch.Generator().manual_seed(zlib.crc32(content, number))
            ids, labels = self._hide(row, generator)
            ids_of_rows.append(ids)
            labels_of_rows.append(labels)
        return ids_of_rows, labels_of_rows

    def _hide(self, row: MaskRow, generator: torch.Generator | None) -> tuple[list[int], list[int]]:
        ids = torch.tensor(row["input_ids"])
        free = ~self.special[ids]
        if self.options.whole_word:
            names, words = torch.tensor(row["words"]).unique(return_inverse=True)
            draw = torch.rand(len(names), generator=generator)[words]
        else:
            draw = torch.rand(len(ids), generator=generator)
        draw[~free] = 2.0  # above any share: special tokens are never hidden
        hidden = draw < self.options.mlm_probability
        if not hidden.any():
            # every row teaches something
            hidden = draw == draw.min()
        labels = torch.where(hidden, ids, -100)
        how = torch.rand(len(ids), generator=generator)
        other = self.words[torch.randint(len(self.words), (len(ids),), generator=generator)]
        masked = hidden & (how < self.options.mask_replace_prob)
        swapped = hidden & ~masked & (how < self.options.mask_replace_prob + self.options.random_replace_prob)
        ids = torch.where(masked, self.mask_id, torch.where(swapped, other, ids))
        return ids.tolist(), labels.tolist()


def documents(
    tokenizer: PreTrainedTokenizerBase, tokenize: TextTokenizer, rows: Iterable[Row], whole_word: bool
) -> Iterable[tuple[int, dict[str, list[int]]]]:
    """Each text as token ids (and numbers of their words) with its number; those without a token to hide are left out."""
    texts = {row_index: row["text"] for row_index, row in enumerate(rows) if row["text"].strip()}
    if not texts:
        return
    encoded = tokenize(list(texts.values()), add_special_tokens=False, return_attention_mask=False, truncation=False,
                       verbose=False)
    special = set(tokenizer.all_special_ids)
    next_word = 0
    for text_index, row_index in enumerate(texts):
        document = {"input_ids": encoded["input_ids"][text_index]}
        if special.issuperset(document["input_ids"]):
            continue
        if whole_word:  # numbers go on from text to text, so that no two words of a block have the same
            words = [-1 if word is None else next_word + word for word in encoded.word_ids(text_index)]
            next_word = max(next_word, *words) + 1
            document["words"] = words
        yield row_index, document
