"""Losses and gradients, held to sentence-transformers on the same weights and rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from ftp.net import layout
from ftp_embed import losses, vectors
from ftp_testing.models import TEXTS, tiny

sentence_transformers = pytest.importorskip("sentence_transformers")

ROWS = [
    ("Where is the bank?", TEXTS[5], TEXTS[7]),
    ("How was the film?", TEXTS[0], TEXTS[1]),
    ("What is seven plus five?", TEXTS[4], TEXTS[6]),
    ("Who was ill?", TEXTS[6], TEXTS[2]),
]
"""Anchor, positive, negative; a negative of one row is the positive of another."""
APART = [("a short letter", TEXTS[5], TEXTS[7]), ("a quiet joy", TEXTS[0], TEXTS[1]), ("twelve", TEXTS[4], TEXTS[2])]
"""No text twice."""
TARGETS = [0.2, 5.0, 3.5, 3.5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("model"))


def theirs(folder: Path, pooling: str) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    body = Transformer(str(folder))
    size = body.get_embedding_dimension() if hasattr(body, "get_embedding_dimension") else body.get_word_embedding_dimension()
    return SentenceTransformer(modules=[body, Pooling(size, pooling)], device="cpu").eval()


def laid(folder: Path, rows: list[tuple[str, ...]], texts_in_a_part: int = 64) -> list[layout.Inputs]:
    """The texts of the rows, row by row, in parts."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer([text for row in rows for text in row])["input_ids"]
    starts = range(0, len(ids), texts_in_a_part)
    return [layout.lay(ids[start : start + texts_in_a_part], packed=False, pad_id=0) for start in starts]


def ours(folder: Path) -> Any:
    return AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


def numbers_of(rows: list[tuple[str, ...]]) -> Tensor:
    """A number a text."""
    known = sorted({text for row in rows for text in row})
    return torch.tensor([[known.index(text) for text in row] for row in rows])


def gradients(net: torch.nn.Module) -> Tensor:
    return torch.cat([weight.grad.flatten() for _, weight in sorted(net.named_parameters()) if weight.grad is not None])


def of_theirs(model: Any, loss: Any, rows: list[tuple[str, ...]], targets: Tensor | None = None) -> tuple[float, Tensor]:
    columns = [model.preprocess(list(column)) for column in zip(*rows, strict=True)]
    value = loss(columns, targets)
    if value.requires_grad:
        value.backward()
    return float(value.detach()), gradients(model)


def of_ours(
    folder: Path, rows: list[tuple[str, ...]], loss: Callable[[Tensor], Tensor], pooling: vectors.Pooling = "mean", part: int = 64
) -> tuple[float, Tensor]:
    net = ours(folder)
    found = vectors.embed(net, laid(folder, rows, part), pooling).unflatten(0, (len(rows), -1))
    value = loss(found).mean()
    value.backward()
    return float(value.detach()), gradients(net)


def assert_same(left: tuple[float, Tensor], right: tuple[float, Tensor]) -> None:
    assert left[0] == pytest.approx(right[0], abs=1e-4)
    assert left[1].abs().max() > 1e-3
    torch.testing.assert_close(left[1], right[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("pooling", "name"), [("mean", "mean"), ("cls", "cls"), ("last", "lasttoken")])
def test_ranking_is_that_of_sentence_transformers(folder: Path, pooling: vectors.Pooling, name: str) -> None:
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    model = theirs(folder, name)
    numbers = numbers_of(APART)
    assert_same(of_ours(folder, APART, lambda found: losses.ranking_losses(found, numbers, 20.0), pooling),
                of_theirs(model, MultipleNegativesRankingLoss(model), APART))


def test_ranking_both_ways_is_that_of_sentence_transformers(folder: Path) -> None:
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    model = theirs(folder, "mean")
    pairs = [row[:2] for row in APART]
    numbers = numbers_of(pairs)
    loss = MultipleNegativesRankingLoss(model, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction")
    assert_same(of_ours(folder, pairs, lambda found: losses.ranking_losses(found, numbers, 20.0, both_ways=True)),
                of_theirs(model, loss, pairs))


def test_cached_gradients_are_those_of_the_whole_batch_and_of_sentence_transformers(folder: Path) -> None:
    from sentence_transformers.losses import CachedMultipleNegativesRankingLoss

    model, numbers = theirs(folder, "mean"), numbers_of(APART)

    def loss(found: Tensor) -> Tensor:
        return losses.ranking_losses(found, numbers, 20.0)

    cached = of_ours(folder, APART, loss, part=2)
    assert_same(cached, of_ours(folder, APART, loss))
    assert_same(cached, of_theirs(model, CachedMultipleNegativesRankingLoss(model, mini_batch_size=2), APART))


def test_cached_gradients_keep_the_activations_of_one_part(folder: Path) -> None:
    """Tensors that the forward pass leaves for the backward pass do not grow with the number of parts."""
    net, kept = ours(folder).train(), list[int]()
    parts = laid(folder, ROWS, 3)
    assert len(parts) == 4
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor):
        vectors.embed(net, parts, "mean")
    cached = sum(kept)
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor):
        vectors.embed(net, parts[:1], "mean")
    assert cached < sum(kept) / 10


