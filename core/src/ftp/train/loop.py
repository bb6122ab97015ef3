"""The training loop, to be read from top to bottom.

    for each update of this run, from the first or from a checkpoint:
        rows of the next update                        stored, streamed, or made by the network of prompts (a rollout)
        seed everything from (seed, step, rank)        so that a resumed run is the same run
        rows -> micro-batches                          split again where memory runs out
        train_step(...)                                gradients, clipping, optimizer
        every logging_steps:  read the numbers, stop on NaN
        every eval_steps:     evaluate, check risks, keep the best, maybe stop early
        every save_steps:     checkpoint
"""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import FSDPModule

from ftp.data.source import Source
from ftp.errors import UserError
from ftp.evaluate.scoring import to_minimise
from ftp.host import signals
from ftp.runs import recipes
from ftp.settings import Settings
from ftp.train import checkpoint, shard
from ftp.train.muon import MuonAdamW, inner_matrices
from ftp.types import Batch, Evaluation, Event, Loss, LossOut, Metric, Model, Row, Run, Stop


class Whole(torch.nn.Module):  # type: ignore[misc,unused-ignore]
    """Network, extra modules and loss as one module, so that distributed wrappers see every weight in one forward."""

    def __init__(self, model: Model, loss: Loss) -> None:
        super().__init__()
        self.net, self.extra, self.compute = model.net, loss.extra, loss.compute

    def forward(self, batch: Batch, parts: bool = False) -> Any:
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
    place: Any = None


@dataclass(frozen=True)
class Trained:
    """What training ended with; the best weights are in the network again (after `--shard`: in the checkpoint `best`)."""

    state: State
    reason: str
    best: Path | None = None


class Interrupted(UserError):
    """Ctrl-C: everything is saved."""

    status = signals.STOPPED


