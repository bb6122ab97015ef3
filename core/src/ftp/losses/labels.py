"""Classes of rows: cross entropy over the labels, one term a row. Texts, and pairs of texts (`text_pair`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ftp.data import control_text
from ftp.data.encode import cache_key
from ftp.losses.common import lay, row_limit
from ftp.net import heads
from ftp.types import Batch, Data, Loss, LossOut, Model, Prediction, Row, Run


def make(run: Run, data: Data, model: Model) -> Loss:
    """Cross entropy of the class of each row. Texts longer than the model takes are cut at the end; how many, and what
    share of their tokens, is in the column `cut` of the encoded rows and told before training."""
    tokenize = control_text.of_run(run, model.tokenizer)
    limit = row_limit(run, model)

    def encode(rows: Iterable[Row], split: str) -> Iterable[dict[str, Any]]:
        rows = list(rows)
        texts = [row["text"] for row in rows]
        pairs = [row["text_pair"] for row in rows] if rows and rows[0].get("text_pair") is not None else None
        whole = tokenize(texts, pairs, truncation=False, return_attention_mask=False, verbose=False)
        for number, row in enumerate(rows):
            encoded = {key: column[number] for key, column in whole.items()}
            size = len(encoded["input_ids"])
            if size > limit:
                # the tokenizer cuts a pair where its rules say, and keeps the special tokens
                pair = pairs[number] if pairs else None
                short = tokenize(texts[number], pair, truncation=True, max_length=limit, return_attention_mask=False)
                encoded = dict(short)
            encoded["cut"] = size - len(encoded["input_ids"])
            if row.get("label") is not None and split != "predict":
                encoded["label"] = int(row["label"])
            yield encoded

    def collate(rows: Sequence[Row]) -> Batch:
        inputs = lay(model, rows)
        if "label" in rows[0]:
            inputs["label"] = torch.tensor([row["label"] for row in rows], device=inputs["input_ids"].device)
        return Batch(inputs, count=len(rows), rows=len(rows), tokens=sum(len(row["input_ids"]) for row in rows))

    def logits_of(batch: Batch) -> torch.Tensor:
        return heads.classify(model.net, batch.inputs).float()

    def compute(batch: Batch) -> LossOut:
        logits = logits_of(batch)
        losses = cross_entropy(logits, batch.inputs["label"], reduction="none")
        return LossOut(losses.sum(), row_losses=losses.detach(), row_counts=torch.ones_like(losses), outputs=logits.detach())

    def answer(batch: Batch, out: LossOut | None) -> list[Prediction]:
        logits = logits_of(batch) if out is None else out.outputs
        predictions = []
        for probabilities in logits.softmax(-1).tolist():
            best = max(range(len(probabilities)), key=probabilities.__getitem__)
            predictions.append(Prediction(best, tuple(probabilities)))
        return predictions

    key = cache_key(model.tokenizer, "labels", 1, limit, tokenize.key)
    return Loss(encode, collate, compute, answer, key=key, name="cross entropy")
