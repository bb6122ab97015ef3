"""Where the loop gets the rows of each update: stored and encoded once, streamed, or made by the network of prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ftp.data import batches
from ftp.data.encode import Encode
from ftp.data.tables import as_rows
from ftp.errors import PluginError, UserError
from ftp.settings import Settings
from ftp.types import EncodedRow, Loss, Row

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from ftp.data.stream import StreamState

UpdateRows = Sequence[int] | NDArray[np.int64]
"""Numbers of the encoded rows of one update."""

Order = Callable[[NDArray[np.int64], NDArray[np.int64], int], Sequence[UpdateRows]]
"""`order(lengths, rows, epoch)`: the updates of an epoch, as the hook `order_rows` gives them."""


class Source(Protocol):
    """The updates of a run: how many, and the encoded rows of each for one rank. The same (seed, step, world) gives the
    same rows, wherever a run was resumed."""

    total: int
    """Updates of the run."""
    per_epoch: float
    """Updates of an epoch, as far as that is known."""
    stride: int
    """Updates that belong together: training begins, and is saved, only before the first or after the last of them."""

    def updates(self, start: int, rank: int, world: int, place: StreamState | None = None) -> Iterator[list[Row]]:
        """Encoded rows of update `start`, `start + 1`, ... that belong to `rank`; maybe none in a last partial one.

        Args:
            world: the number of ranks.
            place: what `place()` gave at `start`, where it was kept.
        """
        ...

    def place(self) -> StreamState | None:
        """Where a stream is, as plain values for a checkpoint; None where the number of the update says it all."""
        ...

    def names(self, rows: Sequence[Row]) -> list[int]:
        """The numbers of the training rows that encoded rows came from."""
        ...

    def any_row(self) -> Row:
        """One encoded row, for a rank without rows."""
        ...


def shuffled(
    settings: Settings, lengths: NDArray[np.int64], rows: NDArray[np.int64], epoch: int
) -> list[NDArray[np.int64]]:
    """The updates of an epoch in a new random order; every row once. What core answers to `order_rows`."""
    return batches.plan(lengths, batch_size=settings.batch_size, batch_tokens=settings.batch_tokens, seed=settings.seed,
                        epoch=epoch)


def count_updates(epochs: float, updates_in: Callable[[int], int]) -> int:
    """The updates of so many epochs, the last of which may be done in part.

    Args:
        updates_in: number of an epoch -> its updates: epochs of a token budget differ in length.
    """
    whole, part = divmod(epochs, 1)
    total = sum(map(updates_in, range(int(whole))))
    if part:
        # Rounded first: a tenth of ten updates is one, and not the two that ceil makes of 1.0000000000000009
        total += math.ceil(round(part * updates_in(int(whole)), 6))
    return total


class Stored:
    """Encoded rows in a memory-mapped file, in the order that `order_rows` gives each epoch.

    Args:
        order: None: a new random order each epoch.
    """

    stride = 1

    def __init__(self, encoded: Dataset, settings: Settings, order: Order | None = None) -> None:
        self.encoded = encoded
        self.lengths = np.asarray(encoded["length"])
        self.rows = np.asarray(encoded["row"])
        self.order = order or partial(shuffled, settings)
        first_epoch = len(self._updates_of(0))
        self.per_epoch = float(first_epoch)
        if settings.max_steps is not None:
            self.total = settings.max_steps
        else:
            # The order of a large set takes time, so that of the first epoch is not made again.
            self.total = count_updates(settings.epochs, lambda epoch: len(self._updates_of(epoch)) if epoch else first_epoch)

    def _updates_of(self, epoch: int) -> Sequence[UpdateRows]:
        return self.order(self.lengths, self.rows, epoch)

    def place(self) -> None:
        return None

    def updates(self, start: int, rank: int, world: int, place: StreamState | None = None) -> Iterator[list[Row]]:
        step = 0
        epoch = 0
        while step < self.total:
            for update in self._updates_of(epoch):
                if step >= self.total:
                    return
                if step >= start:  # a resumed run passes over the updates that were done
                    rows = np.asarray(update, dtype=np.int64)
                    yield self._fetch(batches.share(rows, self.lengths, rank, world))
                step += 1
            epoch += 1

    def _fetch(self, rows: NDArray[np.int64]) -> list[Row]:
        return as_rows(self.encoded[rows.tolist()]) if len(rows) else []

    def names(self, rows: Sequence[Row]) -> list[int]:
        return training_rows(rows)

    def any_row(self) -> Row:
        # Only so that every rank does a forward pass: the shortest costs least.
        shortest: Row = self.encoded[int(self.lengths.argmin())]
        return shortest


class Streamed:
    """Rows as they come, shuffled in a buffer; encoded on the way. Needs `--max-steps`, as nobody knows the number of rows."""

    stride = 1

    def __init__(
        self, rows: IterableDataset, loss: Loss, settings: Settings, tell: Callable[[str], None] = lambda note: None
    ) -> None:
        from ftp.data.stream import Updates

        if settings.max_steps is None:
            raise UserError("--streaming: the number of rows is not known", "say how many updates to train: --max-steps N")
        encode = _watched(loss.encode, settings.truncated_answers, tell)
        self.stream = Updates(rows, encode, batch_size=settings.batch_size, batch_tokens=settings.batch_tokens,
                              seed=settings.seed)
        self.total = settings.max_steps
        self.per_epoch = float(settings.max_steps)  # a stream has no epochs that anybody could count
        self._any: Row | None = None

    def place(self) -> StreamState:
        return self.stream.state_dict()

    def updates(self, start: int, rank: int, world: int, place: StreamState | None = None) -> Iterator[list[Row]]:
        if place is not None:
            self.stream.load_state_dict(place)
        # Without a place the stream is read from its beginning, up to the update that is asked for.
        skip = 0 if place is not None else start
        for step, update in enumerate(self.stream, start - skip):
            if step >= self.total:
                return
            if self._any is None:
                self._any = as_rows(update.window[[0]])[0]
            if step >= start:
                own_rows = batches.share(update.rows, update.lengths, rank, world)
                yield as_rows(update.window[own_rows.tolist()]) if len(own_rows) else []

    def names(self, rows: Sequence[Row]) -> list[int]:
        return training_rows(rows)

    def any_row(self) -> Row:
        if self._any is None:
            # The stream is put back: this row is still to come in an update.
            before = self.stream.state_dict()
            self._any = as_rows(next(iter(self.stream)).window[[0]])[0]
            self.stream.load_state_dict(before)
        return self._any


def _watched(encode: Encode, policy: str, tell: Callable[[str], None]) -> Encode:
    """`encode` for rows that nobody can count beforehand: each reason for which rows are left out is told once, and an answer
    that is cut is an error unless `policy` allows it."""

    def watched(rows: Sequence[Row]) -> Iterable[EncodedRow]:
        for row in encode(rows):
            if row.get("answer_cut") and policy == "error":
                raise UserError(f"a row's answer is cut, as it is longer than the model takes "
                                f"({row['answer_cut']} tokens)", "allow more (--max-length, --model), or say what to do with "
                                "such rows: leave them out, or train on what is left", "--truncated-answers drop (or keep)")
            if row.get("left_out"):
                tell(f"train: rows are left out as they come: {row['left_out']}")
            elif not (row.get("answer_cut") and policy == "drop"):
                yield row

    return watched


class Rolled:
    """Rows that the network makes of the prompts of another source, whose updates are the rollouts (`Loss.rollout`).

    A rollout depends on nothing but the weights, the seed and its number, and no checkpoint lies inside one: a resumed run
    makes the same rows again, so none of them need be saved.

    Args:
        seed: `seed(seed, number, rank)` sets every random state, for a reward that draws.
    """

    def __init__(self, prompts: Source, loss: Loss, settings: Settings, seed: Callable[[int, int, int], None]) -> None:
        self.prompts = prompts
        self.rollout = loss.rollout
        self.stride = loss.reuse
        self.seed = partial(seed, settings.seed)
        self.per_epoch = prompts.per_epoch * self.stride
        self.total = settings.max_steps if settings.max_steps is not None else prompts.total * self.stride
        self._any: Row | None = None

    def updates(self, start: int, rank: int, world: int, place: StreamState | None = None) -> Iterator[list[Row]]:
        number, skip = divmod(start, self.stride)
        for prompts in self.prompts.updates(number, rank, world, place):
            parts = self._rolled(prompts, number, rank)
            for step, rows in enumerate(parts[skip:], number * self.stride + skip):
                if step >= self.total:
                    return
                yield list(rows)
            number += 1
            skip = 0

    def _rolled(self, prompts: Sequence[Row], number: int, rank: int) -> Sequence[Sequence[Row]]:
        # Rollout -1 is that of `any_row`; seeds count from 0.
        self.seed(number + 1, rank)
        parts = self.rollout(prompts, number)
        if len(parts) != self.stride:
            raise PluginError(f"Loss.rollout gave the rows of {len(parts)} updates, Loss.reuse says {self.stride}")
        return parts

    def place(self) -> StreamState | None:
        return self.prompts.place()

    def names(self, rows: Sequence[Row]) -> list[int]:
        return self.prompts.names(rows)

    def any_row(self) -> Row:
        """A row of a rollout of one prompt, made once: all ranks ask for it together, before training."""
        if self._any is None:
            self._any = next(chain.from_iterable(self._rolled([self.prompts.any_row()], -1, 0)))
        return self._any


def training_rows(rows: Iterable[Row]) -> list[int]:
    """The numbers of the training rows that encoded rows came from."""
    return [int(row["row"]) for row in rows]
