"""The plugin: its sample, its scores, what it refuses, and a run whose folder sentence-transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

import ftp
from ftp.data.read import read
from ftp.types import Data, Prediction, Predictions
from ftp_embed import SAMPLE, evaluation, head
from ftp_testing.models import tiny

QUICK: dict[str, Any] = {"baselines": False, "report": False, "device": "cpu", "precision": "fp32"}


def answered(rows: dict[str, list[Any]], vectors: list[Any]) -> dict[str, Predictions]:
    dataset = Dataset.from_dict(rows)
    answers = [Prediction(one) for one in vectors]
    return {"test": Predictions("test", dataset, answers, 0.0, np.zeros(len(dataset)))}


def test_what_is_held_out_of_the_sample_is_in_no_other_split() -> None:
    splits = dict(read(SAMPLE / "pairs"))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 200, "validation": 50, "test": 50}
    for column in ("anchor", "positive"):
        texts = [text for rows in splits.values() for text in rows[column]]
        assert len(set(texts)) == 300


def test_retrieval_counts_every_positive_of_an_anchor_and_each_text_once() -> None:
    rows = {"anchor": ["q", "q", "r"], "positive": ["a", "b", "a"], "negative": ["n", "n", "n"]}
    right, other = [1.0, 0.0], [0.0, 1.0]
    vectors = [[right, right, other], [right, [0.8, 0.6], other], [[0.6, 0.8], right, other]]
    found = {score.name: (score.value, score.n) for score in evaluation.scores(Data({}, "triplets"), answered(rows, vectors))}
    # q: a, b, n; r: b (0.96), n (0.8), a (0.6)
    assert found["recall_at_1"] == (pytest.approx((0.5 + 0) / 2), 2)
    assert found["recall_at_5"] == (1.0, 2)
    assert found["mrr_at_10"] == (pytest.approx((1 + 1 / 3) / 2), 2)
    assert found["ndcg_at_10"] == (pytest.approx((1 + 1 / np.log2(4)) / 2), 2)


def test_similarity_is_scored_by_order_and_at_each_size() -> None:
    rows = {"text": ["a"] * 3, "text_pair": ["b"] * 3, "score": [0.0, 3.0, 5.0]}
    first = [1.0, 0.0, 0.0]
    vectors = [[first, [0.1, 0.0, 1.0]], [first, [0.5, 0.0, 1.0]], [first, [2.0, 9.0, 0.0]]]
    found = {score.name: score.value for score in evaluation.scores(Data({}, "scored_pairs"), answered(rows, vectors), (2,))}
    assert found["spearman"] == pytest.approx(0.5) and found["spearman_2"] == pytest.approx(-0.75**0.5)


def test_answers_are_shown_as_a_vector_or_as_a_cosine() -> None:
    assert head.shown(Prediction([0.6, 0.8]), ()) == {"answer": [0.6, 0.8]}
    assert head.shown(Prediction([[0.6, 0.8], [1.0, 0.0]]), ()) == {"answer": 0.6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of a few updates, whose batches go through the network in parts."""
    return ftp.run(["embed", "full"], model=str(folder), out=tmp_path_factory.mktemp("runs") / "run", max_steps=4, batch_size=32,
                   micro_batch_tokens=200, learning_rate=1e-3, verify=True, **QUICK)


@pytest.mark.slow
def test_sentence_transformers_loads_the_model_of_a_run_and_gives_the_same_vectors(run: Any) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    theirs = sentence_transformers.SentenceTransformer(str(run.out / "model"), device="cpu")
    texts = ["A suitcase was left behind.", "brindle adrift, byre"]
    mine = [row["answer"] for row in ftp.load(run.out).predict(texts)]
    np.testing.assert_allclose(theirs.encode(texts), mine, atol=1e-5)
    assert np.linalg.norm(mine, axis=1) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_sentence_transformers_loads_an_adapter_and_what_it_is_merged_to(folder: Path, tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from ftp.model.merging import merge

    ftp.run(["embed", "lora"], model=str(folder), out=tmp_path / "run", max_steps=4, batch_size=32, learning_rate=5e-2,
            verify=False, **QUICK)
    merge(tmp_path / "run" / "model", tmp_path / "whole")
    texts = ["A suitcase was left behind.", "brindle adrift, byre"]
    mine = [row["answer"] for row in ftp.load(tmp_path / "run").predict(texts)]
    for model in (tmp_path / "run" / "model", tmp_path / "whole"):
        theirs = sentence_transformers.SentenceTransformer(str(model), device="cpu")
        np.testing.assert_allclose(theirs.encode(texts), mine, atol=1e-5)
    base = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True)
    assert np.abs(base - mine).max() > 0.01


@pytest.mark.slow
def test_a_run_with_cached_gradients_is_the_run_without(run: Any, folder: Path, tmp_path: Path) -> None:
    whole = ftp.run(["embed", "full"], model=str(folder), out=tmp_path / "run", max_steps=4, batch_size=32, learning_rate=1e-3,
                    verify=False, **QUICK)
    for name in ("loss", "ndcg_at_10", "recall_at_1"):
        assert whole.score(name, "test") == pytest.approx(run.score(name, "test"), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embed": {"loss": "triplet"}}, "not for rows of the form 'pairs'"),
        ({"embed": {"sizes": (64,)}}, "vectors of this model have 32 numbers"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ftp.UserError, match=message):
        ftp.run(["embed", "full"], model=str(folder), out=tmp_path / "run", max_steps=1, verify=False, **QUICK, **options)
