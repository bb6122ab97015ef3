"""Updates from rows that do not fit on the disk: a stream as windows, each a small data set with the ordinary plan.

A window of `buffer` rows is read, encoded, and dealt out in a random order, then the next. Unlike a sliding shuffle
buffer this resumes exactly: the state is where the window began and how many of its updates are done.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypedDict

from ftp.data import arrow, batches, encode, tables
from ftp.data.batches import Rows
from ftp.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, IterableDataset
    from numpy.typing import NDArray


WINDOWS_OF_EPOCH = 1_000_003
"""More windows than an epoch has, so that each window of each epoch has an order of its own."""


class StreamState(TypedDict):
    """Where a stream is, as plain values that are fit for JSON.

    `row`: the first row of the window, counted from the beginning of the stream; `done`: updates of the window that came
    already; `stream`: the state of the stream before the window, None at its beginning.
    """

    epoch: int
    window: int
    row: int
    done: int
    stream: dict[str, Any] | None


@dataclass(frozen=True)
class Update:
    """One update. Give `rows` and `lengths` to `batches.share` and `batches.micro`, as with a plan of stored rows.

    Attributes:
        window: the encoded rows that the update is taken from.
        rows: the numbers of its rows in `window`.
        lengths: tokens of all rows of `window`.
        epoch: how often the stream was read to its end before.
    """

    window: Dataset
    rows: Rows
    lengths: NDArray[np.int64]
    epoch: int


class Updates:
    """An endless iterator of `Update`s over a stream, epoch after epoch; the same on every rank.

    Every rank reads the whole stream and takes its `batches.share` of each update, so that updates are the same however
    many ranks there are. `row` of an encoded row counts from the beginning of the stream. What is left over at the end of a
    window (rows that make none or several, a token budget) makes a smaller update.

    Args:
        buffer: rows of a window, rounded down to whole updates.

    Raises:
        UserError: the stream has no rows.
    """

    def __init__(
        self,
        stream: IterableDataset,
        loss_encode: encode.Encode,
        *,
        batch_size: int,
        batch_tokens: int | None = None,
        seed: int,
        buffer: int = 8192,
        shuffle: bool = True,
    ) -> None:
        self.stream = stream
        self.loss_encode = loss_encode
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        self.seed = seed
        self.shuffle = shuffle
        self.buffer = max(batch_size, buffer - buffer % batch_size)
        self.state = StreamState(epoch=0, window=0, row=0, done=0, stream=None)
        # `datasets` cannot go back to the first row but from a state that was taken before it.
        self.start = copy.deepcopy(stream.state_dict())

    def state_dict(self) -> StreamState:
        """Where the stream is after the update that came last."""
        return copy.deepcopy(self.state)

    def load_state_dict(self, state: StreamState) -> None:
        """Go on after the update at which `state_dict` was taken; takes effect at the next `iter`."""
        self.state = copy.deepcopy(state)

    def __iter__(self) -> Iterator[Update]:
        while True:
            has_rows = self.state["row"] > 0
            for update in self._epoch():
                has_rows = True
                yield update
            if not has_rows:
                raise UserError("the training stream gave no rows", "give at least one row")
            self.state = StreamState(epoch=self.state["epoch"] + 1, window=0, row=0, done=0, stream=None)

    def _epoch(self) -> Iterator[Update]:
        import numpy as np

        self.stream.load_state_dict(copy.deepcopy(self.state["stream"] or self.start))
        source = iter(self.stream)
        while rows := list(islice(source, self.buffer)):
            after = copy.deepcopy(self.stream.state_dict())
            encoded = encode.numbered(rows, self.loss_encode, "train", self.state["row"])
            if encoded:  # none where all rows of a window are left out
                window = tables.dataset([encode.narrow(arrow.table(list(enumerate(encoded))))])
                lengths = np.asarray(window.with_format("numpy")["length"][:], dtype=np.int64)
                updates = batches.plan(
                    lengths,
                    batch_size=self.batch_size,
                    batch_tokens=self.batch_tokens,
                    seed=self.seed,
                    epoch=self.state["epoch"] * WINDOWS_OF_EPOCH + self.state["window"],
                    shuffle=self.shuffle,
                )
                for update_rows in updates[self.state["done"] :]:
                    self.state["done"] += 1
                    yield Update(window, update_rows, lengths, self.state["epoch"])
            self.state = StreamState(
                epoch=self.state["epoch"],
                window=self.state["window"] + 1,
                row=self.state["row"] + len(rows),
                done=0,
                stream=after,
            )
