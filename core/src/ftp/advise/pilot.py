"""A pilot: one entry fitted on some rows for some updates, and what it answers to the rows of a fold. Heavy: imports torch.

It is what a run does between its rows and its predictions, the best weights picked by its validation rows; without checkpoints on
disk, verdicts, a saved model or a report.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.advise.pool import ANSWERED
from ftp.advise.types import Outcome
from ftp.errors import PluginError, UserError, describe
from ftp.types import Batch, Data, Evaluation, LossOut, Predictions, StartedRun

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

JOB = "job.json"
"""The file of a job that says all but its rows."""
NEVER = 10**9
"""Updates between checkpoints of a pilot, which has none."""


@dataclass(frozen=True)
class Job:
    """What a pilot is to do.

    Attributes:
        entry: the name of what is tried.
        plugins: those of the run.
        plugins_from: plugins that are not installed.
        options: of the run, by dotted key; what follows from the data has its value here.
        data: its rows; those of the split `ANSWERED` are answered.
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


def write_job(job: Job, folder: Path) -> None:
    """Put a job into a new folder, in files that run no code when they are read.

    Raises:
        TypeError: an option is no plain value.
    """
    folder.mkdir(parents=True)
    for split, rows in job.data.splits.items():
        rows.save_to_disk(folder / split)
    said = {"entry": job.entry, "plugins": job.plugins, "plugins_from": job.plugins_from, "options": dict(job.options),
            "splits": list(job.data.splits), "form": job.data.form, "labels": job.data.labels, "rows": job.rows.tolist(),
            "fold": job.fold, "updates": job.updates, "batch_size": job.batch_size}  # fmt: skip
    (folder / JOB).write_text(json.dumps(said), encoding="utf-8")


def read_job(folder: Path) -> Job:
    """The opposite of `write_job`."""
    import numpy as np
    from datasets import load_from_disk

    said = json.loads((folder / JOB).read_text(encoding="utf-8"))
    splits = {split: load_from_disk(str(folder / split)) for split in said["splits"]}
    data = Data(splits, said["form"], tuple(said["labels"]))
    return Job(said["entry"], tuple(said["plugins"]), tuple(said["plugins_from"]), said["options"], data,
               np.asarray(said["rows"], dtype=np.int64), said["fold"], said["updates"], said["batch_size"])


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
        return dataclasses.replace(nothing, error=_in_one_line(error))
    except Exception as error:  # of core or a library: the race goes on without it
        return dataclasses.replace(nothing, error=describe(error))
    return Outcome(job.entry, job.rows, np.asarray(predictions.losses, dtype=np.float64), tuple(predictions.answers), scores,
                   time.perf_counter() - began, 0, num_train_rows, job.updates, (job.fold,))


def _in_one_line(error: Exception) -> str:
    """The first mistake that an error tells, with what is allowed and the command that helps."""
    if not isinstance(error, UserError):
        return str(error).splitlines()[0]
    problem = error.problems[0]
    return "; ".join(part for part in (problem.what, problem.fix, problem.command) if part)


def _train_and_answer(job: Job, folder: Path) -> tuple[Predictions, dict[str, float]]:
    """The answers to the rows of the fold, and their scores."""
    from ftp.data.collect import encode_all
    from ftp.evaluate.metric_names import check_metric
    from ftp.evaluate.predict import predict
    from ftp.evaluate.scoring import score
    from ftp.runs.build import build, make_source
    from ftp.runs.validation import Validation
    from ftp.train import loop
    from ftp.train.state import State, Whole, copied_weights, put_weights

    run = _started(job, folder)
    model, loss = build(run, job.data)
    if not check_metric(run, job.data, model, loss, is_rule=True):
        run = dataclasses.replace(run, settings=dataclasses.replace(run.settings, metric_for_best_model=None))
    encoded = encode_all(run, job.data, loss)
    source = make_source(run, job.data, encoded, loss)
    validation = Validation(run, job.data, model, loss, encoded, None)
    whole = Whole(model, loss)
    state = State()
    best_weights: dict[str, torch.Tensor] = {}

    def evaluate(step: int, forward: Callable[[Batch], LossOut]) -> tuple[Evaluation, float]:
        nonlocal best_weights
        evaluation, value = validation(step, forward)
        # in memory what a run keeps in a checkpoint
        if state.add(evaluation, value, run.settings.load_best_model_at_end):
            best_weights = copied_weights(whole)
        return evaluation, value

    # without updates too: what a plugin tunes on validation rows (thresholds) is tuned at the evaluation before the first
    loop.train(run, model, loss, source, evaluate, lambda evaluation, history: None, saves_checkpoints=False)
    if best_weights:
        put_weights(whole, best_weights)
    answered = predict(run, model, loss, job.data.splits[ANSWERED], encoded[ANSWERED], ANSWERED)
    scores = score(run, job.data, {ANSWERED: answered}, model)
    return answered, {own.name: own.value for own in scores}


def _started(job: Job, folder: Path) -> StartedRun:
    """The run of a job, which writes nothing down."""
    from ftp.folder.log import Log
    from ftp.host.quiet import quiet_libraries
    from ftp.plugins.call import Hooks
    from ftp.plugins.plan import prepare
    from ftp.train.device import accelerator

    quiet_libraries()
    amount = {"batch_size": job.batch_size, "max_steps": job.updates, "save_steps": NEVER, "logging_steps": NEVER}
    prepared = prepare(job.plugins, job.plugins_from, [("ftp advise", {**job.options, **amount})])
    return StartedRun(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), folder, Log(None, writer=False),
                      accelerator(prepared.settings))
