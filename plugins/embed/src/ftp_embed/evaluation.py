"""Scores of the vectors of held-out rows. Imports numpy alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ftp.metrics import spearman
from ftp.types import Data, Predictions, Score
from ftp_embed import scores as formulas

if TYPE_CHECKING:
    from datasets import Dataset


def scores(data: Data, predictions: Mapping[str, Predictions], sizes: Sequence[int] = ()) -> list[Score]:
    """For each split `spearman` where rows say how alike texts are; else how well each anchor finds its positives among all
    positives and negatives of the split: `recall_at_1`, `recall_at_5`, `recall_at_10`, `ndcg_at_10`, `mrr_at_10`.

    Args:
        sizes: numbers of a vector that are looked at alone too (Matryoshka), in scores with the size behind their names.
    """
    scores = []
    for split, answered in predictions.items():
        answers = [prediction.answer for prediction in answered.answers]
        if not answers or answers[0] is None:
            continue
        if not isinstance(answers[0], list):  # of a model that says itself how alike two texts are
            scores.append(Score("spearman", spearman(answered.rows["score"][:], answers), "max", split, len(answers)))
            continue
        vectors = np.array(answers)  # [rows, texts of a row, size]
        for size in (vectors.shape[2], *sizes):
            suffix = "" if size == vectors.shape[2] else f"_{size}"
            for name, value, count in _scores_of(answered.rows, vectors[:, :, :size]):
                scores.append(Score(name + suffix, value, "max", split, count))
    return scores


def _scores_of(rows: Dataset, vectors: formulas.Vectors) -> Iterator[tuple[str, float, int]]:
    """Name, value and number of rows or queries of each score."""
    if "score" in rows.column_names:
        cosines = formulas.cosines(vectors[:, 0], vectors[:, 1])
        yield "spearman", spearman(rows["score"][:], cosines.tolist()), len(rows)
        return
    queries, documents, relevant = retrieval(rows, vectors)
    ranks = formulas.ranks_of_relevant(queries, documents, relevant)
    for at in (1, 5, 10):
        yield f"recall_at_{at}", formulas.recall(ranks, at), len(ranks)
    yield "ndcg_at_10", formulas.ndcg(ranks), len(ranks)
    yield "mrr_at_10", formulas.reciprocal_rank(ranks), len(ranks)


def retrieval(rows: Dataset, vectors: formulas.Vectors) -> tuple[formulas.Vectors, formulas.Vectors, list[list[int]]]:
    """Vectors of the different anchors, those of the different other texts, and for each anchor the numbers of its positives."""
    # negatives stand among the documents, where they are to be ranked low
    columns = [name for name in ("positive", "negative") if name in rows.column_names]
    number_of_document: dict[str, int] = {}
    documents: list[formulas.Vectors] = []
    for index, column in enumerate(columns, 1):
        for row, text in enumerate(rows[column]):
            if text not in number_of_document:
                number_of_document[text] = len(documents)
                documents.append(vectors[row, index])
    relevant: dict[str, set[int]] = {}
    queries: list[formulas.Vectors] = []
    for row, (anchor, positive) in enumerate(zip(rows["anchor"], rows["positive"], strict=True)):
        if anchor not in relevant:
            queries.append(vectors[row, 0])
        relevant.setdefault(anchor, set()).add(number_of_document[positive])
    return np.array(queries), np.array(documents), [sorted(numbers) for numbers in relevant.values()]
