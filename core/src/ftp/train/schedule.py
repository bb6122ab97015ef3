"""When things happen in training: the learning rate of each update, evaluations and checkpoints. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ftp.data.updates import Source
from ftp.settings import Settings


def schedule(settings: Settings, total: int, step: int) -> float:
    """The share of the peak learning rate for an update, from 0 to 1.

    Args:
        settings: those of the run: warm-up and `--lr-scheduler-type`.
        total: updates of the whole run.
        step: number of the update, from 0.
    """
    warmup = settings.warmup_steps
    if warmup is None:
        warmup = math.ceil(settings.warmup_ratio * total)
    if step < warmup:  # its first update already learns a little
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, total - warmup)
    if settings.lr_scheduler_type == "linear":
        return 1 - done
    if settings.lr_scheduler_type == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if settings.lr_scheduler_type == "wsd":  # warm-up, stable, decay (Hu et al. 2024, MiniCPM, section 4)
        return min(1.0, (1 - done) / 0.2)
    return 1.0


def between_evaluations(settings: Settings, source: Source) -> int:
    """Updates from one evaluation to the next."""
    return whole_strides(settings.eval_steps or max(20, math.ceil(source.per_epoch / 4)), source)


def whole_strides(updates: int, source: Source) -> int:
    """A number of updates, rounded up to whole rollouts where the network makes its own rows."""
    return math.ceil(updates / source.stride) * source.stride


@dataclass(frozen=True)
class Due:
    """What follows an update. `rest`: training may end here (it may not inside a rollout). `end`: it was the last."""

    log: bool
    evaluate: bool
    save: bool
    rest: bool
    end: bool


class Calendar:
    """What is due after which update of a run."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self.total = source.total
        self.stride = source.stride
        self.every_log = settings.logging_steps
        self.every_eval = between_evaluations(settings, source)
        self.every_save = whole_strides(settings.save_steps or self.every_eval, source)

    def due(self, step: int) -> Due:
        """What is due after update `step` (from 1). The last update is evaluated and saved whatever its number."""
        end = step >= self.total
        evaluate = step % self.every_eval == 0 or end
        save = step % self.every_save == 0 or end
        log = step % self.every_log == 0 or evaluate or save
        return Due(log, evaluate, save, rest=step % self.stride == 0 or end, end=end)
