"""Where training is, and what a checkpoint holds of it: weights, optimizer, random states, position. Heavy: imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import FSDPModule

from ftp.data.stream import StreamState
from ftp.errors import PluginError, UserError
from ftp.evaluate.scoring import to_minimise
from ftp.folder import files, paths
from ftp.folder.checkpoints import checkpoint_path
from ftp.train import checkpoint, checkpoint_saving, random_states, shard
from ftp.train.durable_files import only_plain
from ftp.types import Batch, Evaluation, Loss, LossOut, Model, Score, StartedRun


class Whole(torch.nn.Module):  # type: ignore[misc,unused-ignore]
    """Network, extra modules and loss as one module, so that distributed wrappers see every weight in one forward."""

    def __init__(self, model: Model, loss: Loss) -> None:
        super().__init__()
        self.net = model.net
        self.extra = loss.extra
        self.compute = loss.compute

    def forward(self, batch: Batch, parts: bool = False) -> LossOut | dict[str, object]:
        """The loss of one batch; as a dictionary with `parts`, in which hooks on the module find its tensors. A batch of
        count 0 stands in on a rank without rows and weighs nothing; its metrics are there, as ranks add them up together."""
        out = self.compute(batch)
        if not batch.count:
            out = LossOut(out.total * 0, {name: torch.zeros_like(value) for name, value in out.metrics.items()})
        return vars(out) if parts else out

    def through_hooks(self, batch: Batch) -> LossOut:
        """The same for sharded weights, which hooks bring together."""
        return LossOut(**self(batch, parts=True))


@dataclass
class State:
    """Where training is. Everything here is in a checkpoint."""

    step: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best: float = math.nan
    worse: int = 0
    reason: str = ""  # why training ended, once something ended it
    history: list[Evaluation] = field(default_factory=list)
    place: StreamState | None = None  # of a stream of rows, see `Source.place`

    @property
    def has_best(self) -> bool:
        """Whether there was an evaluation; the best may be that before the first update."""
        return not math.isnan(self.best)

    def add(self, evaluation: Evaluation, value: float, picks: bool = True) -> bool:
        """Take in an evaluation; whether it is the best so far.

        Args:
            evaluation: of the weights after this update.
            value: what picks the best, lower is better. Of two alike the later one is taken: it has learnt more.
            picks: whether there is a best one; else the last one counts as it.
        """
        self.history.append(evaluation)
        is_better = not picks or not self.has_best or value < self.best
        self.worse = 0 if is_better else self.worse + 1
        if not is_better and value != self.best:
            return False
        self.best, self.best_step = value, self.step
        return True


def contents(
    run: StartedRun, model: Model, whole: torch.nn.Module, optimizer: torch.optim.Optimizer, state: State
) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Trainable weights (frozen ones come from the base model), and everything else that an exact resume needs."""
    history = [_plain_evaluation(evaluation) for evaluation in state.history]
    rest: dict[str, object] = {
        "optimizer": shard.optimizer_state(whole, optimizer) if is_sharded(whole) else optimizer.state_dict(),
        "random": random_states.random_state(),
        "state": {**vars(state), "history": history},
        "plugins": plugin_states(run),
    }
    scaler = run.accelerator.scaler
    if scaler is not None:  # that of the loss in fp16
        rest["scaler"] = scaler.state_dict()
    if has_other_weights(run):
        with evaluated_weights(run, model):
            rest["evaluated_weights"] = copied_weights(whole)
    return take_weights(whole), rest


def plugin_states(run: StartedRun) -> dict[str, Mapping[str, object]]:
    """What plugins keep in a checkpoint, by plugin name. Raises `PluginError` with every part that no checkpoint can hold."""
    states = run.hooks.states()
    wrong = []
    for plugin in run.hooks.picked:
        who = f"plugin '{plugin.name}' ({plugin.found.package}): state()"
        for key, value in states.get(plugin.name, {}).items():
            try:
                only_plain({key: value}, who)
            except TypeError as error:
                wrong.append(str(error))
            except RecursionError:
                wrong.append(f"{who}[{key!r}] holds itself, or is nested too deeply for a checkpoint")
    if wrong:
        raise PluginError("\n".join(wrong))
    return states


def _plain_evaluation(evaluation: Evaluation) -> dict[str, object]:
    """An evaluation as plain containers, so that it loads without running code."""
    losses, train_losses = evaluation.losses, evaluation.train_losses
    return {
        **vars(evaluation),
        "scores": [vars(score) for score in evaluation.scores],
        "losses": None if losses is None else losses.tolist(),
        "train_losses": None if train_losses is None else train_losses.tolist(),
    }


def _evaluation(plain: Mapping[str, Any]) -> Evaluation:
    """The opposite of `_plain_evaluation`."""
    values = {**plain, "scores": tuple(Score(**score) for score in plain["scores"])}
    for name in ("losses", "train_losses"):
        if values[name] is not None:
            values[name] = np.array(values[name])
    return Evaluation(**values)


