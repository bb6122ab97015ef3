"""Each update has as many rows of each class, and a class deals all its rows before one comes again."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

import ftp
from ftp.types import Data
from ftp_balanced import Balanced
from ftp_testing.domains import a_run

LABELS = [0] * 60 + [1] * 30 + [2] * 6
DATA = Data({"train": Dataset.from_dict({"text": ["a"] * 96, "label": LABELS})}, "labelled", ("a", "b", "c"))
# the first row became two encoded ones
ROWS = np.array([0, *range(96)])
LENGTHS = np.ones(97, dtype=np.int64)


def order(epoch: int = 0, data: Data = DATA, **settings: Any) -> list[Any]:
    run = a_run("labelled", **{"batch_size": 9, **settings})
    return Balanced().order_rows(run, data, LENGTHS, ROWS, epoch)


def test_each_update_has_as_many_rows_of_each_class() -> None:
    updates = order()
    assert len(updates) == 11  # as without it
    for update in updates:
        classes = Counter(LABELS[ROWS[row]] for row in update)
        assert classes == {0: 3, 1: 3, 2: 3}


def test_a_class_deals_all_its_rows_before_one_comes_again() -> None:
    dealt = Counter(np.concatenate(order()).tolist())
    for label, (fewest, most) in {0: (0, 1), 1: (1, 2), 2: (5, 6)}.items():
        counts = {dealt[row] for row in range(97) if LABELS[ROWS[row]] == label}
        assert counts == {fewest, most}


def test_fewer_rows_than_classes_take_turns() -> None:
    counts = Counter(LABELS[ROWS[row]] for row in chain.from_iterable(order(batch_size=2)))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_the_order_follows_from_seed_and_epoch() -> None:
    first = np.concatenate(order())
    assert np.array_equal(first, np.concatenate(order()))
    assert not np.array_equal(first, np.concatenate(order(1))) and not np.array_equal(first, np.concatenate(order(seed=1)))


def test_rows_without_a_class_are_refused() -> None:
    with pytest.raises(ftp.UserError, match="no column 'label'"):
        order(data=Data({"train": Dataset.from_dict({"text": ["a"] * 96})}, "text"))
    with pytest.raises(ftp.UserError, match="leave out --batch-tokens"):
        order(batch_tokens=100)
