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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ftp.data.updates import Source
from ftp.folder import paths
from ftp.folder.checkpoints import checkpoint_path
from ftp.train import shard
from ftp.train.interrupts import Interrupted, agreed, asked_to_stop, interrupts
from ftp.train.micro_batches import Limits, limits_of, make_batch
from ftp.train.optimizer import make_optimizer, set_learning_rate
from ftp.train.schedule import Calendar
from ftp.train.seeds import drawn, seed_step
from ftp.train.state import State, Whole, best_left, evaluated_weights, plugin_states, put_best_weights, restore, save_checkpoint
from ftp.train.window import Clock, Window
from ftp.types import Batch, Evaluated, Evaluation, Loss, LossOut, Model, Row, Saved, Started, StartedRun, Step, StepOut

Evaluate = Callable[[int, Callable[[Batch], LossOut]], tuple[Evaluation, float]]
"""`evaluate(step, forward)`: an evaluation, and the number that picks the best (lower is better)."""

Judge = Callable[[Evaluation, Sequence[Evaluation]], str | None]
"""`judge(evaluation, history)`: a reason to end training (a risk), or None."""


@dataclass(frozen=True)
class Trained:
    """What training ended with; the best weights are in the network again (after `--shard`: in the checkpoint `best`)."""

    state: State
    reason: str
    best: Path | None = None


def train(
    run: StartedRun, model: Model, loss: Loss, source: Source, evaluate: Evaluate, judge: Judge, resume: Path | None = None,
    *, saves_checkpoints: bool = True,
) -> Trained:
    """Train to the end of the schedule, or until something stops it.

    Args:
        evaluate: scores the validation rows.
        judge: what risks say of an evaluation.
        resume: the checkpoint to go on from; None to begin.
        saves_checkpoints: False for a pilot, which is never resumed and keeps its best weights itself.

    Raises:
        Interrupted: a signal asked to stop; everything is saved.
        UserError: nothing is trainable, a number is not finite, or one row does not fit into memory.
    """
    settings, accelerator, log = run.settings, run.accelerator, run.log

    # Network, extra modules and loss are one module, so that DDP and FSDP2 see every weight in one forward pass.
    # `step_loss` is what is trained, in its wrapper; `forward` is the same loss for evaluation.
    whole = Whole(model, loss)
    if settings.shard:
        shard.spread(whole, accelerator)
        optimizer = accelerator.prepare(make_optimizer(run, model, loss))
        step_loss = forward = accelerator.autocast()(whole.through_hooks)
    else:
        step_loss, optimizer = accelerator.prepare(whole, make_optimizer(run, model, loss))
        forward = accelerator.unwrap_model(step_loss)

    # A run that goes on takes everything from its checkpoint, and forgets what its log says of later updates.
    total = source.total
    schedule = run.hooks.one("make_schedule", run=run, total=total)
    folder = run.out / paths.CHECKPOINTS
    state = State()
    if resume is not None:
        state = restore(resume, run, whole, optimizer)
        if lost := log.truncate(state.step):
            run.tell(lost)
        run.tell(f"going on after update {state.step} of {total}")
    if not state.reason and state.step >= total:
        state.reason = "the schedule is done" if total else no_updates(model)

    calendar = Calendar(settings, source)
    limits = limits_of(settings, loss)
    window = Window(loss.metrics)
    clock = Clock(state.seconds)

    def save() -> None:
        if not saves_checkpoints:
            return
        state.seconds = clock.seconds()
        path = save_checkpoint(run, model, whole, optimizer, state, source.place())
        log.event("saved", step=state.step, path=str(path))
        run.hooks.each("on_event", run=run, event=Saved(state.step, path))

    with interrupts() as interrupted:
        log.event("started", step=state.step, total=total)
        run.hooks.each("on_event", run=run, event=Started(state.step, total))

        # A head that was fitted answers already: where training only makes it worse, it is the result.
        if (model.has_fitted_head if settings.eval_on_start is None else settings.eval_on_start) and not state.history:
            state.add(*evaluate(0, forward), settings.load_best_model_at_end)
            save()

        plugin_states(run)  # what no checkpoint can hold is told now, not after an hour of training
        for rows in source.updates(state.step, accelerator.process_index, accelerator.num_processes, state.place):
            if state.reason:
                break

            # One update. Its learning rate and its random numbers follow from its number alone.
            whole.train()
            set_learning_rate(optimizer, schedule(state.step))
            out, limits = update(run, model, loss, source, step_loss, optimizer, limits, rows, state.step)
            state.step += 1
            state.rows += out.rows
            state.tokens += out.tokens
            window.add(out, source.names(rows), now=accelerator.device.type == "cpu", scaled=accelerator.scaler is not None)
            window.pause()  # what follows is not training, and not counted in rows per second

            # The numbers of the updates since the last line of the log.
            due = calendar.due(state.step)
            if due.log:
                numbers, metrics = window.read(run, state.step)
                rate = optimizer.param_groups[0]["lr"]
                epoch = round(state.step / max(1, source.per_epoch), 4)
                log.event("step", step=state.step, **numbers, learning_rate=rate, epoch=epoch, **metrics)
                step_event = Step(state.step, **numbers, learning_rate=rate, epoch=epoch, metrics=metrics)
                state.reason = asked_to_stop(run, step_event) or state.reason

            # An evaluation: is it the best so far, and is there a reason to end? The last reason is the one that is shown.
            is_best = False
            if due.evaluate:
                with evaluated_weights(run, model):
                    evaluation, value = evaluate(state.step, forward)
                    is_best = state.add(evaluation, value, settings.load_best_model_at_end)
                    patience = settings.early_stopping_patience
                    if patience and state.worse >= patience and not due.end:
                        state.reason = f"no better for {patience} evaluations (best: update {state.best_step})"
                    event = Evaluated(state.step, evaluation.loss, evaluation.train_loss, evaluation.scores)
                    state.reason = asked_to_stop(run, event) or state.reason
                    state.reason = judge(evaluation, state.history) or state.reason

            # A checkpoint: in its turn, of the best weights, and before training ends for any reason.
            saves = due.save or is_best or bool(state.reason)
            if saves:
                save()

            # Ctrl-C and the other signals wait until an update is whole, and a rollout with it: no checkpoint lies inside one.
            asks = accelerator.num_processes == 1 or due.log  # ranks ask one another only where they wait anyhow
            if due.rest and agreed(run, interrupted.is_set(), now=asks):
                if not saves:
                    save()
                log.event("ended", step=state.step, reason="interrupted")
                raise Interrupted(f"interrupted after update {state.step} of {total}; everything is saved",
                                  "go on where it stopped", f"ftp run --resume {run.out}")
            window.resume()
            if due.end:
                state.reason = state.reason or "the schedule is done"

    # The weights of the best evaluation are the result, whatever came after it.
    state.seconds = clock.seconds()
    if not saves_checkpoints:
        log.event("ended", step=state.step, reason=state.reason)
        return Trained(state, state.reason)
    if state.has_best:
        state.best_step = best_left(run, state, folder)
    if not settings.shard:
        put_best_weights(run, model, whole, state, folder)
    log.event("ended", step=state.step, reason=state.reason)
    accelerator.free_memory()
    return Trained(state, state.reason, checkpoint_path(folder, state.best_step if state.has_best else state.step))


