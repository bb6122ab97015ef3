"""Pairs of texts -> a score for each pair. Heavy: imports torch."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ftp import UserError
from ftp.losses import labels, wrapped
from ftp.losses.labels import LabelRow
from ftp.types import Loss, Model, Prediction, Row, Run


def make(run: Run, model: Model, negatives: int, highest: float) -> Loss:
    """Binary cross entropy of a pair's score, one term a pair.

    A row of pairs or triplets is encoded as several pairs: its anchor with each candidate, the positive first.

    Args:
        negatives: positives of other rows that each anchor is held against, in rows of pairs and triplets.
        highest: the score of rows that stands for 1.
    """
    seed = run.settings.seed

    def losses_of_pairs(logits: Tensor, targets: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(logits[:, 0], targets, reduction="none")

    def scores_of_pairs(logits: Tensor) -> list[Prediction]:
        return [Prediction(score) for score in logits[:, 0].sigmoid().tolist()]

    pairs = labels.of_texts(
        run, model, "binary cross entropy", label_of=lambda row: row["target"], row_losses=losses_of_pairs,
        answers=scores_of_pairs, key=("rerank", 2, negatives, highest, seed))

    def encode(rows: Sequence[Row]) -> Iterator[LabelRow]:
        if "score" in rows[0]:
            yield from pairs.encode([{**row, "target": float(row["score"]) / highest} for row in rows])
            return
        drawn = draw_negatives(rows, negatives, seed)
        for row_index, (row, others) in enumerate(zip(rows, drawn, strict=True)):
            own = [row["negative"]] if "negative" in row else []
            candidates = []
            for number, text in enumerate((row["positive"], *own, *others)):
                candidates.append({"text": row["anchor"], "text_pair": text, "target": float(number == 0)})
            for encoded in pairs.encode(candidates):
                encoded["row"] = row_index
                yield encoded

    def ask(rows: Sequence[Row]) -> Iterator[LabelRow]:
        return pairs.ask([pair_of(row) for row in rows])

    return wrapped(pairs, encode=encode, ask=ask, merge=merge)


def pair_of(row: Row) -> Row:
    """The two texts of a row to be answered. Raises `UserError` where one is missing."""
    names = ("text", "text_pair") if "text" in row else ("anchor", "positive")
    missing = [name for name in names if row.get(name) is None]
    if missing:
        raise UserError(f"rerank: a row has no {' and no '.join(missing)}, and two texts are compared",
                        f"a file with the columns {' and '.join(names)}", "ftp predict RUN --input FILE")
    return {"text": row[names[0]], "text_pair": row[names[1]]}


def merge(predictions: Sequence[Prediction], encoded: Sequence[LabelRow]) -> Prediction:
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