def train(
    run: Run,
    model: Model,
    loss: Loss,
    source: Source,
    evaluate: Callable[[int, Callable[[Batch], LossOut]], tuple[Evaluation, float]],
    judge: Callable[[Evaluation, Sequence[Evaluation]], str | None],
    resume: Path | None = None,
) -> Trained:
    """Train to the end of the schedule, or until something stops it.

    `evaluate(step, forward)` gives an evaluation and the number that picks the best (lower is better). `judge` gives a
    reason to stop after an evaluation (risks), or None.
    """
    settings, accelerator, log = run.settings, run.accelerator, run.log
    assert accelerator is not None and log is not None and run.out is not None
    whole = Whole(model, loss)
    if settings.shard:
        shard.spread(whole, accelerator)
        optimizer = accelerator.prepare(make_optimizer(whole, settings))
        prepared = forward = accelerator.autocast()(whole.through_hooks)
    else:
        prepared, optimizer = accelerator.prepare(whole, make_optimizer(whole, settings))
        forward = accelerator.unwrap_model(prepared)
    world, rank = accelerator.num_processes, accelerator.process_index
    state, total = State(), source.total
    folder = run.out / "checkpoints"
    if resume is not None:
        state = restore(resume, whole, optimizer, accelerator.scaler)
        if lost := log.truncate(state.step):
            run.tell(lost)
        run.tell(f"going on after update {state.step} of {total}")
    every_eval = between_evaluations(settings, source)
    every_save = whole_strides(settings.save_steps or every_eval, source)
    limits = Limits(settings.micro_batch_size, settings.micro_batch_tokens)
    window, started, spent = Window(loss.metrics), time.perf_counter(), state.seconds
    reason = state.reason or ("" if state.step < total else "the schedule is done")

    def save() -> Path:
        state.seconds, state.place = spent + time.perf_counter() - started, source.place()
        state.reason = reason
        path = folder / f"step-{state.step}"
        parts = contents(whole, optimizer, state, accelerator.scaler)
        if accelerator.is_main_process:
            identity = recipes.identity(folder.parent)
            path = checkpoint.save(folder, state.step, *parts, identity)
            best = folder / f"step-{state.best_step}"
            checkpoint.prune(folder, settings.save_total_limit, {best}, identity.get("run"))
        accelerator.wait_for_everyone()
        tell(run, "saved", state.step, path=str(path))
        return path

    with interrupts() as interrupted:
        tell(run, "started", state.step, total=total)
        for rows in source.updates(state.step, rank, world, state.place):
            if reason:
                break
            whole.train()
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * schedule(settings, state.step, total)
            while True:
                seed_step(settings.seed, state.step, rank)
                try:
                    parts = limits.split(drawn(rows, settings.seed, state.step))
                    if settings.shard:  # a forward pass is a step that all ranks take together
                        most = int(accelerator.gather(torch.tensor(len(parts), device=accelerator.device)).max())
                        parts += [[]] * (most - len(parts))
                    batches = [make_batch(loss, source, part) for part in parts]
                    out = run.hooks.one("train_step", run=run, model=model, loss=prepared, batches=batches,
                                        optimizer=optimizer)
                    break
                except torch.OutOfMemoryError as error:
                    limits = limits.halved(run, rows, world, error)
                    optimizer.zero_grad(set_to_none=True)
                    if torch.cuda.is_available():
                        torch.cuda.empty_cache()
            state.step += 1
            state.rows += out.rows
            state.tokens += out.tokens
            window.add(out, source.names(rows), now=accelerator.device.type == "cpu", scaled=accelerator.scaler is not None)

            window.pause()

            ends = state.step >= total
            evaluates = state.step % every_eval == 0 or ends
            saves = state.step % every_save == 0 or ends
            reads = state.step % settings.logging_steps == 0 or evaluates or saves
            if reads:
                values = window.read(run, state.step)
                values["learning_rate"] = optimizer.param_groups[0]["lr"]
                tell(run, "step", state.step, epoch=round(state.step / max(1, source.per_epoch), 4), **values)
                reason = asked_to_stop(run, Event("step", state.step, values)) or reason
            if evaluates:
                found, value = evaluate(state.step, forward)
                state.history.append(found)
                if math.isnan(state.best) or value < state.best:
                    state.best, state.best_step, state.worse, saves = value, state.step, 0, True
                else:
                    state.worse += 1
                patience = settings.early_stopping_patience
                if patience and state.worse >= patience:
                    reason = f"no better for {patience} evaluations (best: update {state.best_step})"
                reason = asked_to_stop(run, Event("evaluated", state.step, {"loss": found.loss})) or reason
                reason = judge(found, state.history) or reason
            saves = saves or bool(reason)
            if saves:
                save()
            rests = state.step % source.stride == 0 or ends  # no checkpoint between updates of one rollout
            if rests and agreed(run, interrupted.is_set(), now=world == 1 or reads):
                if not saves:
                    save()
                tell(run, "ended", state.step, reason="interrupted")
                raise Interrupted(f"interrupted after update {state.step} of {total}; everything is saved",
                                  "go on where it stopped", f"ftp run --resume {run.out}")
            window.resume()
            if ends:
                reason = reason or "the schedule is done"
    state.seconds = spent + time.perf_counter() - started
    if state.best_step:
        state.best_step = best_left(run, state, folder)
    if state.best_step and state.best_step != state.step and not settings.shard:
        weights, _ = checkpoint.load(folder / f"step-{state.best_step}")
        put_weights(whole, weights)
        run.tell(f"the best evaluation was after update {state.best_step}: its weights are used")
    tell(run, "ended", state.step, reason=reason)
    accelerator.free_memory()
    return Trained(state, reason, folder / f"step-{state.best_step or state.step}")


def best_left(run: Run, state: State, folder: Path) -> int:
    """The update whose weights are the best that there are: those of the best evaluation, or where their checkpoint was lost or
    damaged since (which is told), of the best evaluation among those that are whole and the last."""
    best = state.best_step
    fault = "" if best == state.step else checkpoint.damage(folder / f"step-{best}")
    if not fault:
        return best
    metric = run.settings.metric_for_best_model
    left = {one.step: to_minimise(metric, one.scores) for one in state.history
            if one.step == state.step or not checkpoint.damage(folder / f"step-{one.step}")}
    found = min(left, key=left.__getitem__, default=state.step)
    run.tell(f"the checkpoint of the best evaluation, after update {best}, is gone or damaged ({fault}): the weights after "
             f"update {found} are the best of those that are left, and are used")
    return found


# --- parts of the loop, in the order in which it uses them ---


