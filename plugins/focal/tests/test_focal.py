"""Focal losses are those of the paper's formula, with gradients that stay finite, and held-out losses stay plain."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from ftp.errors import UserError
from ftp.net import heads
from ftp_focal import focal
from ftp_testing.built import built
from ftp_testing.models import tiny


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("bert"))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_two_classes_have_the_loss_of_the_papers_formula(gamma: float) -> None:
    # equations 1 to 4: p is the sigmoid of x for the class y = 1, and 1 - p of the other
    for x in (-3.0, -0.2, 0.0, 0.7, 4.0):
        for y in (1, 0):
            p = 1 / (1 + math.exp(-x))
            right = p if y == 1 else 1 - p
            wanted = -((1 - right) ** gamma) * math.log(right)
            loss = focal(torch.tensor([[0.0, x]]), torch.tensor([y]), gamma)
            assert float(loss) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients_are_finite_where_the_answer_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0], [0.3, 0.1]], requires_grad=True)
    losses = focal(logits, torch.tensor([0, 0, 1]), gamma)
    losses.sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert losses.tolist()[:2] == pytest.approx([0.0, 200.0])


def test_training_rows_have_it_and_held_out_rows_do_not(bert: Path) -> None:
    _, data, model, loss = built(["full", "sentiment", "focal"], model=str(bert), **{"focal.gamma": 3.0})
    model.net.eval()
    batch = loss.collate(list(loss.encode(data.splits["train"].select(range(6)).to_list())))
    logits = heads.classify(model.net, batch.inputs).float()
    plain = cross_entropy(logits, batch.inputs["label"], reduction="none")
    right = logits.softmax(-1).gather(1, batch.inputs["label"][:, None])[:, 0]
    wanted = float(((1 - right) ** 3 * plain).sum().detach())
    assert float(loss.compute(batch).total.detach()) == pytest.approx(wanted, rel=1e-4)
    with torch.no_grad():
        assert float(loss.compute(batch).total) == pytest.approx(float(plain.sum().detach()), rel=1e-5)


def test_a_loss_without_classes_is_refused(bert: Path) -> None:
    _, data, _, loss = built(["full", "qa", "focal"], model=str(bert))
    rows = data.splits["train"].select(range(2)).to_list()
    with pytest.raises(UserError, match="no choices of one class"):
        loss.compute(loss.collate(list(loss.encode(rows))))
