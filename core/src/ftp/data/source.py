"""Where the loop gets the rows of each update: stored and encoded once, or streamed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ftp.data import batches
from ftp.settings import Settings
from ftp.types import Row

if TYPE_CHECKING:
    from datasets import Dataset


class Source(Protocol):
    """The updates of a run: how many, and the encoded rows of each for one rank. The same (seed, step, world) gives the
    same rows, wherever a run was resumed."""

    total: int
    per_epoch: float

    def updates(self, start: int, rank: int, world: int) -> Iterator[list[Row]]:
        """Encoded rows of update `start`, `start + 1`, ... that belong to `rank`; maybe none in a last partial one."""
        ...

    def names(self, rows: Sequence[Row]) -> list[int]:
        """The numbers of the training rows that encoded rows came from."""
        ...

    def any_row(self) -> Row:
        """One encoded row, for a rank without rows."""
        ...


class Stored:
    """Encoded rows in a memory-mapped file, in a new random order each epoch; every row once an epoch."""

    def __init__(self, encoded: Dataset, settings: Settings) -> None:
        self.encoded, self.settings = encoded, settings
        self.lengths = np.asarray(encoded["length"])
        self.per_epoch = float(len(self._plan(0)))
        if settings.max_steps is not None:
            self.total = settings.max_steps
        elif settings.batch_tokens is None:
            self.total = math.ceil(settings.epochs * self.per_epoch)
        else:  # epochs of a token budget differ in length
            whole, part = divmod(settings.epochs, 1)
            self.total = sum(len(self._plan(epoch)) for epoch in range(int(whole)))
            self.total += math.ceil(part * len(self._plan(int(whole))))

    def _plan(self, epoch: int) -> list[np.ndarray]:
        return batches.plan(self.lengths, batch_size=self.settings.batch_size, batch_tokens=self.settings.batch_tokens,
                            seed=self.settings.seed, epoch=epoch)

    def updates(self, start: int, rank: int, world: int) -> Iterator[list[Row]]:
        step, epoch = 0, 0
        while step < self.total:
            plan = self._plan(epoch)
            for rows in plan:
                if step >= self.total:
                    return
                if step >= start:
                    yield self._fetch(batches.share(rows, self.lengths, rank, world))
                step += 1
            epoch += 1

    def _fetch(self, rows: np.ndarray) -> list[Row]:
        return as_rows(self.encoded[rows.tolist()]) if len(rows) else []

    def names(self, rows: Sequence[Row]) -> list[int]:
        return [int(row["row"]) for row in rows]

    def any_row(self) -> Row:
        shortest: Mapping[str, Any] = self.encoded[int(self.lengths.argmin())]
        return shortest


def as_rows(columns: Mapping[str, list[Any]]) -> list[Row]:
    """Columns of equal length as a list of rows."""
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
