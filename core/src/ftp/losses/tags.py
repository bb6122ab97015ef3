"""Tags of words: cross entropy of the tag of each word, read at its first sub-token, one term a word.

A row longer than the model takes is read in windows that overlap. Each word is learnt and answered in one of them alone,
the one in which it has the most context, so no word is lost and none counts twice. Heavy: imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import torch
from torch.nn.functional import cross_entropy

from ftp.data import control_text
from ftp.data.control_text import TextTokenizer
from ftp.data.encode import cache_key
from ftp.errors import UserError
from ftp.losses.common import Frame, frame, is_asked, lay, refuse_slow, row_limit
from ftp.net import heads
from ftp.net.logits import WholeLogits
from ftp.types import Batch, Data, EncodedRow, Loss, LossOut, Model, Prediction, Row, Run

VERSION = 2
NO_TOKEN = -1
"""Stands in `first_tokens` for a word of which the tokenizer makes nothing."""


class TagRow(EncodedRow, total=False):
    """A sentence or a window of one. `first_tokens`: of each of its words the first token, or `NO_TOKEN`; `tags`: of each of
    them its tag."""

    first_tokens: list[int]
    tags: list[int]


def make(run: Run, data: Data, model: Model) -> Tags:
    """Cross entropy of the tag of each word.

    A sentence reaches the tokenizer as its tokens joined by blanks, which is how plain text reads. The answer to a row is
    the name of each word's tag, as many as it has tokens. A word of which the tokenizer makes nothing (white space,
    control characters) is not trained, and is answered with the tag that stands for none ("O").
    UserError: tokens and tags of unequal length, tokens that are not text.
    """
    refuse_slow(model, "tags")
    tokenize = control_text.of_run(run, model.tokenizer)
    limit = row_limit(run, model)
    return Tags(model, data.labels, tokenize, limit, key=cache_key(model.tokenizer, "tags", VERSION, limit, tokenize.key))


@dataclass(frozen=True)
class Tags(Loss[TagRow]):
    """The loss of `make`. `limit`: tokens of a row at most."""

    model: Model
    labels: tuple[str, ...]
    tokenize: TextTokenizer
    limit: int
    key: str
    name: str = "cross entropy of words"

    def encode(self, rows: Sequence[Row]) -> Iterator[TagRow]:
        for window in self.encode_to_score(rows):
            if any(token != NO_TOKEN for token in window["first_tokens"]):  # else there is nothing to learn
                yield window

    def encode_to_score(self, rows: Sequence[Row]) -> Iterator[TagRow]:
        for row in rows:
            _check(row)
        texts = [" ".join(row["tokens"]) for row in rows]
        whole = self.tokenize(texts, return_offsets_mapping=True, return_attention_mask=False, truncation=False, verbose=False)
        names = [name for name in ("input_ids", "token_type_ids") if name in whole]
        for row_index, row in enumerate(rows):
            columns = {name: whole[name][row_index] for name in names}
            text = frame(whole.sequence_ids(row_index), 0)
            parts = text.windows(self.limit)
            if not parts:
                raise UserError(f"{self.limit} tokens a row leave no room for words", "raise --max-length")
            firsts = first_tokens(row["tokens"], whole["offset_mapping"][row_index][text.first : text.last])
            for part, words in zip(parts, owned(parts, firsts), strict=True):
                if not words and len(parts) > 1:
                    continue  # the inside of one very long word
                window = self._window(columns, text, part)
                window["row"] = row_index
                window["first_tokens"] = [_in_window(firsts[word], part, text.first) for word in words]
                if row.get("tags") is not None:
                    window["tags"] = [int(row["tags"][word]) for word in words]
                yield window

    def _window(self, columns: Mapping[str, list[int]], text: Frame, part: tuple[int, int]) -> TagRow:
        """The tokens of a window, which holds a part of the text."""
        window = TagRow(cut=0)
        for name, column in columns.items():
            # a network reads one token at least
            window[name] = text.window(column, part) or [0]  # type: ignore[literal-required]
        if not text.window(columns["input_ids"], part):
            window["input_ids"] = [self.model.tokenizer.pad_token_id or 0]
        return window

    def ask(self, rows: Sequence[Row]) -> Iterator[TagRow]:
        return self.encode_to_score(rows)

    def collate(self, rows: Sequence[TagRow]) -> Batch:
        inputs = lay(self.model, rows)
        terms: list[tuple[int, int, int]] = []
        has_tags = not is_asked(rows)
        row_start = 0  # slot of the row's first token: the logits of all rows lie end to end
        for row_index, row in enumerate(rows):
            for word, token in enumerate(row["first_tokens"]):
                if token == NO_TOKEN:
                    continue
                target = row["tags"][word] if has_tags else 0
                terms.append((row_start + token, row_index, target))
            row_start += len(row["input_ids"])
        columns = torch.tensor(terms, dtype=torch.long, device=inputs["input_ids"].device).view(-1, 3)
        inputs["where"], inputs["of"], inputs["target"] = columns.unbind(1)
        inputs["first_tokens"] = [list(row["first_tokens"]) for row in rows]
        return Batch(inputs, count=len(terms), rows=len(rows), tokens=row_start)

    def logits_of(self, batch: Batch) -> torch.Tensor:
        """[words, tags] the logits at the first token of each word."""
        return heads.token_logits(self.model.net, batch.inputs)[0][batch.inputs["where"]].float()

    def targets_of(self, batch: Batch) -> torch.Tensor:
        """[words] the number of the tag of each."""
        targets: torch.Tensor = batch.inputs["target"]
        return targets

    def compute(self, batch: Batch) -> LossOut:
        logits = self.logits_of(batch)
        of = batch.inputs["of"]
        losses = cross_entropy(logits, batch.inputs["target"], reduction="none")
        counts = torch.zeros(batch.rows, device=of.device).index_add_(0, of, torch.ones_like(losses))
        by_row = torch.zeros_like(counts).index_add_(0, of, losses.detach())
        return LossOut(losses.sum(), row_losses=by_row, row_counts=counts, outputs=logits.detach(),
                       logits=WholeLogits(logits), targets=batch.inputs["target"])

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        logits = None if out is None else out.outputs
        if logits is None:  # nobody asked for the loss, or the batch has no word
            logits = self.logits_of(batch)
        no_tag = "O" if "O" in self.labels else self.labels[0]
        best = iter(logits.argmax(-1).tolist())  # one a word that has a token
        predictions = []
        for first_tokens in batch.inputs["first_tokens"]:
            tags = [no_tag if token == NO_TOKEN else self.labels[next(best)] for token in first_tokens]
            predictions.append(Prediction(tags))
        return predictions

    def merge(self, predictions: Sequence[Prediction], encoded: Sequence[TagRow]) -> Prediction:
        """The windows of a sentence as one answer: each has the words of its own, in order."""
        return Prediction(list(chain.from_iterable(window.answer for window in predictions)))


def _in_window(token: int | None, part: tuple[int, int], frame_size: int) -> int:
    """The place in a window of a token of the text; `NO_TOKEN` for a word that has none.

    Args:
        part: the stretch of the text that the window holds.
        frame_size: tokens of the window before its text.
    """
    return NO_TOKEN if token is None else frame_size + token - part[0]


def first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """The first token of each word, in the text of all words joined by blanks; None for a word without any.
    `offsets`: the characters of each token."""
    firsts: list[int | None] = []
    token = 0
    begin = 0  # the word's first character
    for word in words:
        end = begin + len(word)
        while token < len(offsets) and offsets[token][1] <= begin:
            token += 1
        inside = token
        while inside < len(offsets) and offsets[inside][0] == offsets[inside][1]:  # stands for no character
            inside += 1
        has_token = inside < len(offsets) and offsets[inside][0] < end
        firsts.append(inside if has_token else None)
        begin = end + 1  # behind the blank
    return firsts


def owned(parts: Sequence[tuple[int, int]], firsts: Sequence[int | None]) -> Iterator[list[int]]:
    """For each window the words that are scored in it: the overlap of two windows is shared in its middle."""
    middles = [(start + end) // 2 for (_, end), (start, _) in pairwise(parts)]
    tokens: list[int] = []
    latest = NO_TOKEN
    for first in firsts:
        # a word without tokens has that of the word before it
        if first is not None:
            latest = first
        tokens.append(latest)
    word = 0
    for end in [*middles, None]:  # the last window takes all that is left
        begin = word
        while word < len(tokens) and (end is None or tokens[word] < end):
            word += 1
        yield list(range(begin, word))


def _check(row: Row) -> None:
    """Raise `UserError` for a sentence that cannot be read. (Rows that are stored were counted when they were loaded.)"""
    tokens = row["tokens"]
    sentence = f"the sentence that begins {' '.join(map(str, tokens[:6]))!r}"
    if not all(isinstance(token, str) for token in tokens):
        raise UserError(f"{sentence} has tokens that are not text", "give words as text")
    if row.get("tags") is not None and len(row["tags"]) != len(tokens):
        raise UserError(f"{sentence} has {len(tokens)} tokens and {len(row['tags'])} tags", "give each token one tag")