def save_checkpoint(
    run: StartedRun,
    model: Model,
    whole: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    place: StreamState | None,
) -> Path:
    """Write a checkpoint of this update, and leave those that are needed: the newest ones and the best. All ranks call it.

    Args:
        place: where a stream of rows is; see `Source.place`.
    """
    accelerator = run.accelerator
    state.place = place
    folder = run.out / paths.CHECKPOINTS
    path = checkpoint_path(folder, state.step)
    weights, rest = contents(run, model, whole, optimizer, state)
    if accelerator.is_main_process:
        identity = files.identity(run.out)
        path = checkpoint_saving.save(folder, state.step, weights, rest, identity)
        best = checkpoint_path(folder, state.best_step)
        checkpoint.prune(folder, run.settings.save_total_limit, {best}, identity.get("run"))
    accelerator.wait_for_everyone()
    return path


def evaluated_weights(run: StartedRun, model: Model) -> AbstractContextManager[object]:
    """Within it the network has the weights that are scored, kept as the best, and saved as the model."""
    context: AbstractContextManager[object] = run.hooks.one("evaluated_weights", run=run, model=model)
    return context


def has_other_weights(run: StartedRun) -> bool:
    """Whether a plugin scores other weights than those that are trained."""
    return any(how != "default" for _, how in run.hooks.who("evaluated_weights"))


def put_best_weights(run: StartedRun, model: Model, whole: Whole, state: State, folder: Path) -> None:
    """Put the weights of the best evaluation into the network, as they were scored."""
    if state.has_best and state.best_step != state.step:
        put_weights(whole, scored_weights(checkpoint_path(folder, state.best_step)))
        run.tell(f"the best evaluation was after update {state.best_step}: its weights are used")
    elif has_other_weights(run):
        with evaluated_weights(run, model):
            weights = copied_weights(whole)
        put_weights(whole, weights)


def scored_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint as they were scored: its own, but where a plugin gave others for that."""
    weights, saved = checkpoint.load(path)
    return dict(saved.get("evaluated_weights", weights))


def take_weights(whole: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Trainable weights and the buffers that belong to the state of the module, by name."""
    trainable = {name for name, weight in whole.named_parameters(remove_duplicate=False) if weight.requires_grad}
    buffers = {name for name, _ in whole.named_buffers(remove_duplicate=False)}
    values = shard.weights(whole) if is_sharded(whole) else whole.state_dict()
    return {name: value.detach() for name, value in values.items() if name in trainable or name in buffers}


def copied_weights(whole: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What `take_weights` gives, as it is now."""
    return {name: value.clone() for name, value in take_weights(whole).items()}


def is_sharded(whole: torch.nn.Module) -> bool:
    """Whether `shard.spread` has been here."""
    return isinstance(whole, FSDPModule)


def put_weights(whole: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """The opposite of `take_weights`. Raises `UserError` when the checkpoint is of another model."""
    missing = [name for name in take_weights(whole) if name not in weights]
    if is_sharded(whole):
        unexpected = shard.put_weights(whole, dict(weights))
    else:
        _, unexpected = whole.load_state_dict(dict(weights), strict=False)
    if missing or unexpected:
        raise UserError(f"the checkpoint does not fit this model: {', '.join([*missing, *unexpected][:5])}",
                        "resume with the plugins and options that the run was started with")


def restore(path: Path, run: StartedRun, whole: torch.nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Put weights, optimizer, random states and what plugins keep back as a checkpoint has them; gives its place."""
    weights, saved = checkpoint.load(path)
    put_weights(whole, weights)
    if is_sharded(whole):
        shard.put_optimizer_state(whole, optimizer, saved["optimizer"])
    else:
        optimizer.load_state_dict(saved["optimizer"])
    scaler = run.accelerator.scaler
    if scaler is not None and "scaler" in saved:
        scaler.load_state_dict(saved["scaler"])
    random_states.restore_random_state(saved["random"])
    run.hooks.restore(saved["plugins"])
    plain = dict(saved["state"])
    history = [_evaluation(evaluation) for evaluation in plain.pop("history")]
    return State(**plain, history=history)


def best_left(run: StartedRun, state: State, folder: Path) -> int:
    """The update whose weights are the best that there are.

    Those of the best evaluation; where their checkpoint was lost or damaged since, which the user is told, those of the best
    evaluation among the checkpoints that are whole and the last update.
    """
    best = state.best_step
    fault = "" if best == state.step else checkpoint.damage(checkpoint_path(folder, best))
    if not fault:
        return best
    left: dict[int, float] = {}  # update -> what picks the best, lower is better
    for evaluation in state.history:
        if evaluation.step == state.step or not checkpoint.damage(checkpoint_path(folder, evaluation.step)):
            left[evaluation.step] = to_minimise(run.settings.metric_for_best_model, evaluation.scores)
    best_of_left = min(left, key=left.__getitem__, default=state.step)
    run.tell(f"the checkpoint of the best evaluation, after update {best}, is gone or damaged ({fault}): the weights after "
             f"update {best_of_left} are the best of those that are left, and are used")
    return best_of_left
