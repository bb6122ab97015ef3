"""The events of a run, in the order and with the values that the loop sends (`ftp.train.loop.train`). Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftp.types import Event

TOTAL = 4
"""Updates of a run whose events are made; an evaluation and a checkpoint after every second one."""


def started(step: int = 0) -> Event:
    """A run begins, or goes on after update `step`."""
    return Event("started", step, {"total": TOTAL})


def stepped(step: int, loss: float, grad_norm: float | None, metrics: Mapping[str, float] | None = None) -> Event:
    """An update was done. `grad_norm`: None where whoever answered `train_step` gave none."""
    values: dict[str, Any] = {"loss": loss, "grad_norm": grad_norm, "rows_per_second": 12.5, "tokens_per_second": 1600.0,
                              "memory": 512 * 2**20, **(metrics or {}), "learning_rate": 5e-5}
    return Event("step", step, values)


def of_a_run(folder: Path, first: int = 0, last: int = TOTAL) -> Iterator[Event]:
    """What a run sends from update `first` (that it was resumed after) to `last`. Before the last one of all: interrupted."""
    yield started(first)
    for step in range(first + 1, last + 1):
        yield stepped(step, loss=2.0 * 0.9**step, grad_norm=1.0 if step % 2 else None)
        evaluates = step % 2 == 0
        if evaluates:
            yield Event("evaluated", step, {"loss": 2.1 * 0.9**step})
        if evaluates or step == last:  # who is interrupted saves first
            yield Event("saved", step, {"path": str(folder / "checkpoints" / f"step-{step}")})
    yield Event("ended", last, {"reason": "the schedule is done" if last == TOTAL else "interrupted"})
