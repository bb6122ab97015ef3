"""The cross-encoder, held to sentence-transformers on the same weights and rows; its negatives, scores and folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ftp import UserError
from ftp.types import Data, Prediction, Predictions
from ftp_rerank.evaluation import measure
from ftp_rerank.loss import draw_negatives
from ftp_testing.built import built
from ftp_testing.models import TEXTS, tiny

PAIRS = [(TEXTS[3], TEXTS[4]), (TEXTS[0], TEXTS[1]), (TEXTS[5], TEXTS[7])]


def save(folder: Path) -> Path:
    base = tiny("bert", folder / "base")
    AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32).save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / "model")
    return folder / "model"


def test_loss_gradients_and_scores_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    folder = save(tmp_path)
    theirs = CrossEncoder(str(folder), device="cpu")
    targets = torch.tensor([1.0, 0.25, 0.0])
    value = BinaryCrossEntropyLoss(theirs)([list(side) for side in zip(*PAIRS, strict=True)], targets)
    value.backward()

    options: dict[str, Any] = {"form": "scored_pairs", "rerank.highest": 5.0}
    _, _, model, loss = built(["full", "rerank"], model=str(folder), **options)
    net = model.net.eval()
    scored = zip(PAIRS, (5.0, 1.25, 0.0), strict=True)
    rows = [{"text": left, "text_pair": right, "score": score} for (left, right), score in scored]
    batch = loss.collate(list(loss.encode(rows)))
    out = loss.compute(batch)
    mine = out.total / batch.count
    mine.backward()
    assert float(mine.detach()) == pytest.approx(float(value.detach()), abs=1e-6)
    wanted = {name.removeprefix("0.model."): weight.grad for name, weight in theirs.named_parameters()}
    for name, weight in net.named_parameters():
        if weight.grad is not None:
            same = next(other for other in wanted if other.endswith(name))
            torch.testing.assert_close(weight.grad, wanted[same], atol=1e-4, rtol=1e-4)
    answers = [prediction.answer for prediction in loss.answer(batch, out)]
    with pytest.raises(UserError, match="no text_pair"):
        list(loss.ask([{"text": "alone"}]))
    np.testing.assert_allclose(theirs.predict(PAIRS), answers, atol=1e-5)


def test_negatives_are_other_rows_and_never_what_answers_the_anchor() -> None:
    rows = [{"anchor": "a" if number < 2 else f"a{number}", "positive": f"p{number}"} for number in range(9)]
    drawn = draw_negatives(rows, 4, seed=0)
    assert drawn == draw_negatives(rows, 4, seed=0) != draw_negatives(rows, 4, seed=1)
    for row, texts in zip(rows, drawn, strict=True):
        assert len(texts) == len(set(texts)) == 4 and row["positive"] not in texts
    assert not {"p0", "p1"} & {*drawn[0], *drawn[1]}
    assert draw_negatives(rows[:2], 4, seed=0) == [[], []]


def test_scores_say_where_the_positive_stands() -> None:
    rows = Dataset.from_dict({"anchor": ["a", "b", "c"], "positive": ["p", "q", "r"]})
    answers = [Prediction([0.9, 0.1, 0.2]), Prediction([0.5, 0.5, 0.1]), Prediction([0.1, 0.2, 0.3])]
    found = measure(Data({}, "pairs"), {"test": Predictions("test", rows, answers, 0.0, np.zeros(3))})
    assert {score.name: score.value for score in found} == pytest.approx(
        {"recall_at_1": 1 / 3, "ndcg_at_10": (1 + 1 / np.log2(3) + 0.5) / 3, "mrr_at_10": (1 + 1 / 2 + 1 / 3) / 3})
    rows = Dataset.from_dict({"text": ["a"] * 3, "text_pair": ["b"] * 3, "score": [0.0, 2.0, 5.0]})
    answers = [Prediction(0.1), Prediction(0.3), Prediction(0.9)]
    found = measure(Data({}, "scored_pairs"), {"test": Predictions("test", rows, answers, 0.0, np.zeros(3))})
    assert [(score.name, score.value, score.n) for score in found] == [("spearman", pytest.approx(1.0), 3)]