def make_optimizer(whole: torch.nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), fused where there is one, or Muon beside it. Decay acts on matrices, not on norms
    and biases.

    Raises `UserError` when nothing is trainable.
    """
    weights = [weight for weight in whole.parameters() if weight.requires_grad]
    if not weights:
        raise UserError("no weight is trainable", "a parameterisation froze everything", "ftp plan --plugins ...")
    if settings.optim == "muon" and settings.shard:
        raise UserError("--optim muon with --shard: a matrix that is spread over processes cannot be orthogonalised here",
                        "leave out one of them")
    decay, rest = settings.weight_decay, [weight for weight in weights if weight.ndim >= 2]
    groups: list[dict[str, Any]] = []
    if settings.optim == "muon":
        inner = inner_matrices(whole)
        groups.append({"params": [weight for weight in rest if id(weight) in inner], "weight_decay": decay, "muon": True})
        rest = [weight for weight in rest if id(weight) not in inner]
    groups += [{"params": rest, "weight_decay": decay},
               {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0}]
    groups = [{**group, "peak": settings.learning_rate} for group in groups if group["params"]]
    fused = all(weight.device.type in ("cpu", "cuda", "mps") and weight.is_floating_point() for weight in weights)
    kind: Any = MuonAdamW if settings.optim == "muon" else torch.optim.AdamW
    made: torch.optim.Optimizer = kind(groups, lr=settings.learning_rate, betas=(settings.adam_beta1, settings.adam_beta2),
                                       eps=settings.adam_epsilon, fused=fused)
    return made


def between_evaluations(settings: Settings, source: Source) -> int:
    """Updates from one evaluation to the next."""
    return whole_strides(settings.eval_steps or max(20, math.ceil(source.per_epoch / 4)), source)


def whole_strides(updates: int, source: Source) -> int:
    """A number of updates, rounded up to whole rollouts where the network makes its own rows."""
    return math.ceil(updates / source.stride) * source.stride


def schedule(settings: Settings, step: int, total: int) -> float:
    """The share of the peak learning rate for update `step` (from 0) of `total`."""
    warmup = settings.warmup_steps if settings.warmup_steps is not None else math.ceil(settings.warmup_ratio * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total - warmup)
    if settings.lr_scheduler_type == "linear":
        return 1 - done
    if settings.lr_scheduler_type == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if settings.lr_scheduler_type == "wsd":  # warm-up, stable, decay (Hu et al. 2024, MiniCPM, section 4)
        return min(1.0, (1 - done) / 0.2)
    return 1.0


def seed_step(seed: int, step: int, rank: int) -> None:
    """Set every random state from (seed, step, rank): masks and dropout of an update depend on nothing before it."""
    value = int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def drawn(rows: Sequence[Row], seed: int, step: int) -> list[Row]:
    """The rows with `draw`, a number of (seed, step) that is the same on every rank. An objective that draws for each row (which
    tokens to hide) does so from it and the row, and the update is the same however its rows were spread."""
    number = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
    return [{**row, "draw": number} for row in rows]


@dataclass(frozen=True)
class Limits:
    """How much goes through the network at once on one device."""

    rows: int | None
    tokens: int

    def split(self, rows: Sequence[Row]) -> list[list[Row]]:
        """The rows of each forward pass; one of none where a rank has no rows, as all ranks take the same path."""
        from ftp.data.batches import micro

        if not rows:
            return [[]]
        lengths = np.array([row["length"] for row in rows])
        order = np.arange(len(rows))
        return [[rows[i] for i in part] for part in micro(order, lengths, max_rows=self.rows, max_tokens=self.tokens)]

    def halved(self, run: Run, rows: Sequence[Row], world: int, error: Exception) -> Limits:
        """Half as much, told once. Raises `UserError` where halving cannot help."""
        largest = max(map(len, self.split(rows)))
        if largest <= 1 or world > 1:
            why = "one row alone does not fit" if largest <= 1 else "ranks cannot split a batch on their own"
            raise UserError(f"out of memory, and {why}", "shorter rows (--max-length), --micro-batch-size, "
                            "--gradient-checkpointing, or a smaller model") from error
        half = math.ceil(largest / 2)
        run.tell(f"out of memory with {largest} rows at once: now {half} at once; an update still has all its rows")
        return Limits(half, self.tokens)


def make_batch(loss: Loss, source: Source, rows: Sequence[Row]) -> Batch:
    """Encoded rows as a batch; a rank without rows gets one that weighs nothing, as all ranks take the same path."""
    if rows:
        return loss.collate(rows)
    stand_in = loss.collate([source.any_row()])
    return Batch(stand_in.inputs, 0, 0)


class Window:
    """Numbers since the last line of the log, kept on the device until it is written."""

    def __init__(self, kinds: Mapping[str, Metric]) -> None:
        self.kinds = kinds
        self.clear()

    def clear(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.norms: list[torch.Tensor | None] = []
        self.metrics: dict[str, Any] = {}
        self.names: list[Sequence[int]] = []
        self.rows = self.tokens = self.terms = 0
        self.scaled = False
        self.seconds, self.started = 0.0, time.perf_counter()

    def pause(self) -> None:
        """Stop the clock: what follows (evaluation, saving) is not training."""
        self.seconds += time.perf_counter() - self.started

    def resume(self) -> None:
        """Let the clock run again."""
        self.started = time.perf_counter()

    def add(self, out: Any, names: Sequence[int], now: bool, scaled: bool) -> None:
        """Take in one update. `now`: look at once whether its numbers are finite (free on a CPU). `scaled`: a gradient
        that is not finite is the loss scaler's business, which left the update out."""
        self.losses.append(out.loss)
        self.norms.append(out.grad_norm)
        self.names.append(names)
        self.scaled = scaled
        for name, value in out.metrics.items():
            self.metrics[name] = self.metrics.get(name, 0) + value
        self.rows += out.rows
        self.tokens += out.tokens
        self.terms += out.count
        if now:
            self.check([float(out.loss)], [None if out.grad_norm is None else float(out.grad_norm)], [names])

    def check(self, losses: Sequence[float], norms: Sequence[float | None], names: Sequence[Sequence[int]]) -> None:
        """Stop at the first update that is not finite, before its weights can be saved."""
        for loss, norm, rows in zip(losses, norms, names, strict=True):
            if math.isfinite(loss) and (norm is None or math.isfinite(norm) or self.scaled):
                continue
            what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm} (the loss is {loss:.4g})"
            shown = ", ".join(map(str, list(rows)[:16])) + (", ..." if len(rows) > 16 else "")
            raise UserError(f"{what}; training rows of that update: {shown}",
                            "a lower --learning-rate, --precision fp32, or mend those rows; the last good checkpoint is kept")

    def read(self, run: Run, step: int) -> dict[str, Any]:
        accelerator = run.accelerator
        assert accelerator is not None
        losses = torch.stack([loss.float() for loss in self.losses])
        counts = torch.tensor([float(self.rows), float(self.tokens), float(self.terms)], device=losses.device)
        if accelerator.num_processes > 1:
            losses, counts = accelerator.reduce(losses, "sum"), accelerator.reduce(counts, "sum")
            self.metrics = {name: accelerator.reduce(value, "sum") for name, value in sorted(self.metrics.items())}
        values = losses.tolist()
        norms = [None if norm is None else float(norm) for norm in self.norms]
        self.check(values, norms, self.names)
        rows, tokens, terms = counts.tolist()
        over = {name: terms if name in self.kinds and self.kinds[name].over == "terms" else rows for name in self.metrics}
        seconds = max(1e-9, self.seconds)
        read = {
            "loss": sum(values) / len(values),
            "grad_norm": norms[-1],
            "rows_per_second": round(rows / seconds, 2),
            "tokens_per_second": round(tokens / seconds, 1),
            "memory": memory(accelerator.device),
            **{name: float(value) / max(1.0, over[name]) for name, value in self.metrics.items()},
        }
        self.clear()
        return read


