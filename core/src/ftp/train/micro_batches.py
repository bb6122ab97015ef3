"""The rows of an update, as batches that fit into memory. Heavy: imports torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftp.data.updates import Source
from ftp.errors import UserError
from ftp.settings import Settings
from ftp.types import Batch, Loss, Row, StartedRun


@dataclass(frozen=True)
class Limits:
    """How much goes through the network at once on one device.

    Args:
        rows: of a forward pass at most; None: no limit.
        tokens: of a forward pass at most; a longer row is one alone.
        are_kept_together: the loss compares the rows of a batch (`Loss.over` is "batch"), so that all of an update go at once.
    """

    rows: int | None
    tokens: int
    are_kept_together: bool = False

    def split(self, rows: Sequence[Row]) -> list[list[Row]]:
        """The rows of each forward pass; one of none where a rank has no rows, as all ranks take the same path."""
        from ftp.data.batches import micro

        if not rows:
            return [[]]
        if self.are_kept_together:
            return [list(rows)]
        lengths = np.array([row["length"] for row in rows])
        order = np.arange(len(rows))
        parts = []
        for indices in micro(order, lengths, max_rows=self.rows, max_tokens=self.tokens):
            parts.append([rows[i] for i in indices])
        return parts

    def halved(self, run: StartedRun, rows: Sequence[Row], world: int, error: Exception) -> Limits:
        """Half as much, shown to the user once.

        Args:
            rows: those that did not fit.
            world: number of processes.
            error: what was raised for want of memory.

        Raises:
            UserError: halving cannot help.
        """
        if self.are_kept_together:
            raise UserError(f"out of memory with the {len(rows)} rows of an update, and this loss compares them with one "
                            "another, so that they cannot be split", "fewer rows (--batch-size), shorter ones (--max-length), "
                            "--gradient-checkpointing, or a smaller model") from error
        largest = max(map(len, self.split(rows)))
        if largest <= 1 or world > 1:
            # ranks that halve at different moments would wait for one another for ever
            why = "one row alone does not fit" if largest <= 1 else "ranks cannot split a batch on their own"
            raise UserError(f"out of memory, and {why}", "shorter rows (--max-length), --micro-batch-size, "
                            "--gradient-checkpointing, or a smaller model") from error
        half = math.ceil(largest / 2)
        run.tell(f"out of memory with {largest} rows at once: now {half} at once; an update still has all its rows")
        return Limits(half, self.tokens)


def limits_of(settings: Settings, loss: Loss) -> Limits:
    """The limits that a run begins with. Raises `UserError` for an option that the loss has no use for."""
    if loss.over == "batch" and settings.micro_batch_size is not None:
        raise UserError(f"--micro-batch-size {settings.micro_batch_size}: the loss '{loss.name}' compares the rows of a batch "
                        "with one another, so that an update is never split", "leave it out, or make updates smaller "
                        "(--batch-size)")
    return Limits(settings.micro_batch_size, settings.micro_batch_tokens, are_kept_together=loss.over == "batch")


def make_batch(loss: Loss, source: Source, rows: Sequence[Row]) -> Batch:
    """Encoded rows as a batch; a rank without rows gets one that weighs nothing, as all ranks take the same path."""
    if rows:
        return loss.collate(rows)
    stand_in = loss.collate([source.any_row()])
    return Batch(stand_in.inputs, 0, 0)
