"""Scores of a cross-encoder on held-out rows. Imports numpy alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ftp.metrics import spearman, with_answers
from ftp.types import Data, Predictions, Score


def measure(data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
    """For each split `spearman` where rows have a score; else where each anchor's positive stands among its candidates:
    `recall_at_1`, `ndcg_at_10`, `mrr_at_10`."""
    from ftp_embed import scores as formulas

    scores = []
    for split, truth, answers in with_answers(predictions, "score"):
        scores.append(Score("spearman", spearman(truth, answers), "max", split, len(answers)))
    for split, _, answers in with_answers(predictions, "positive"):
        ranks = []
        for candidates in answers:
            if isinstance(candidates, list):
                positive, *others = candidates
                # among equals the positive stands last, so that a model which says the same of all has found nothing
                ranks.append(np.array([sum(other >= positive for other in others)]))
        if ranks:
            scores += [Score("recall_at_1", formulas.recall(ranks, 1), "max", split, len(ranks)),
                       Score("ndcg_at_10", formulas.ndcg(ranks), "max", split, len(ranks)),
                       Score("mrr_at_10", formulas.reciprocal_rank(ranks), "max", split, len(ranks))]
    return scores
