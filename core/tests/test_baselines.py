"""What a run is compared with."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ftp.evaluate.baselines import word_memory
from ftp.types import Data

LABELS = ("O", "B-LOC", "B-PER")


def rows(*sentences: tuple[list[str], list[int]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"tokens": tokens, "tags": tags} for tokens, tags in sentences])


def test_each_word_has_the_tag_that_it_had_most_often() -> None:
    train = rows((["Oslo", "is", "big"], [1, 0, 0]), (["Oslo", "Hansen", "left"], [2, 2, 0]), (["in", "Oslo"], [0, 1]))
    test = rows((["Hansen", "left", "Oslo", "again"], [2, 0, 2, 1]), ([], []), (["big"], [0]))
    predicted = word_memory(Data({"train": train, "test": test}, "tagged", LABELS), {"test": test})["test"]
    assert [answer.answer for answer in predicted.answers] == [["B-PER", "O", "B-LOC", "O"], [], ["O"]]
    o, loc, per = 4 / 8, 2 / 8, 2 / 8  # shares of all words; each word counts as if it had been there once more, as all are
    first = [(1 + per) / 2, (1 + o) / 2, (1 + per) / 4, loc]
    last = (1 + o) / 2
    assert predicted.losses[0] == pytest.approx(-sum(map(math.log, first)) / 4)
    assert math.isnan(predicted.losses[1])
    assert predicted.loss == pytest.approx(-(sum(map(math.log, first)) + math.log(last)) / 5)


def test_a_tag_that_training_lacks_costs_much_but_not_everything() -> None:
    train, test = rows((["Oslo", "is"], [1, 0])), rows((["Oslo"], [2]))
    predicted = word_memory(Data({"train": train}, "tagged", LABELS), {"test": test})["test"]
    assert 10 < predicted.loss < 50
