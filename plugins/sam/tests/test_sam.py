"""An update is algorithm 1 of the paper, however its rows are spread over micro-batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ftp.errors import UserError
from ftp.train.state import Whole
from ftp_testing.built import built
from ftp_testing.models import tiny


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny("bert", tmp_path_factory.mktemp("m") / "bert"))


def updated(bert: str, spread: list[slice], rho: float = 0.5) -> tuple[dict[str, torch.Tensor], Any]:
    """Weights after one update by SGD of eight rows, and what the step gave."""
    run, data, model, loss = built(["full", "sentiment", "sam"], model=bert, max_grad_norm=0.0, **{"sam.rho": rho})
    model.net.eval()
    rows = list(loss.encode(data.splits["train"].select(range(8)).to_list()))
    whole = Whole(model, loss)
    optimizer = torch.optim.SGD([{"params": list(model.net.parameters())}], lr=0.1)
    out = run.hooks.one("train_step", run=run, model=model, loss=whole, batches=[loss.collate(rows[part]) for part in spread],
                        optimizer=optimizer, step=0, total=1)
    return {name: weight.detach().clone() for name, weight in model.net.named_parameters()}, out


def test_an_update_is_the_algorithm(bert: str) -> None:
    updated_weights, out = updated(bert, [slice(0, 8)])
    _, data, model, loss = built(["full", "sentiment"], model=bert)
    model.net.eval()
    batch = loss.collate(list(loss.encode(data.splits["train"].select(range(8)).to_list())))
    weights = dict(model.net.named_parameters())
    start = {name: weight.detach().clone() for name, weight in weights.items()}

    def gradients() -> dict[str, torch.Tensor]:
        model.net.zero_grad()
        (loss.compute(batch).total / 8).backward()
        return {name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None}

    first = gradients()
    norm = torch.sqrt(sum(gradient.square().sum() for gradient in first.values()))
    with torch.no_grad():
        for name, gradient in first.items():
            weights[name].add_(0.5 * gradient / norm)
    second = gradients()
    assert any((second[name] - first[name]).abs().max() > 1e-3 for name in first), "the gradient is another one there"
    for name, gradient in second.items():
        torch.testing.assert_close(updated_weights[name], start[name] - 0.1 * gradient, rtol=1e-4, atol=1e-6)
    assert float(out.metrics["sam_norm"]) / out.rows == pytest.approx(float(norm), rel=1e-5)


def test_micro_batches_change_nothing(bert: str) -> None:
    whole, _ = updated(bert, [slice(0, 8)])
    spread, _ = updated(bert, [slice(0, 1), slice(1, 6), slice(6, 8)])
    for name, weight in whole.items():
        torch.testing.assert_close(spread[name], weight, rtol=1e-4, atol=1e-6)


def test_sharded_weights_are_refused(bert: str) -> None:
    from ftp_sam import Sam

    class Settings:
        shard = True

    class Run:
        settings = Settings()

    with pytest.raises(UserError, match="leave out --shard"):
        next(Sam().train_step(Run(), None, [], None))  # type: ignore[arg-type]
