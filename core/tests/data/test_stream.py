import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import IterableDataset

from ftp.data.batches import share
from ftp.data.read import read
from ftp.data.stream import Update, Updates
from ftp.errors import UserError


def encode(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {"input_ids": [row["n"]] * (1 + row["n"] % 5)}


def stream(count: int = 50, files: int = 3) -> IterableDataset:
    def rows(shards: list[int]) -> Iterator[dict[str, int]]:
        for shard in shards:
            for number in range(shard, count, files):
                yield {"n": number}

    return IterableDataset.from_generator(rows, gen_kwargs={"shards": list(range(files))})


def updates(source: IterableDataset | None = None, **options: Any) -> Updates:
    return Updates(source or stream(), encode, **{"batch_size": 4, "seed": 1, "buffer": 17, **options})


def seen(each: Update) -> list[int]:
    return [ids[0] for ids in each.window.select(each.rows)["input_ids"]]


def test_an_epoch_has_every_row_once_and_the_next_another_order() -> None:
    updates_seen = [(each.epoch, seen(each)) for each in islice(updates(), 26)]
    for epoch in (0, 1):
        mine = [numbers for number, numbers in updates_seen if number == epoch]
        assert sorted(chain(*mine)) == list(range(50))
        assert [len(numbers) for numbers in mine] == [4] * 12 + [2]
    assert updates_seen[:13] != [(0, numbers) for _, numbers in updates_seen[13:]]
    assert updates_seen == [(each.epoch, seen(each)) for each in islice(updates(), 26)]
    first = list(chain(*(numbers for _, numbers in updates_seen[:4])))
    assert first != sorted(first)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"batch_tokens": 11}])
def test_resuming_after_any_update_goes_on_with_the_same_rows(options: dict[str, Any]) -> None:
    whole = [seen(each) for each in islice(updates(**options), 40)]
    for stop in (0, 1, 4, 5, 12, 13, 14, 25, 27):
        first = updates(**options)
        for _ in islice(first, stop):
            pass
        state = json.loads(json.dumps(first.state_dict()))
        second = updates(**options)
        second.load_state_dict(state)
        assert [seen(each) for each in islice(second, 40 - stop)] == whole[stop:], stop


def test_ranks_share_each_update() -> None:
    for each in islice(updates(), 13):
        parts = [share(each.rows, each.lengths, rank, 3) for rank in range(3)]
        assert sorted(np.concatenate(parts)) == sorted(each.rows)


def test_rows_count_from_the_beginning_of_the_stream(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f'{{"n": {number}}}\n' for number in range(30)))
    source = read(tmp_path / "a.jsonl", streaming=True)["train"]
    for each in islice(updates(source), 8):
        assert each.window.select(each.rows)["row"][:] == seen(each)


def test_a_stream_without_rows_is_told() -> None:
    with pytest.raises(UserError, match="no rows"):
        next(iter(updates(stream(0))))
