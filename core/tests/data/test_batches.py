from collections import Counter
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from ftp.data.batches import micro, plan, share

CASES = [(seed, np.random.default_rng(seed).integers(1, 100, size=size)) for seed, size in enumerate((1, 2, 7, 64, 500))]


@pytest.mark.parametrize(("seed", "lengths"), CASES)
@pytest.mark.parametrize("limits", [{"batch_size": 1}, {"batch_size": 8}, {"batch_size": 8, "batch_tokens": 150}])
def test_every_row_is_in_exactly_one_update(seed: int, lengths: Any, limits: dict[str, Any]) -> None:
    updates = plan(lengths, **limits, seed=seed, epoch=0)
    assert sorted(np.concatenate(updates)) == list(range(len(lengths)))
    if "batch_tokens" in limits:
        assert all(lengths[rows].sum() <= 150 or len(rows) == 1 for rows in updates)
        joined = [lengths[a].sum() + lengths[b[0]] for a, b in pairwise(updates)]
        assert all(tokens > 150 for tokens in joined), "an update is as full as its order allows"
    else:
        assert [len(rows) for rows in updates[:-1]] == [limits["batch_size"]] * (len(updates) - 1)
        assert 1 <= len(updates[-1]) <= limits["batch_size"]


def test_the_plan_hangs_on_seed_and_epoch_alone() -> None:
    def order(**options: Any) -> list[int]:
        return np.concatenate(plan([1] * 50, batch_size=8, **{"seed": 1, "epoch": 0, **options})).tolist()

    assert order() == order()
    orders = {tuple(order(seed=seed, epoch=epoch)) for seed, epoch in product(range(5), repeat=2)}
    assert len(orders) == 25
    assert order(shuffle=False) == list(range(50))
    assert plan([], batch_size=4, seed=0, epoch=0) == []
    with pytest.raises(ValueError, match="at least 1"):
        plan([1], batch_size=0, seed=0, epoch=0)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize(("seed", "lengths"), CASES)
def test_ranks_share_an_update_without_overlap_and_evenly(seed: int, lengths: Any, world: int) -> None:
    rows = np.random.default_rng(seed).permutation(len(lengths))[: max(1, len(lengths) // 2)]
    parts = [share(rows, lengths, rank, world) for rank in range(world)]
    assert sorted(np.concatenate(parts)) == sorted(rows)
    position = {row: number for number, row in enumerate(rows.tolist())}
    assert all([position[row] for row in part.tolist()] == sorted(position[row] for row in part.tolist()) for part in parts)
    tokens = [lengths[part].sum() for part in parts]
    assert max(tokens) - min(tokens) <= lengths[rows].max()


def test_equal_lengths_give_equal_counts() -> None:
    counts = Counter(len(share(np.arange(10), [5] * 10, rank, 4)) for rank in range(4))
    assert counts == {2: 2, 3: 2}
    assert [len(share(np.arange(1), [5], rank, 3)) for rank in range(3)] == [1, 0, 0]


@pytest.mark.parametrize(("seed", "lengths"), CASES)
def test_forward_passes_keep_to_their_limits(seed: int, lengths: Any) -> None:
    rows = np.random.default_rng(seed).permutation(len(lengths))
    for most_rows, most_tokens in ((4, None), (None, 120), (3, 120), (None, None)):
        passes = micro(rows, lengths, max_rows=most_rows, max_tokens=most_tokens)
        assert np.concatenate(passes).tolist() == rows.tolist()
        assert all(len(part) > 0 for part in passes)
        assert all(most_rows is None or len(part) <= most_rows for part in passes)
        assert all(most_tokens is None or lengths[part].sum() <= most_tokens or len(part) == 1 for part in passes)
    assert micro(rows[:0], lengths, max_tokens=5) == []
