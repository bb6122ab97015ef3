"""A pilot: one entry fitted on some rows for some updates, and what it answers to the rows of a fold. Heavy: imports torch.

It is what a run does between its rows and its predictions, without checkpoints, verdicts, a saved model or a report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.advise.pool import HELD
from ftp.advise.types import Outcome
from ftp.errors import PluginError, UserError, describe
from ftp.types import Batch, Data, Evaluation, LossOut, Predictions, StartedRun

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEVER = 10**9
"""Updates between evaluations and checkpoints of a pilot, which has none before its end."""


@dataclass(frozen=True)
class Job:
    """What a pilot is to do.

    Attributes:
        entry: the name of what is tried.
        plugins: those of the run.
        plugins_from: plugins that are not installed.
        options: of the run, by dotted key.
        data: its training rows, and as validation the rows that it answers.
        rows: `[rows] int64`, the numbers of the answered rows in the pool.
        fold: which fold they are.
        updates: how many to train.
        batch_size: rows of an update.
    """

    entry: str
    plugins: tuple[str, ...]
    plugins_from: tuple[str, ...]
    options: Mapping[str, object]
    data: Data
    rows: NDArray[np.int64]
    fold: int
    updates: int
    batch_size: int


def measure(job: Job, folder: Path) -> Outcome:
    """Do a job. A mistake or a fault of a plugin is the `error` of the outcome.

    Args:
        job: what to do.
        folder: where a plugin may write while it trains.
    """
    import numpy as np

    began = time.perf_counter()
    nothing = Outcome(job.entry, np.zeros(0, dtype=np.int64), np.zeros(0), updates=job.updates, folds=(job.fold,))
    num_train_rows = len(job.data.splits["train"])
    try:
        predictions, scores = _train_and_answer(job, folder)
    except (UserError, PluginError) as error:
        return _replaced(nothing, error=str(error).splitlines()[0])
    except Exception as error:  # of core or a library: the race goes on without it
        return _replaced(nothing, error=describe(error))
    return Outcome(job.entry, job.rows, np.asarray(predictions.losses, dtype=np.float64), tuple(predictions.answers), scores,
                   time.perf_counter() - began, 0, num_train_rows, job.updates, (job.fold,))


def _replaced(outcome: Outcome, error: str) -> Outcome:
    import dataclasses

    return dataclasses.replace(outcome, error=error)


def _train_and_answer(job: Job, folder: Path) -> tuple[Predictions, dict[str, float]]:
    """The answers to the rows of the fold, and their scores."""
    from ftp.data.collect import encode_all
    from ftp.evaluate.predict import predict
    from ftp.evaluate.scoring import score
    from ftp.runs.build import build, make_source
    from ftp.train import loop

    run = _started(job, folder)
    model, loss = build(run, job.data)
    encoded = encode_all(run, job.data, loss)
    source = make_source(run, job.data, encoded, loss)
    answered: list[Predictions] = []

    def evaluate(step: int, forward: Callable[[Batch], LossOut] | None) -> tuple[Evaluation, float]:
        answered.append(predict(run, model, loss, job.data.splits[HELD], encoded[HELD], HELD, forward))
        return Evaluation(step, answered[-1].loss), answered[-1].loss

    if job.updates:
        loop.train(run, model, loss, source, evaluate, lambda evaluation, history: None, saves_checkpoints=False)
    if not answered:  # as it is
        evaluate(0, None)
    scores = score(run, job.data, {HELD: answered[-1]}, model)
    return answered[-1], {own.name: own.value for own in scores}


def _started(job: Job, folder: Path) -> StartedRun:
    """The run of a job, which writes nothing down."""
    from ftp.folder.log import Log
    from ftp.host.quiet import quiet_libraries
    from ftp.plugins.call import Hooks
    from ftp.plugins.plan import prepare
    from ftp.train.device import accelerator

    quiet_libraries()
    amount = {"batch_size": job.batch_size, "max_steps": job.updates, "early_stopping_patience": 0, "eval_steps": NEVER,
              "save_steps": NEVER, "logging_steps": NEVER, "eval_on_start": False}
    prepared = prepare(job.plugins, job.plugins_from, [("ftp advise", {**job.options, **amount})])
    return StartedRun(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), folder, Log(None, writer=False),
                      accelerator(prepared.settings))