def memory(device: torch.device) -> int:
    """Peak memory in bytes: of the device where it counts, else of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak if sys.platform == "darwin" else peak * 1024)
    except ImportError:  # not on Windows
        return 0


def tell(run: Run, name: Any, step: int, **values: Any) -> None:
    """Write an event to the log, and to plugins where they cannot answer (`started`, `saved`, `ended`)."""
    assert run.log is not None
    run.log.event(name, step=step, **values)
    if name in ("started", "saved", "ended"):
        run.hooks.each("on_event", run=run, event=Event(name, step, values))


def asked_to_stop(run: Run, event: Event) -> str:
    """The reason of a plugin that wants to stop; the same on every rank."""
    answers = run.hooks.each("on_event", run=run, event=event)
    reasons = [f"{answer.plugin}: {answer.value.reason}" for answer in answers if isinstance(answer.value, Stop)]
    accelerator = run.accelerator
    assert accelerator is not None
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        reasons = gather_object(reasons)
    return reasons[0] if reasons else ""


def agreed(run: Run, mine: bool, now: bool) -> bool:
    """Whether any rank was interrupted. With several ranks they ask one another only where they wait anyhow."""
    accelerator = run.accelerator
    assert accelerator is not None
    if accelerator.num_processes == 1:
        return mine
    if not now:
        return False
    return bool(accelerator.reduce(torch.tensor(float(mine), device=accelerator.device), "sum") > 0)


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 set; a second Ctrl-C ends at once.

    The others may well come twice (from a terminal and its shell, a scheduler and the launcher) and mean the same then.
    """
    flag = threading.Event()
    presses = list[int]()  # of Ctrl-C

    def ask(number: int, frame: Any) -> None:
        flag.set()
        if number == signal.SIGINT:
            presses.append(number)
            if len(presses) > 1:
                raise KeyboardInterrupt

    with signals.answered(ask, (signal.SIGINT, *signals.REQUESTS)):
        yield flag


