"""The order in which training sees the rows: updates, their parts by rank, and the forward passes of each part.

All of it is arithmetic on row lengths: a function of its arguments alone, so every rank computes the same plan and a
resumed run goes on where it was. Imports numpy and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Lengths = Sequence[int] | NDArray[np.integer[Any]]


def plan(
    lengths: Lengths, *, batch_size: int, batch_tokens: int | None = None, seed: int, epoch: int, shuffle: bool = True
) -> list[Rows]:
    """The rows of every update of one epoch; each row is in exactly one.

    `batch_size`: rows an update; the last has what is left. With `batch_tokens` (which replaces `batch_size`) an
    update takes rows as long as their `lengths` (tokens) sum to no more; a row longer than that is an update alone.
    The order is drawn from `seed` and `epoch`.
    """
    sizes = np.asarray(lengths)
    order = np.arange(len(sizes), dtype=np.int64)
    if shuffle:
        order = np.random.default_rng([seed, epoch]).permutation(order)
    if batch_tokens is None:
        return _filled(order, sizes, batch_size, None)
    return _filled(order, sizes, None, batch_tokens)


def share(rows: Rows, lengths: Lengths, rank: int, world: int) -> Rows:
    """One rank's rows of an update, in the update's order; all ranks' parts together are the update.

    The longest row goes first, each to the rank with the fewest tokens (then rows) so far. With fewer rows than ranks
    some ranks have none.
    """
    rows = np.asarray(rows, dtype=np.int64)
    sizes = np.asarray(lengths)[rows]
    loads = [(0, 0, each) for each in range(world)]
    owner = np.empty(len(rows), dtype=np.int64)
    for place in np.argsort(-sizes, kind="stable"):
        tokens, count, lightest = min(loads)
        owner[place] = lightest
        loads[lightest] = (tokens + int(sizes[place]), count + 1, lightest)
    mine: Rows = rows[owner == rank]
    return mine


def micro(rows: Rows, lengths: Lengths, *, max_rows: int | None = None, max_tokens: int | None = None) -> list[Rows]:
    """The forward passes of one rank's rows, in order: at most `max_rows` rows and `max_tokens` tokens each.

    A row longer than `max_tokens` is a pass alone.
    """
    return _filled(np.asarray(rows, dtype=np.int64), np.asarray(lengths), max_rows, max_tokens)


def _filled(order: Rows, sizes: NDArray[np.integer[Any]], max_rows: int | None, max_tokens: int | None) -> list[Rows]:
    if any(limit is not None and limit < 1 for limit in (max_rows, max_tokens)):
        raise ValueError(f"a limit is at least 1 (rows {max_rows}, tokens {max_tokens})")
    if max_tokens is None:
        step = max_rows or max(1, len(order))
        return [order[start : start + step] for start in range(0, len(order), step)]
    cuts, tokens, count = [], 0, 0
    for place, size in enumerate(sizes[order].tolist()):
        if count and (tokens + size > max_tokens or (max_rows is not None and count >= max_rows)):
            cuts.append(place)
            tokens = count = 0
        tokens, count = tokens + size, count + 1
    return np.split(order, cuts) if len(order) else []
