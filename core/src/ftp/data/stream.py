"""Updates from rows that do not fit on the disk: a stream as windows, each a small data set with the ordinary plan.

A window of `buffer` rows is read, encoded, and dealt out in a random order, then the next. Unlike a sliding shuffle
buffer this resumes exactly: the state is where the window began and how many of its updates are done.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ftp.data import arrow, batches, encode, tables
from ftp.data.batches import Rows
from ftp.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, IterableDataset
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Update:
    """One update: the places `rows` in the encoded data set `window`; `lengths` are the tokens of all its rows.

    Give `rows` and `lengths` to `batches.share` and `batches.micro`, as with a plan of stored rows.
    """

    window: Dataset
    rows: Rows
    lengths: NDArray[np.int64]
    epoch: int


class Updates:
    """An endless iterator of `Update`s over a stream, epoch after epoch; the same on every rank.

    Every rank reads the whole stream and takes its `batches.share` of each update, so that updates are the same however
    many ranks there are. `row` of an encoded row counts from the beginning of the stream. `buffer` is rounded down to
    whole updates; what is left over at the end of a window (rows that make none or several, a token budget) makes a
    smaller update. UserError for a stream without rows.
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
        self.stream, self.loss_encode = stream, loss_encode
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
        self.seed, self.shuffle = seed, shuffle
        self.buffer = max(batch_size, buffer - buffer % batch_size)
        self.state: dict[str, Any] = {"epoch": 0, "window": 0, "row": 0, "done": 0, "stream": None}
        self.start = copy.deepcopy(stream.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """The place after the update given last; plain values, fit for JSON."""
        return copy.deepcopy(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the update at which `state_dict` was taken; takes effect at the next `iter`."""
        self.state = copy.deepcopy(state)

    def __iter__(self) -> Iterator[Update]:
        while True:
            any_rows = self.state["row"] > 0
            for update in self._epoch():
                any_rows = True
                yield update
            if not any_rows:
                raise UserError("the training stream gave no rows", "give at least one row")
            self.state = {"epoch": self.state["epoch"] + 1, "window": 0, "row": 0, "done": 0, "stream": None}

    def _epoch(self) -> Iterator[Update]:
        import numpy as np

        self.stream.load_state_dict(copy.deepcopy(self.state["stream"] or self.start))
        source = iter(self.stream)
        while window := list(islice(source, self.buffer)):
            after = copy.deepcopy(self.stream.state_dict())
            made = encode.numbered(window, self.loss_encode, "train", self.state["row"])
            if made:
                rows = tables.dataset([encode.narrow(arrow.table(list(enumerate(made))))])
                lengths = np.asarray(rows.with_format("numpy")["length"][:], dtype=np.int64)
                order = batches.plan(
                    lengths,
                    batch_size=self.batch_size,
                    batch_tokens=self.batch_tokens,
                    seed=self.seed,
                    epoch=self.state["epoch"] * 1_000_003 + self.state["window"],
                    shuffle=self.shuffle,
                )
                for picked in order[self.state["done"] :]:
                    self.state["done"] += 1
                    yield Update(rows, picked, lengths, self.state["epoch"])
            self.state = {
                "epoch": self.state["epoch"],
                "window": self.state["window"] + 1,
                "row": self.state["row"] + len(window),
                "done": 0,
                "stream": after,
            }