# --- checkpoints: what the loop puts into them ---


def contents(
    whole: torch.nn.Module, optimizer: Any, state: State, scaler: Any = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Trainable weights (frozen ones come from the base model), and everything else that an exact resume needs. `scaler`:
    that of the loss in fp16."""
    plain = {**vars(state), "history": [vars(one) | {"scores": [vars(s) for s in one.scores]} for one in state.history]}
    for one in plain["history"]:
        one["losses"] = one["losses"].tolist() if one["losses"] is not None else None
        one["train_losses"] = one["train_losses"].tolist() if one["train_losses"] is not None else None
    state_of = shard.optimizer_state(whole, optimizer) if is_sharded(whole) else optimizer.state_dict()
    rest = {"optimizer": state_of, "random": checkpoint.random_state(), "state": plain}
    return take_weights(whole), rest if scaler is None else {**rest, "scaler": scaler.state_dict()}


def take_weights(whole: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Trainable weights and the buffers that belong to the state of the module, by name."""
    trainable = {name for name, weight in whole.named_parameters(remove_duplicate=False) if weight.requires_grad}
    buffers = {name for name, _ in whole.named_buffers(remove_duplicate=False)}
    values = shard.weights(whole) if is_sharded(whole) else whole.state_dict()
    return {name: value.detach() for name, value in values.items() if name in trainable or name in buffers}


def is_sharded(whole: torch.nn.Module) -> bool:
    """Whether `shard.spread` has been here."""
    return isinstance(whole, FSDPModule)


def put_weights(whole: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """The opposite of `take_weights`. Raises `UserError` when the checkpoint is of another model."""
    wrong = [name for name in take_weights(whole) if name not in weights]
    if is_sharded(whole):
        _, unexpected = shard.put_weights(whole, dict(weights))
    else:
        _, unexpected = whole.load_state_dict(dict(weights), strict=False)
    if wrong or unexpected:
        raise UserError(f"the checkpoint does not fit this model: {', '.join([*wrong, *unexpected][:5])}",
                        "resume with the plugins and options that the run was started with")


def restore(path: Path, whole: torch.nn.Module, optimizer: Any, scaler: Any = None) -> State:
    """Weights, optimizer, random states and place of a checkpoint."""
    from ftp.types import Score

    weights, saved = checkpoint.load(path)
    put_weights(whole, weights)
    if is_sharded(whole):
        shard.put_optimizer_state(whole, optimizer, saved["optimizer"])
    else:
        optimizer.load_state_dict(saved["optimizer"])
    if scaler is not None and "scaler" in saved:
        scaler.load_state_dict(saved["scaler"])
    checkpoint.restore_random_state(saved["random"])
    plain = dict(saved["state"])
    history = []
    for one in plain.pop("history"):
        arrays = {name: None if one[name] is None else np.array(one[name]) for name in ("losses", "train_losses")}
        history.append(Evaluation(**{**one, **arrays, "scores": tuple(Score(**score) for score in one["scores"])}))
    return State(**plain, history=history)