def no_updates(model: Model) -> str:
    """Why a run ends that trains nothing."""
    if model.has_fitted_head:
        return "no update was asked for (--max-steps 0): the head as it was fitted is the result"
    return "no update was asked for (--max-steps 0)"


def update(
    run: StartedRun, model: Model, loss: Loss, source: Source, step_loss: Callable[[Batch], LossOut],
    optimizer: torch.optim.Optimizer, limits: Limits, rows: Sequence[Row], step: int,
) -> tuple[StepOut, Limits]:
    """One update of `rows`, tried again in smaller parts where memory runs out; and the limits from now on."""
    accelerator, settings = run.accelerator, run.settings
    while True:
        seed_step(settings.seed, step, accelerator.process_index)
        try:
            parts = limits.split(drawn(rows, settings.seed, step))
            if settings.shard:  # a forward pass of sharded weights is a step that all ranks take together
                most = int(accelerator.gather(torch.tensor(len(parts), device=accelerator.device)).max())
                parts += [[]] * (most - len(parts))
            batches = [make_batch(loss, source, part) for part in parts]
            out = run.hooks.one("train_step", run=run, model=model, loss=step_loss, batches=batches, optimizer=optimizer,
                                step=step, total=source.total)
            return out, limits
        except torch.OutOfMemoryError as error:
            limits = limits.halved(run, rows, accelerator.num_processes, error)
            optimizer.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
