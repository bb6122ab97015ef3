"""What a head says of a text as a whole, or of a pair of texts (`text_pair`): one term a row. Core's own is the class of a row;
`of_texts` makes the same loss of any other label (a number, several classes)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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

__all__ = ["LabelRow", "TextLoss", "make", "of_texts"]

Label = int | float | list[float]
"""What a row is to get: the number of its class, a number, or a number for each class."""


class LabelRow(EncodedRow, total=False):
    """A text or a pair of texts; `label`: what it is to get."""

    label: Label


def make(run: Run, data: Data, model: Model) -> TextLoss:
    """Cross entropy of the class of each row.

    Texts longer than the model takes are cut at the end; how many tokens of each is in the column `cut` of the encoded rows,
    and told before training.

    Args:
        run: the run, for its settings.
        data: its rows, of the form of texts or of pairs of texts.
        model: a model with the head `labels`.
    """
    return of_texts(run, model, "cross entropy", label_of=_class_of, row_losses=_cross_entropies, answers=_likeliest,
                    is_choice=True)


def of_texts(
    run: Run,
    model: Model,
    name: str,
    *,
    label_of: Callable[[Row], Label | None],
    row_losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    answers: Callable[[torch.Tensor], list[Prediction]],
    key: tuple[object, ...] = (),
    is_choice: bool = False,
    extra: torch.nn.Module | None = None,
) -> TextLoss:
    """A loss on what a head of sequence classification says of each text, or pair of texts.

    Args:
        run: the run, for its settings.
        model: a model with such a head.
        name: of the loss, for logs.
        label_of: a row -> what it is to get; None: the row is to be answered alone.
        row_losses: (logits `[rows, outputs] float32`, labels `[rows]` or `[rows, outputs]`) -> `[rows]` the loss of each row.
        answers: logits `[rows, outputs] float32` -> the answer to each row.
        key: whatever changes what `label_of` gives for a row, for the cache.
        is_choice: labels are classes, of which a row has one, so that wrappers get `LossOut.logits`.
        extra: a module trained and saved beside the network.
    """
    tokenize = control_text.of_run(run, model.tokenizer)
    limit = row_limit(run, model)
    cached_under = cache_key(model.tokenizer, "labels", 1, limit, tokenize.key, *key)
    return TextLoss(model, tokenize, limit, label_of, row_losses, answers, is_choice, cached_under, name, extra)


def _class_of(row: Row) -> int | None:
    return None if row.get("label") is None else int(row["label"])


def _cross_entropies(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits, labels, reduction="none")


def _likeliest(logits: torch.Tensor) -> list[Prediction]:
    """The class of the highest probability, the first of equal ones."""
    predictions = []
    for probabilities in logits.softmax(-1).tolist():
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        predictions.append(Prediction(best, tuple(probabilities)))
    return predictions


@dataclass(frozen=True)
class TextLoss(Loss[LabelRow]):
    """The loss of `of_texts`. `limit`: tokens of a row at most."""

    model: Model
    tokenize: TextTokenizer
    limit: int
    label_of: Callable[[Row], Label | None]
    row_losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    answers: Callable[[torch.Tensor], list[Prediction]]
    is_choice: bool
    key: str
    name: str
    extra: torch.nn.Module | None = None

    def encode(self, rows: Sequence[Row]) -> Iterator[LabelRow]:
        for row, encoded in zip(rows, self.ask(rows), strict=True):
            label = self.label_of(row)
            if label is not None:
                encoded["label"] = label
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
        """What the head says of each row, `[rows, outputs] float32`."""
        return heads.classify(self.model.net, batch.inputs).float()

    def targets_of(self, batch: Batch) -> torch.Tensor:
        """What it should say, `[rows]` or `[rows, outputs]`."""
        labels: torch.Tensor = batch.inputs["label"]
        return labels

    def compute(self, batch: Batch) -> LossOut:
        logits = self.logits_of(batch)
        labels = batch.inputs["label"]
        losses = self.row_losses(logits, labels)
        out = LossOut(losses.sum(), row_losses=losses.detach(), row_counts=torch.ones_like(losses), outputs=logits.detach())
        return replace(out, logits=WholeLogits(logits), targets=labels) if self.is_choice else out

    def answer(self, batch: Batch, out: LossOut | None) -> list[Prediction]:
        return self.answers(self.logits_of(batch) if out is None else out.outputs)
