"""Tags of words: cross entropy of the tag of each word, read at its first sub-token, one term a word.

A row longer than the model takes is read in windows that overlap. Each word is learnt and answered in one of them alone,
the one in which it has the most context, so no word is lost and none counts twice. Heavy: imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ftp.data import control_text
from ftp.data.encode import cache_key
from ftp.errors import UserError
from ftp.losses.common import frame, lay, refuse_slow, row_limit
from ftp.net import heads
from ftp.types import Batch, Data, Loss, LossOut, Model, Prediction, Row, Run

VERSION = 1


def make(run: Run, data: Data, model: Model) -> Loss:
    """Cross entropy of the tag of each word.

    A sentence reaches the tokenizer as its tokens joined by blanks, which is how plain text reads. The answer to a row is
    the name of each word's tag, as many as it has tokens. A word of which the tokenizer makes nothing (white space,
    control characters) is not trained, and is answered with the tag that stands for none ("O").
    UserError: tokens and tags of unequal length, tokens that are not text.
    """
    refuse_slow(model, "tags")
    tokenizer, labels = model.tokenizer, data.labels
    tokenize = control_text.of_run(run, tokenizer)
    limit = row_limit(run, model)
    no_tag = "O" if "O" in labels else labels[0]

    def encode(rows: Iterable[Row], split: str) -> Iterable[dict[str, Any]]:
        rows = list(rows)
        for row in rows:
            _check(row, split)
        texts = [" ".join(row["tokens"]) for row in rows]
        whole = tokenize(texts, return_offsets_mapping=True, return_attention_mask=False, truncation=False, verbose=False)
        columns = [name for name in ("input_ids", "token_type_ids") if name in whole]
        for number, row in enumerate(rows):
            text = frame(whole.sequence_ids(number), 0)
            parts = text.windows(limit)
            if not parts:
                raise UserError(f"{limit} tokens a row leave no room for words", "raise --max-length")
            firsts = first_tokens(row["tokens"], whole["offset_mapping"][number][text.first : text.last])
            for part, words in zip(parts, owned(parts, firsts), strict=True):
                if (split == "train" and all(firsts[word] is None for word in words)) or (not words and len(parts) > 1):
                    continue  # nothing to learn, or the inside of one very long word
                one = {name: text.window(whole[name][number], part) for name in columns}
                if not one["input_ids"]:
                    one = {name: [tokenizer.pad_token_id or 0 if name == "input_ids" else 0] for name in columns}
                places = [firsts[word] for word in words]
                one["places"] = [-1 if place is None else text.first + place - part[0] for place in places]
                if row.get("tags") is not None:
                    one["tags"] = [int(row["tags"][word]) for word in words]
                yield {**one, "row": number, "cut": 0}

    def collate(rows: Sequence[Row]) -> Batch:
        inputs, lengths = lay(model, rows), [len(row["input_ids"]) for row in rows]
        terms = [(start + place, number, row["tags"][word] if "tags" in row else 0)
                 for number, (row, start) in enumerate(zip(rows, accumulate(lengths, initial=0), strict=False))
                 for word, place in enumerate(row["places"]) if place >= 0]
        where, of, target = torch.tensor(terms, dtype=torch.long, device=inputs["input_ids"].device).view(-1, 3).unbind(1)
        inputs |= {"where": where, "of": of, "target": target, "places": [list(row["places"]) for row in rows]}
        return Batch(inputs, count=len(terms), rows=len(rows), tokens=sum(lengths))

    def logits_of(batch: Batch) -> torch.Tensor:
        """[words, tags] the logits at the first token of each word."""
        return heads.token_logits(model.net, batch.inputs)[0][batch.inputs["where"]].float()

    def compute(batch: Batch) -> LossOut:
        logits, of = logits_of(batch), batch.inputs["of"]
        losses = cross_entropy(logits, batch.inputs["target"], reduction="none")
        counts = torch.zeros(batch.rows, device=of.device).index_add_(0, of, torch.ones_like(losses))
        by_row = torch.zeros_like(counts).index_add_(0, of, losses.detach())
        return LossOut(losses.sum(), row_losses=by_row, row_counts=counts, outputs=logits.detach())

    def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
        known = None if out is None else out.outputs  # of a batch without a word there are none
        chosen = iter((logits_of(batch) if known is None else known).argmax(-1).tolist())
        return [Prediction([no_tag if place < 0 else labels[next(chosen)] for place in places])
                for places in batch.inputs["places"]]

    key = cache_key(tokenizer, "tags", VERSION, limit, tokenize.key)
    return Loss(encode, collate, compute, answer, merge, key=key, name="cross entropy of words")


def merge(predictions: Sequence[Prediction], encoded: Sequence[Row]) -> Prediction:
    """The windows of a sentence as one answer: each has the words of its own, in order."""
    return Prediction([tag for one in predictions for tag in one.answer])


def first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """The first token of each word, in the text of all words joined by blanks; None for a word without any.
    `offsets`: the characters of each token."""
    found: list[int | None] = []
    token, begin = 0, 0
    for word in words:
        end = begin + len(word)
        while token < len(offsets) and offsets[token][1] <= begin:
            token += 1
        inside = token
        while inside < len(offsets) and offsets[inside][0] == offsets[inside][1]:  # stands for no character
            inside += 1
        found.append(inside if inside < len(offsets) and offsets[inside][0] < end else None)
        begin = end + 1
    return found


def owned(parts: Sequence[tuple[int, int]], firsts: Sequence[int | None]) -> Iterator[list[int]]:
    """For each window the words that are scored in it: the overlap of two windows is shared in its middle. A word without
    tokens goes with the word before it."""
    ends = [(start + end) // 2 for (_, end), (start, _) in pairwise(parts)] + [parts[-1][1]]
    places = list(accumulate((-1 if place is None else place for place in firsts), max))
    word = 0
    for number, end in enumerate(ends):
        begin = word
        while word < len(places) and (places[word] < end or number == len(ends) - 1):
            word += 1
        yield list(range(begin, word))


def _check(row: Row, split: str) -> None:
    """Raise `UserError` for a sentence that cannot be read. (Rows that are stored were counted when they were loaded.)"""
    tokens = row["tokens"]
    told = f"{split}: the sentence that begins {' '.join(map(str, tokens[:6]))!r}"
    if not all(isinstance(token, str) for token in tokens):
        raise UserError(f"{told} has tokens that are not text", "give words as text")
    if row.get("tags") is not None and len(row["tags"]) != len(tokens):
        raise UserError(f"{told} has {len(tokens)} tokens and {len(row['tags'])} tags", "give each token one tag")
