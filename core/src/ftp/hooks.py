"""The contract: every hook that a plugin may answer. The docstrings are the reference (docs/hooks.md is made from them).

A hook implementation is a method marked `@hookimpl` on a class marked `@plugin`. It takes only the arguments it wants,
by name. Every hook runs on every rank and all ranks take the same path. Answers are checked by type as they come back
(`ftp.answers`), and so is what the functions of a `Loss` give. Arguments may be added to a hook, never removed, within a
major version. This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from ftp.types import (
    Batch,
    Comparison,
    Data,
    Evaluation,
    Event,
    Loss,
    LossOut,
    Model,
    Predictions,
    Reward,
    Risk,
    Row,
    Run,
    Score,
    StartedRun,
    StepOut,
    Stop,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray
    from torch.optim import Optimizer

hookspec = pluggy.HookspecMarker("ftp")
hookimpl = pluggy.HookimplMarker("ftp")
"""Marks a method as the answer to the hook of its name; `@hookimpl(wrapper=True)` wraps what others answer."""

Arity = Literal["one", "collected", "pipeline"]


@hookspec
def load_data(run: Run) -> Mapping[str, Dataset]:
    """Give rows, by split name (`train`, `validation`, `test`, `general`).

    Answered by domains. Answers are collected and joined by split: where several domains give a split, each row has the name of
    its domain in the column `from_domain`. `run.settings.data` and `columns` are the domain's own where `--NAME.data` and
    `--NAME.columns` are given. Rows are in any form from which core's table of forms leads to `run.task.form`
    (labelled > conversation > text, preference > conversation, preference > prompt). A missing `validation` is cut from
    `train` afterwards, reproducibly. `ftp.data.load(run, sample=...)` reads what `--data` names, else the sample.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def build_model(run: Run, data: Data) -> Model:
    """Give the network, with the head of `run.task.head`.

    One answer: core loads a checkpoint (registered last, so a plugin's answer replaces it). Parameterisations wrap it:
    `model = yield`, then `dataclasses.replace(model, ...)`. Wrappers stack in the order in which they are named, the
    leftmost next to the loaded model, so `quantize,lora` quantises and then adds adapters.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def make_loss(run: StartedRun, data: Data, model: Model) -> Loss:
    """Give what is minimised: an object that encodes rows, collates and computes (`Loss`).

    One answer: the objective's; without an objective, core's loss for the head. Wrappers are welcome (an anchor to the
    old weights, label smoothing): `loss = yield`, then `ftp.losses.wrapped(loss, compute=...)`. Sums, never means:
    `LossOut.total` is divided once by the count over all ranks and micro-batches.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def order_rows(
    run: StartedRun, data: Data, lengths: NDArray[np.int64], rows: NDArray[np.int64], epoch: int
) -> Sequence[Sequence[int] | NDArray[np.int64]]:
    """Give the updates of an epoch, each as the numbers of its encoded rows, from 0.

    One answer: core's (registered last), which shuffles all rows (with `--mix` as many of each domain as its share says) and cuts
    them by `--batch-size` or `--batch-tokens`.
    `lengths`: tokens of each encoded row. `rows`: the number of the row of `data.splits["train"]` that each came from.
    A row may stand in several updates of an epoch, or in none. The answer depends on nothing but the arguments and
    `run.settings.seed`: every rank asks for itself, core gives each its share of an update, and a resumed run asks again.
    Not asked with `--streaming`, where nobody knows the rows.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def make_optimizer(run: StartedRun, model: Model, loss: Loss) -> Optimizer:
    """Give the optimizer of the trained weights: those of the network, and of `loss.extra` where there is one.

    One answer: core's AdamW (registered last). `ftp.train.parameter_groups(model, loss, run.settings)` sorts the weights
    into those that decay and those that do not, for any optimizer of PyTorch's shape. `lr` of each group is its peak rate:
    the schedule gives a share of it. Wrappers are welcome: `optimizer = yield`, then `ftp.train.scale_rates` gives weights
    rates of their own. Whatever `optimizer.state_dict()` gives (plain values and tensors) goes into checkpoints.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def make_schedule(run: StartedRun, total: int) -> Callable[[int], float]:
    """Give the schedule of the learning rate: number of an update, from 0 to `total` - 1 -> share of the peak rate.

    One answer: core's, which `--lr-scheduler-type` and the warm-up options choose (registered last). The function
    depends on the number alone, so that a resumed run takes the same rates.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def train_step(
    run: StartedRun, model: Model, loss: Callable[[Batch], LossOut], batches: Sequence[Batch], optimizer: Optimizer,
    step: int, total: int,
) -> StepOut:
    """Do one whole update: the gradients of all `batches`, clipping, and the optimizer's step.

    One answer: core's (registered last). `loss(batch)` computes the loss through the prepared (distributed, autocast)
    module. `step` is the number of the update, from 0, of `total`. Wrappers are welcome; a plugin that answers is an
    escape hatch for methods with another kind of update.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def evaluated_weights(run: StartedRun, model: Model) -> AbstractContextManager[object]:
    """Give a context in which the network has the weights that count, where those are not the ones that are trained: their
    running average (EMA), a mean over the end of training (SWA), the point that a schedule-free optimizer reports.

    One answer: core's (registered last), which changes nothing. Entered around each evaluation and its risk checks; the best
    checkpoint and `model/` hold the weights as they are within it. Leaving it puts the trained weights back, bit by bit. With
    `--shard` a weight is this rank's share of it.
    """
    raise NotImplementedError


