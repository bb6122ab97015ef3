"""Texts of a row -> vectors -> the loss of a batch, as core's loop wants it. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ftp.data.control_text import TextTokenizer
from ftp.net import layout
from ftp.types import Batch, EncodedRow, Loss, LossOut, Model, Prediction, Row
from ftp_embed.layout import write
from ftp_embed.vectors import Pooling, embed

COLUMNS = ("anchor", "positive", "negative", "text", "text_pair")
"""The texts of a row of any form, in this order."""


class TextsRow(EncodedRow, total=False):
    """Some texts as token ids. `input_ids`: the first; `others`: the rest; `score`: how alike the first two are to be."""

    others: list[list[int]]
    score: float


@dataclass(frozen=True)
class Embedding(Loss[TextsRow]):
    """A loss on the vectors of a batch's texts.

    Args:
        of_vectors: ([rows, texts of a row, size] vectors, the inputs of the batch) -> [rows] losses in nats.
        limit: tokens of a text at most.
        prompts: column -> what is put in front of its texts.
        tokens_at_once: how many go through the network together at most.
    """

    model: Model
    tokenize: TextTokenizer
    limit: int
    pooling: Pooling
    of_vectors: Callable[[Tensor, Mapping[str, Tensor]], Tensor]
    prompts: Mapping[str, str]
    tokens_at_once: int
    key: str
    name: str
    over: Literal["terms", "batch"] = "batch"

    def encode(self, rows: Sequence[Row]) -> Iterator[TextsRow]:
        for row, encoded in zip(rows, self.ask(rows), strict=True):
            if "score" in row:
                encoded["score"] = float(row["score"])
            yield encoded

    def ask(self, rows: Sequence[Row]) -> Iterator[TextsRow]:
        for row in rows:
            texts = [self.prompts.get(column, "") + row[column] for column in COLUMNS if row.get(column) is not None]
            # encoded twice: only the whole text says how many tokens were cut
            whole = self.tokenize(texts, truncation=False, return_attention_mask=False, verbose=False)["input_ids"]
            short = self.tokenize(texts, truncation=True, max_length=self.limit, return_attention_mask=False)["input_ids"]
            length = sum(map(len, short))
            yield TextsRow(input_ids=short[0], others=short[1:], length=length, cut=sum(map(len, whole)) - length)

    def collate(self, rows: Sequence[TextsRow]) -> Batch:
        """`rest`: the parts behind the first, where the texts do not fit at once; `texts`: [rows, texts of a row] equal for equal
        texts."""
        device = next(self.model.net.parameters()).device
        texts: list[list[int]] = []
        for row in rows:
            texts += [row["input_ids"], *row["others"]]
        parts = [self._lay(part, device) for part in split_by_tokens(texts, self.tokens_at_once)]
        # the hash of a tuple of numbers is the same in every process
        numbers = torch.tensor([hash(tuple(ids)) for ids in texts], device=device).unflatten(0, (len(rows), -1))
        inputs: dict[str, object] = {**parts[0], "rest": parts[1:], "texts": numbers}
        if "score" in rows[0]:
            inputs["score"] = torch.tensor([row["score"] for row in rows], device=device)
        return Batch(inputs, count=len(rows), rows=len(rows), tokens=sum(map(len, texts)))

    def _lay(self, texts: Sequence[Sequence[int]], device: torch.device) -> dict[str, Tensor]:
        tokenizer = self.model.tokenizer
        return layout.lay(texts, packed=self.model.packed, pad_id=tokenizer.pad_token_id or 0,
                          padding_side=tokenizer.padding_side, device=device)

    def vectors(self, batch: Batch) -> Tensor:
        """[rows, texts of a row, size] float32"""
        parts = [batch.inputs, *batch.inputs["rest"]]
        return embed(self.model.net, parts, self.pooling).unflatten(0, batch.inputs["texts"].shape)

    def compute(self, batch: Batch) -> LossOut:
        # a rank without rows has a stand-in for one, with a count of 0: it is nobody's negative
        vectors = self.vectors(batch)[: batch.count]
        beside = {name: batch.inputs[name][: batch.count] for name in ("texts", "score") if name in batch.inputs}
        losses = self.of_vectors(vectors, beside)
        return LossOut(losses.sum(), row_losses=losses.detach(), row_counts=torch.ones_like(losses), outputs=vectors.detach())

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        """The vector of a row's text, of length 1; of several texts a vector each."""
        vectors = normalize(self.vectors(batch) if out is None else out.outputs, dim=-1).tolist()
        return [Prediction(row[0] if len(row) == 1 else row) for row in vectors]

    def write_beside(self, folder: Path) -> None:
        write(folder, size=self.model.net.config.get_text_config().hidden_size, pooling=self.pooling, limit=self.limit,
              prompts={"query": self.prompts.get("anchor", ""), "document": self.prompts.get("positive", "")})


def split_by_tokens(texts: Sequence[list[int]], most: int) -> list[list[list[int]]]:
    """The texts in order, in parts of at most so many tokens; a longer text is a part alone."""
    parts: list[list[list[int]]] = [[]]
    tokens = 0
    for ids in texts:
        if parts[-1] and tokens + len(ids) > most:
            parts.append([])
            tokens = 0
        parts[-1].append(ids)
        tokens += len(ids)
    return parts
