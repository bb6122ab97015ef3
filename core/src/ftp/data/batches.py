"""The order in which training sees the rows: updates, their parts by rank, and the forward passes of each part.

All of it is arithmetic on row lengths: a function of its arguments alone, so every rank computes the same plan and a
resumed run goes on where it was. Imports numpy and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
"""Numbers of encoded rows."""

Lengths = Sequence[int] | NDArray[np.int64]
"""Tokens of each encoded row."""


def plan(
    lengths: Lengths, *, batch_size: int, batch_tokens: int | None = None, seed: int, epoch: int, shuffle: bool = True
) -> list[Rows]:
    """The rows of every update of one epoch; each row is in exactly one.

    Args:
        lengths: tokens of each row.
        batch_size: rows an update; the last has what is left.
        batch_tokens: replaces `batch_size`: an update takes rows as long as they have no more tokens together; a row longer
            than that is an update alone.
        seed: the order is drawn from it and `epoch`.
    """
    sizes = np.asarray(lengths)
    order = np.arange(len(sizes), dtype=np.int64)
    if shuffle:
        order = np.random.default_rng([seed, epoch]).permutation(order)
    if batch_tokens is None:
        return _fill(order, sizes, batch_size, None)
    return _fill(order, sizes, None, batch_tokens)


def share(rows: Rows, lengths: Lengths, rank: int, world: int) -> Rows:
    """One rank's rows of an update, in the update's order; all ranks' parts together are the update.

    With fewer rows than ranks some ranks have none.

    Args:
        lengths: tokens of all rows, also of those of other updates.
        world: the number of ranks.
    """
    rows = np.asarray(rows, dtype=np.int64)
    sizes = np.asarray(lengths)[rows]
    # The longest row goes first, each to the rank with the fewest tokens (then rows) so far.
    loads = [(0, 0, each) for each in range(world)]
    owner = np.empty(len(rows), dtype=np.int64)
    for i in np.argsort(-sizes, kind="stable"):
        tokens, count, lightest = min(loads)
        owner[i] = lightest
        loads[lightest] = (tokens + int(sizes[i]), count + 1, lightest)
    own_rows: Rows = rows[owner == rank]
    return own_rows


def micro(rows: Rows, lengths: Lengths, *, max_rows: int | None = None, max_tokens: int | None = None) -> list[Rows]:
    """The forward passes of one rank's rows, in order: at most `max_rows` rows and `max_tokens` tokens each.

    A row longer than `max_tokens` is a pass alone.
    """
    return _fill(np.asarray(rows, dtype=np.int64), np.asarray(lengths), max_rows, max_tokens)


def _fill(order: Rows, sizes: NDArray[np.int64], max_rows: int | None, max_tokens: int | None) -> list[Rows]:
    """Rows cut into parts that are as large as the limits allow; None: no such limit."""
    if any(limit is not None and limit < 1 for limit in (max_rows, max_tokens)):
        raise ValueError(f"a limit is at least 1 (rows {max_rows}, tokens {max_tokens})")
    if max_tokens is None:
        step = max_rows or max(1, len(order))
        return [order[start : start + step] for start in range(0, len(order), step)]
    # A row is never parted: one that is longer than the limit fills a part alone.
    cuts: list[int] = []
    tokens = 0
    count = 0
    for i, size in enumerate(sizes[order].tolist()):
        if count and (tokens + size > max_tokens or (max_rows is not None and count >= max_rows)):
            cuts.append(i)
            tokens = count = 0
        tokens += size
        count += 1
    return np.split(order, cuts) if len(order) else []
