"""A table whose update touches the rows that were read ends where a dense update ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ftp.train.update import dense_part
from ftp_cpu import row_wise_adamw

ROWS, SIZE = 40, 6


class Net(nn.Module):
    """A table, and a layer of the same width behind it."""

    def __init__(self, shared: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.layer = nn.Embedding(ROWS, SIZE, padding_idx=0), nn.Linear(SIZE, ROWS)
        if shared:
            self.layer.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.layer(self.table(ids)).square().sum()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_wise_adamw, "FEWEST", 1)


def adamw(net: nn.Module, decay: float) -> torch.optim.AdamW:
    groups: list[dict[str, Any]] = [{"params": [net.table.weight, net.layer.weight]}, {"params": [net.layer.bias]}]
    return torch.optim.AdamW(groups, lr=0.05, weight_decay=decay, fused=True)


def batches(count: int, words: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    return [torch.randint(words, (2, 5), generator=draw) for _ in range(count)]


def train(net: Net, optimizer: Any, batches: list[torch.Tensor], by_rows: bool) -> list[float]:
    """Updates of two forward passes each, with clipping; says the norms."""
    norms = []
    if by_rows:
        row_wise_adamw.enable(optimizer)
    for ids in batches:
        optimizer.zero_grad(set_to_none=True)
        if by_rows:
            with row_wise_adamw.row_gradients(net, optimizer):
                for half in ids:
                    net(half).backward()
            assert net.table.weight.grad.is_sparse
            norms.append(float(nn.utils.clip_grad_norm_([dense_part(weight) for weight in net.parameters()], 0.5)))
        else:
            for half in ids:
                net(half).backward()
            norms.append(float(nn.utils.clip_grad_norm_(net.parameters(), 0.5)))
        optimizer.step()
        assert not net.table.sparse
    return norms


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("words", [12, ROWS])
def test_the_update_is_the_dense_one(decay: float, words: int) -> None:
    """With few words read, and with so many that the table becomes dense on the way."""
    all_batches = batches(12, words)
    ends = []
    for by_rows in (False, True):
        net = Net()
        optimizer = adamw(net, decay)
        norms = train(net, optimizer, all_batches, by_rows)
        ends.append((norms, [*net.parameters()], [optimizer.state[weight] for weight in net.parameters()]))
    (plain_norms, plain, plain_state), (norms, weights, state) = ends
    assert norms == pytest.approx(plain_norms, rel=1e-5)
    torch.testing.assert_close(weights, plain, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(state, plain_state, strict=True):
        assert ours.keys() == theirs.keys()
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    unread = torch.ones(ROWS, dtype=torch.bool)
    unread[torch.cat(all_batches).flatten()] = False
    start = Net().table.weight
    assert unread.any() or words == ROWS
    torch.testing.assert_close(weights[0][unread], start[unread] * (1 - 0.05 * decay) ** 12)
    assert not torch.allclose(weights[0][~unread][1:], start[~unread][1:], atol=1e-2)


@pytest.mark.parametrize("words", [12, ROWS])
def test_a_loaded_state_goes_on_bit_for_bit(words: int) -> None:
    all_batches = batches(10, words)
    whole = Net()
    train(whole, adamw(whole, 0.1), all_batches, True)

    first, second = Net(), Net()
    before = adamw(first, 0.1)
    train(first, before, all_batches[:4], True)
    second.load_state_dict(first.state_dict())
    after = adamw(second, 0.1)
    after.load_state_dict(before.state_dict())
    train(second, after, all_batches[4:], True)
    for ours, theirs in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("why", ["shared", "frozen", "small", "sgd", "not fused"])
def test_what_cannot_be_updated_by_rows_stays_dense(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(shared=why == "shared")
    weights = list(net.parameters())
    optimizer: Any = torch.optim.AdamW(weights, fused=why != "not fused", foreach=False)
    if why == "sgd":
        optimizer = torch.optim.SGD(weights)
    if why == "frozen":
        net.table.weight.requires_grad_(False)
    if why == "small":
        monkeypatch.setattr(row_wise_adamw, "FEWEST", ROWS + 1)
    row_wise_adamw.enable(optimizer)
    with row_wise_adamw.row_gradients(net, optimizer):
        assert not net.table.sparse
        net(torch.tensor([1, 2, 3])).backward()
    assert net.table.weight.grad is None or not net.table.weight.grad.is_sparse
    if why != "frozen":
        assert dense_part(net.table.weight) is net.table.weight