def test_cached_gradients_draw_the_same_dropout_again(tmp_path: Path) -> None:
    folder = tiny("bert", tmp_path / "dropout", hidden_dropout_prob=0.3)
    net = ours(folder).train()
    parts = laid(folder, APART, 3)

    def gradient(found: Tensor) -> Tensor:
        net.zero_grad()
        losses.ranking_losses(found.unflatten(0, (3, 3)), numbers_of(APART), 20.0).sum().backward()
        return gradients(net)

    torch.manual_seed(1)
    cached = gradient(vectors.embed(net, parts, "mean"))
    torch.manual_seed(1)
    plain = gradient(torch.cat([vectors.embed(net, [part], "mean") for part in parts]))
    torch.testing.assert_close(cached, plain, atol=1e-5, rtol=1e-4)


def test_a_text_is_not_its_own_negative(folder: Path) -> None:
    """Rows 0 and 1 have the same positive, so that it is no negative of either: each has what it has without the other."""
    numbers = torch.tensor([[0, 5], [1, 5], [2, 6]])
    drawn = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    drawn[1, 1] = drawn[0, 1]
    found = losses.ranking_losses(drawn, numbers, 5.0)
    for row in (0, 1):
        alone = losses.ranking_losses(drawn[[row, 2]], numbers[[row, 2]], 5.0)
        assert float(found[row]) == pytest.approx(float(alone[0]), abs=1e-6)
    assert float(found[2]) > float(losses.ranking_losses(drawn[[0, 2]], numbers[[0, 2]], 5.0)[1])


@pytest.mark.parametrize("targets", [TARGETS, [1.0, 1.0, 1.0, 1.0]])
def test_cosent_is_that_of_sentence_transformers(folder: Path, targets: list[float]) -> None:
    from sentence_transformers.losses import CoSENTLoss

    pairs, model = [row[:2] for row in ROWS], theirs(folder, "mean")
    wanted = torch.tensor(targets)
    mine = of_ours(folder, pairs, lambda found: losses.cosent_loss(found, wanted, 20.0))
    if len(set(targets)) == 1:
        assert mine[0] == 0 and not mine[1].any()
    else:
        assert_same(mine, of_theirs(model, CoSENTLoss(model), pairs, wanted))


def test_triplets_are_those_of_sentence_transformers(folder: Path) -> None:
    from sentence_transformers.losses import TripletDistanceMetric, TripletLoss

    model = theirs(folder, "mean")
    loss = TripletLoss(model, distance_metric=TripletDistanceMetric.COSINE, triplet_margin=0.2)
    assert_same(of_ours(folder, ROWS, lambda found: losses.triplet_losses(found, 0.2)), of_theirs(model, loss, ROWS))


@pytest.mark.parametrize("part", [64, 2])
def test_matryoshka_is_that_of_sentence_transformers(folder: Path, part: int) -> None:
    from sentence_transformers.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

    model, numbers = theirs(folder, "mean"), numbers_of(APART)

    def loss(found: Tensor) -> Tensor:
        return losses.at_each_size(lambda cut: losses.ranking_losses(cut, numbers, 20.0), found, (32, 16, 8))

    assert_same(of_ours(folder, APART, loss, part=part),
                of_theirs(model, MatryoshkaLoss(model, MultipleNegativesRankingLoss(model), [32, 16, 8]), APART))


def test_scores_are_those_of_sentence_transformers() -> None:
    from sentence_transformers.evaluation import InformationRetrievalEvaluator

    from ftp_embed import scores

    drawn = np.random.default_rng(0)
    documents, queries = drawn.normal(size=(40, 6)), drawn.normal(size=(12, 6))
    relevant = [drawn.choice(40, size=1 + number % 3, replace=False).tolist() for number in range(12)]

    class Fixed:
        """Gives the vectors of texts that are numbers."""

        similarity_fn_name = "cosine"
        model_card_data = type("Card", (), {"set_evaluation_metrics": lambda *_, **__: None})()

        def encode_query(self, texts: list[str], **_: Any) -> Tensor:
            return torch.tensor(queries[[int(text) for text in texts]])

        def encode_document(self, texts: list[str], **_: Any) -> Tensor:
            return torch.tensor(documents[[int(text) for text in texts]])

    evaluator = InformationRetrievalEvaluator(
        {str(number): str(number) for number in range(12)},
        {str(number): str(number) for number in range(40)},
        {str(number): {str(document) for document in wanted} for number, wanted in enumerate(relevant)},
        score_functions={"cosine": sentence_transformers.util.cos_sim},
        mrr_at_k=[10],
        ndcg_at_k=[10],
        precision_recall_at_k=[1, 5, 10],
        map_at_k=[10],
        accuracy_at_k=[1],
    )
    found = evaluator.compute_metrices(Fixed())["cosine"]
    ranks = scores.ranks_of_relevant(queries, documents, relevant)
    for at in (1, 5, 10):
        assert scores.recall(ranks, at) == pytest.approx(found["recall@k"][at], abs=1e-9)
    assert scores.ndcg(ranks) == pytest.approx(found["ndcg@k"][10], abs=1e-9)
    assert scores.reciprocal_rank(ranks) == pytest.approx(found["mrr@k"][10], abs=1e-9)
