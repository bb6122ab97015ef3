"""Pairs of texts -> a score for each pair, as core's loop wants it. Heavy: imports torch."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ftp import UserError
from ftp.data.control_text import TextTokenizer
from ftp.losses import is_asked
from ftp.net import heads, layout
from ftp.types import Batch, EncodedRow, Loss, LossOut, Model, Prediction, Row


class PairRow(EncodedRow, total=False):
    """Two texts, side by side. `target`: 0 to 1, how well they belong together."""

    token_type_ids: list[int]
    target: float


@dataclass(frozen=True)
class CrossEncoder(Loss[PairRow]):
    """Binary cross entropy of a pair's score, one term a pair.

    A row of pairs or triplets is encoded as several pairs: its anchor with each candidate, the positive first.

    Args:
        limit: tokens of a pair at most.
        negatives: positives of other rows that each anchor is held against, in rows of pairs and triplets.
        highest: the score of rows that stands for 1.
        seed: what drawn negatives follow from, beside the rows.
    """

    model: Model
    tokenize: TextTokenizer
    limit: int
    negatives: int
    highest: float
    seed: int
    key: str
    name: str = "binary cross entropy"

    def encode(self, rows: Sequence[Row]) -> Iterator[PairRow]:
        if "score" in rows[0]:
            for row, encoded in zip(rows, self.ask(rows), strict=True):
                encoded["target"] = float(row["score"]) / self.highest
                yield encoded
            return
        drawn = draw_negatives(rows, self.negatives, self.seed)
        for row_index, (row, others) in enumerate(zip(rows, drawn, strict=True)):
            own = [row["negative"]] if "negative" in row else []
            for candidate, text in enumerate((row["positive"], *own, *others)):
                encoded = self._pair(row["anchor"], text)
                encoded["row"] = row_index
                encoded["target"] = float(candidate == 0)
                yield encoded

    def ask(self, rows: Sequence[Row]) -> Iterator[PairRow]:
        for row in rows:
            names = ("text", "text_pair") if "text" in row else ("anchor", "positive")
            missing = [name for name in names if row.get(name) is None]
            if missing:
                raise UserError(f"rerank: a row has no {' and no '.join(missing)}, and two texts are compared",
                                f"a file with the columns {' and '.join(names)}", "ftp predict RUN --input FILE")
            yield self._pair(row[names[0]], row[names[1]])

    def _pair(self, left: str, right: str) -> PairRow:
        whole = self.tokenize(left, right, truncation=False, return_attention_mask=False, verbose=False)
        size = len(whole["input_ids"])
        if size > self.limit:  # the longer of both is cut, as sentence-transformers does
            whole = self.tokenize(left, right, truncation="longest_first", max_length=self.limit, return_attention_mask=False)
        cut = size - len(whole["input_ids"])
        return PairRow(**whole, cut=cut)  # type: ignore[typeddict-item]

    def collate(self, rows: Sequence[PairRow]) -> Batch:
        net = self.model.net
        tokenizer = self.model.tokenizer
        beside = {}
        if "token_type_ids" in rows[0]:
            beside["token_type_ids"] = ([row["token_type_ids"] for row in rows], 0)
        # encoder-decoders count positions from the first column
        side = "right" if net.config.is_encoder_decoder else tokenizer.padding_side
        inputs = layout.lay(
            [row["input_ids"] for row in rows], packed=self.model.packed, pad_id=tokenizer.pad_token_id or 0, padding_side=side,
            beside=beside, device=next(net.parameters()).device)
        if not is_asked(rows):
            inputs["target"] = torch.tensor([row["target"] for row in rows], device=inputs["input_ids"].device)
        return Batch(inputs, count=len(rows), rows=len(rows), tokens=sum(len(row["input_ids"]) for row in rows))

    def logits(self, batch: Batch) -> Tensor:
        """[pairs] float32"""
        return heads.classify(self.model.net, batch.inputs).float()[:, 0]

    def compute(self, batch: Batch) -> LossOut:
        logits = self.logits(batch)
        losses = binary_cross_entropy_with_logits(logits, batch.inputs["target"], reduction="none")
        return LossOut(losses.sum(), row_losses=losses.detach(), row_counts=torch.ones_like(losses), outputs=logits.detach())

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        """How well each pair belongs together, 0 to 1."""
        logits = self.logits(batch) if out is None else out.outputs
        return [Prediction(score) for score in logits.sigmoid().tolist()]

    def merge(self, predictions: Sequence[Prediction], encoded: Sequence[PairRow]) -> Prediction:
        """The score of the pair that a row asks for; of a row with candidates those of all, that of the positive first."""
        scores = [prediction.answer for prediction in predictions]
        return Prediction(scores[0] if len(scores) == 1 else scores)


def draw_negatives(rows: Sequence[Row], count: int, seed: int) -> list[list[str]]:
    """For each row the positives of some other rows, none of which is its own positive or one of an equal anchor.

    Args:
        count: how many for each row; fewer where there are not so many.
    """
    positives_of: dict[str, set[str]] = {}
    for row in rows:
        positives_of.setdefault(row["anchor"], set()).add(row["positive"])
    texts = sorted({row["positive"] for row in rows})
    draw = np.random.default_rng([seed, zlib.crc32("\n".join(texts).encode())])
    drawn = []
    for row in rows:
        own = positives_of[row["anchor"]]
        chosen = draw.choice(len(texts), min(len(texts), count + len(own)), replace=False)
        others = [texts[i] for i in chosen.tolist() if texts[i] not in own]
        drawn.append(others[:count])
    return drawn
