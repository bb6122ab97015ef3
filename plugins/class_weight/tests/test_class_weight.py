"""Weighted losses are PyTorch's, the weights are those of scikit-learn, and held-out losses stay plain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy

from ftp.errors import UserError
from ftp.net import heads
from ftp_class_weight import balanced_weights
from ftp_testing.built import built
from ftp_testing.models import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    for split, count in (("train", 36), ("validation", 12)):
        lines = []
        for number in range(count):
            label = "aaaaaaaabbbc"[number % 12]
            lines.append(json.dumps({"text": f"letter {number} of {split}", "label": label}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    tiny("bert", folder / "bert")
    return folder


def loss_and_batch(folder: Path, *plugins: str, **options: Any) -> tuple[Any, Any, Any, Any]:
    """Data, model, loss and a batch of all training rows, of which 24, 9 and 3 have each class."""
    usual = {"data": str(folder), "model": str(folder / "bert"), "max_train_rows": None}
    _, data, model, loss = built(["full", "classify", *plugins], **{**usual, **options})
    model.net.eval()
    rows = data.splits["train"].to_list()
    return data, model, loss, loss.collate(list(loss.encode(rows)))


def test_the_loss_is_that_of_pytorch_with_weights(folder: Path) -> None:
    data, model, loss, batch = loss_and_batch(folder, "class_weight")
    weights = torch.tensor([36 / (3 * 24), 36 / (3 * 9), 36 / (3 * 3)])
    assert data.labels == ("a", "b", "c")
    logits = heads.classify(model.net, batch.inputs).float()
    wanted = cross_entropy(logits, batch.inputs["label"], weight=weights, reduction="sum")
    total = loss.compute(batch).total
    assert float(total.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    assert abs(float(total.detach()) - float(cross_entropy(logits, batch.inputs["label"], reduction="sum"))) > 1e-3
    total.backward()
    weight = model.net.classifier.weight
    gradient = weight.grad.clone()
    model.net.zero_grad()
    wanted.backward()
    torch.testing.assert_close(gradient, weight.grad, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        plain = float(loss.compute(batch).total)
    assert plain == pytest.approx(float(cross_entropy(logits, batch.inputs["label"], reduction="sum")), rel=1e-5)


def test_the_weights_are_those_of_scikit_learn() -> None:
    labels = [0] * 90 + [1] * 7 + [2] * 3
    wanted = compute_class_weight("balanced", classes=np.array([0, 1, 2]), y=labels)
    assert balanced_weights([90, 7, 3]) == pytest.approx(list(wanted))
    assert balanced_weights([90, 7, 3], power=0) == pytest.approx([1, 1, 1])
    half = balanced_weights([90, 0, 10], power=0.5)
    assert half[2] / half[0] == pytest.approx(3) and half[1] == 1
    assert 90 * half[0] + 10 * half[2] == pytest.approx(100)


def test_none_leaves_the_loss_as_it_is(folder: Path) -> None:
    _, model, loss, batch = loss_and_batch(folder, "class_weight", **{"class_weight.kind": "none"})
    logits = heads.classify(model.net, batch.inputs).float()
    assert float(loss.compute(batch).total) == pytest.approx(float(cross_entropy(logits, batch.inputs["label"], reduction="sum")))


def test_words_are_weighed_by_their_tags(folder: Path) -> None:
    _, data, model, loss = built(["full", "tag", "class_weight"], model=str(folder / "bert"))
    model.net.eval()
    counts = [0] * len(data.labels)
    for tags in data.splits["train"]["tags"]:
        for tag in tags:
            counts[tag] += 1
    batch = loss.collate(list(loss.encode(data.splits["train"].select(range(8)).to_list())))
    out = loss.compute(batch)
    logits = out.logits.at(torch.arange(len(out.logits)))
    wanted = cross_entropy(logits, out.targets, weight=torch.tensor(balanced_weights(counts)), reduction="sum")
    assert float(out.total) == pytest.approx(float(wanted.detach()), rel=1e-5)


def test_rows_without_classes_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="have no classes to weigh"):
        built(["full", "qa", "class_weight"], model=str(folder / "bert"))
