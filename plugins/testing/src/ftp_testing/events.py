"""The events of a run, in the order and with the values that the loop sends (`ftp.train.loop.train`). Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ftp.folder.checkpoints import checkpoint_path
from ftp.folder.paths import CHECKPOINTS
from ftp.types import Evaluated, Event, Failed, Finished, Judged, Result, Risk, Saved, Score, Started, Step

TOTAL = 4
"""Updates of a run whose events are made; an evaluation and a checkpoint after every second one."""


def started(step: int = 0) -> Started:
    """A run begins, or goes on after update `step`."""
    return Started(step, TOTAL)


def stepped(step: int, loss: float, grad_norm: float | None, metrics: Mapping[str, float] | None = None) -> Step:
    """An update was done. `grad_norm`: None where whoever answered `train_step` gave none."""
    return Step(step, loss, grad_norm, learning_rate=5e-5, epoch=step / TOTAL, rows_per_second=12.5, tokens_per_second=1600.0,
                memory=512 * 2**20, metrics=dict(metrics or {}))


def evaluated(step: int, loss: float) -> Evaluated:
    """The validation rows were scored."""
    return Evaluated(step, loss, loss, (Score("loss", loss, "min", "validation", 8),))


def judged(step: int, stage: str) -> Judged:
    """A check gave a verdict."""
    return Judged(step, stage, (Risk("kit", "ok", "nothing was found", stage=stage),))


def of_a_run(folder: Path, first: int = 0, last: int = TOTAL) -> Iterator[Event]:
    """What a run sends from update `first` (that it was resumed after) to `last`. Before the last one of all: interrupted."""
    yield judged(0, "data")
    yield judged(0, "start")
    yield started(first)
    for step in range(first + 1, last + 1):
        yield stepped(step, loss=2.0 * 0.9**step, grad_norm=1.0 if step % 2 else None)
        evaluates = step % 2 == 0
        if evaluates:
            yield evaluated(step, 2.1 * 0.9**step)
            yield judged(step, "evaluation")
        if evaluates or step == last:  # who is interrupted saves first
            yield Saved(step, checkpoint_path(folder / CHECKPOINTS, step))
    if last < TOTAL:
        yield Failed(last, KeyboardInterrupt())
        return
    yield judged(last, "end")
    yield Finished(last, Result(folder, (), (), (), last, 1.0, 10, 100, "the schedule is done"))
