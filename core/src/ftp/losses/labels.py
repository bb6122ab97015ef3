"""Classes of rows: cross entropy over the labels, one term a row. Texts, and pairs of texts (`text_pair`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch.nn.functional import cross_entropy

from ftp.data import control_text
from ftp.data.control_text import TextTokenizer
from ftp.data.encode import cache_key
from ftp.losses.common import is_asked, lay, row_limit
from ftp.net import heads
from ftp.net.logits import WholeLogits
from ftp.types import Batch, Data, EncodedRow, Loss, LossOut, Model, Prediction, Row, Run

__all__ = ["LabelRow", "make"]


class LabelRow(EncodedRow, total=False):
    """A text or a pair of texts; `label`: its class."""

    label: int


def make(run: Run, data: Data, model: Model) -> Labels:
    """Cross entropy of the class of each row.

    Texts longer than the model takes are cut at the end; how many tokens of each is in the column `cut` of the encoded rows,
    and told before training.

    Args:
        run: the run, for its settings.
        data: its rows, of the form of texts or of pairs of texts.
        model: a model with the head `labels`.
    """
    tokenize = control_text.of_run(run, model.tokenizer)
    limit = row_limit(run, model)
    return Labels(model, tokenize, limit, key=cache_key(model.tokenizer, "labels", 1, limit, tokenize.key))


@dataclass(frozen=True)
class Labels(Loss[LabelRow]):
    """The loss of `make`. `limit`: tokens of a row at most."""

    model: Model
    tokenize: TextTokenizer
    limit: int
    key: str
    name: str = "cross entropy"

    def encode(self, rows: Sequence[Row]) -> Iterator[LabelRow]:
        for row, encoded in zip(rows, self.ask(rows), strict=True):
            if row.get("label") is not None:
                encoded["label"] = int(row["label"])
            yield encoded

    def ask(self, rows: Sequence[Row]) -> Iterator[LabelRow]:
        # a tokenizer takes texts or pairs of texts in one call, and a second text is optional in each row
        for has_pair, group in groupby(rows, key=lambda row: row.get("text_pair") is not None):
            same = list(group)
            pairs = [row["text_pair"] for row in same] if has_pair else None
            yield from self._tokens([row["text"] for row in same], pairs)

    def _tokens(self, texts: Sequence[str], pairs: Sequence[str] | None) -> Iterator[LabelRow]:
        """Texts, or pairs of texts, as rows without a label."""
        whole = self.tokenize(texts, pairs, truncation=False, return_attention_mask=False, verbose=False)
        for row_index, text in enumerate(texts):
            columns = {name: column[row_index] for name, column in whole.items()}
            size = len(columns["input_ids"])
            if size > self.limit:
                # the tokenizer cuts a pair where its rules say, and keeps the special tokens
                pair = pairs[row_index] if pairs else None
                columns = dict(self.tokenize(text, pair, truncation=True, max_length=self.limit, return_attention_mask=False))
            cut = size - len(columns["input_ids"])
            yield LabelRow(**columns, cut=cut)  # type: ignore[typeddict-item]

    def collate(self, rows: Sequence[LabelRow]) -> Batch:
        inputs = lay(self.model, rows)
        if not is_asked(rows):
            inputs["label"] = torch.tensor([row["label"] for row in rows], device=inputs["input_ids"].device)
        return Batch(inputs, count=len(rows), rows=len(rows), tokens=sum(len(row["input_ids"]) for row in rows))

    def logits_of(self, batch: Batch) -> torch.Tensor:
        """The logits of the classes, `[rows, classes] float32`."""
        return heads.classify(self.model.net, batch.inputs).float()

    def compute(self, batch: Batch) -> LossOut:
        logits = self.logits_of(batch)
        labels = batch.inputs["label"]
        losses = cross_entropy(logits, labels, reduction="none")
        return LossOut(losses.sum(), row_losses=losses.detach(), row_counts=torch.ones_like(losses), outputs=logits.detach(),
                       logits=WholeLogits(logits), targets=labels)

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        logits = self.logits_of(batch) if out is None else out.outputs
        predictions = []
        for probabilities in logits.softmax(-1).tolist():
            # the first of equal ones
            best = max(range(len(probabilities)), key=probabilities.__getitem__)
            predictions.append(Prediction(best, tuple(probabilities)))
        return predictions
