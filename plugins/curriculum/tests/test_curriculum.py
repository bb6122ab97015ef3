"""Which rows each update draws from, and when all of them have their turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from datasets import Dataset

import ftp
from ftp.types import Data
from ftp_curriculum import Curriculum
from ftp_testing.domains import a_run

LENGTHS = np.random.default_rng(0).permutation(100) + 1  # 1 to 100, each once
ROWS = np.arange(100)
DATA = Data({"train": Dataset.from_dict({"text": ["a"] * 100, "level": [-int(length) for length in LENGTHS]})}, "labelled")


def order(plugin: Curriculum, epoch: int, **settings: Any) -> list[Any]:
    run = a_run("labelled", **{"batch_size": 8, **settings})
    return plugin.order_rows(run, DATA, LENGTHS, ROWS, epoch)


def test_the_share_of_easy_rows_grows_as_the_paper_says() -> None:
    plugin = Curriculum(start=0.1, until=2.0)
    for epoch in (0, 1):
        for number, update in enumerate(order(plugin, epoch)):
            time = (epoch + number / 13) / 2  # 13 updates an epoch
            share = np.sqrt(time * (1 - 0.1**2) + 0.1**2)
            assert len(update) == len(set(update.tolist())) == 8
            assert LENGTHS[update].max() <= max(8, np.ceil(share * 100))
    late = order(plugin, 1)[-1]
    assert LENGTHS[late].max() > 50, "hard rows come in at the end"


def test_afterwards_every_row_is_there_once_an_epoch() -> None:
    updates = order(Curriculum(until=1.0), 1)
    assert sorted(np.concatenate(updates).tolist()) == list(range(100)) and [len(update) for update in updates] == [8] * 12 + [4]


def test_the_order_follows_from_seed_and_epoch() -> None:
    plugin = Curriculum()
    first = np.concatenate(order(plugin, 0))
    assert np.array_equal(first, np.concatenate(order(plugin, 0)))
    assert not np.array_equal(first, np.concatenate(order(plugin, 0, seed=1)))


def test_a_column_says_what_is_hard() -> None:
    [update, *_] = order(Curriculum(by="level"), 0)
    assert LENGTHS[update].min() > 90, "the longest have the lowest level"
    with pytest.raises(ftp.UserError, match="no column 'grade'"):
        order(Curriculum(by="grade"), 0)
    with pytest.raises(ftp.UserError, match="holds no numbers"):
        order(Curriculum(by="text"), 0)
    with pytest.raises(ftp.UserError, match="leave out --batch-tokens"):
        order(Curriculum(), 0, batch_tokens=100)