@hookspec
def evaluate(
    run: StartedRun, data: Data, predictions: Mapping[str, Predictions], model: Model
) -> Sequence[Score]:
    """Compare predictions with rows and give scores.

    Collected. Core has predicted once for each split in `predictions`; implementations only compare. Two plugins that
    give a score of the same name for the same split are an error. In a run of several domains each is asked about its own rows
    alone (`medical/accuracy`), all other plugins about all rows and about those of each domain (`medical/loss`). Called at
    each evaluation (validation) and at the end.
    """
    raise NotImplementedError


@hookspec
def check_risks(
    run: StartedRun,
    stage: str,
    data: Data,
    model: Model | None,
    loss: Loss | None,
    predictions: Mapping[str, Predictions] | None,
    history: Sequence[Evaluation],
    log: Sequence[Mapping[str, Any]],
    baselines: Mapping[str, Mapping[str, Predictions]],
    comparisons: Sequence[Comparison],
) -> Sequence[Risk]:
    """Read the evidence of a run and say what is wrong, how sure that is, and what to do.

    Collected; `stage` is `data` (after load_data: model, loss and predictions are None), `start` (before the first
    step), `evaluation`, or `end`. A verdict of level `stop` ends the run. A check that raises becomes a verdict
    `not_run` with the reason, whatever it says later; the run goes on unless `--on-risk fail`. Nothing compared is
    `not_run`, never `ok`; a plugin of kind `risk` that has given no verdict by the end is `not_run` too.
    Give the same `name` at each stage: the last verdict of a name is the one that is reported. `advice` is commands.
    `baselines` and `comparisons` are of the stage `end`, and empty before it: what the baselines of the run answered to the
    held-out rows (name > split > predictions), and how far the run is ahead of them, tested row by row.
    """
    raise NotImplementedError


@hookspec
def reward(run: StartedRun, rows: Sequence[Row], completions: Sequence[str]) -> Reward:
    """Judge completions, one number each, higher is better. Collected and summed by weight; asked only by objectives
    that sample from the model (RLHF). `rows` are the prompts' rows with all their columns."""
    raise NotImplementedError


@hookspec
def on_event(run: StartedRun, event: Event) -> Stop | None:
    """Hear what happens: an `Event`, whose class says what (`Started`, `Step`, `Evaluated`, `Judged`, `Saved`, and at the end of
    a run `Finished` or `Failed`).

    Collected. Answer `Stop(reason)` to `Step` or `Evaluated` to end training after this update; a Stop from any rank stops
    all. All ranks get all events; `Failed` may reach only the rank that failed.
    """
    raise NotImplementedError


@hookspec
def hide(text: str) -> str:
    """Give a text of a row as it may be shown or written down, without what a plugin knows to be private (the identifiers of
    people, say).

    A pipeline: each plugin gets what the one named before it left. Core hides so in verdicts and in what is kept for the
    report, and a plugin that shows words of rows asks `run.hidden(words)`."""
    raise NotImplementedError


ARITY: Mapping[str, Arity] = {
    "load_data": "collected",
    "build_model": "one",
    "make_loss": "one",
    "order_rows": "one",
    "make_optimizer": "one",
    "make_schedule": "one",
    "train_step": "one",
    "evaluated_weights": "one",
    "evaluate": "collected",
    "check_risks": "collected",
    "reward": "collected",
    "on_event": "collected",
    "hide": "pipeline",
}
"""How many answers each hook takes. A second answer to a hook of arity `one` is an error that names both packages; in a
`pipeline` each plugin gets what the one named before it left."""
