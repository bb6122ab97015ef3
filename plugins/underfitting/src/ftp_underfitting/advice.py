"""What to type next, in the options that this run really has."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ftp.risks import named_options
from ftp.types import Evaluation, Row, Run

ALL_LINEAR = ("all-linear",)
"""PEFT's name for every linear module."""
MUCH = 0.3
"""Dropout or weight decay above this holds a model back that learns too little."""
NEAR_USUAL = 5
"""A learning rate within this factor of the usual one is not to blame for being unusual."""


def usual_rate(run: Run) -> float:
    """The learning rate that the plugins of this run suggest, else core's own."""
    from ftp.plugins.fit import suggested
    from ftp.types import Settings

    values, _, _ = suggested(run.hooks.picked if run.hooks else ())
    return float(values.get("learning_rate", Settings().learning_rate))


def lower_rate(run: Run, suggested: float | None) -> list[str]:
    """A lower learning rate, and a gentler beginning.

    Args:
        suggested: by the range test; where that is no lower, it is the usual rate where the present
            one is far above it, else a tenth.
    """
    now = run.settings.learning_rate
    usual = usual_rate(run)
    if suggested is not None and suggested < now:
        rate = suggested
    elif now > NEAR_USUAL * usual:
        rate = usual
    else:
        rate = now / 10
    commands = [_with_rate(run, rate)]
    if run.settings.max_grad_norm == 0:
        commands.append(run.command("--max-grad-norm", 1))
    if run.settings.warmup_steps is None and run.settings.warmup_ratio < 0.06:
        commands.append(run.command("--warmup-ratio", 0.1))
    return commands


def higher_rate(run: Run, suggested: float | None) -> str:
    """A higher learning rate.

    Args:
        suggested: by the range test; where that is no higher, it is the usual rate where the
            present one is far below it, else ten times as much.
    """
    now = run.settings.learning_rate
    usual = usual_rate(run)
    if suggested is not None and suggested > now:
        return _with_rate(run, suggested)
    if now < usual / NEAR_USUAL:
        return _with_rate(run, usual)
    return _with_rate(run, now * 10)


def _with_rate(run: Run, value: float) -> str:
    return run.command("--learning-rate", f"{value:.1g}")


def longer(run: Run, done: int, more: int) -> str:
    """More updates."""
    return run.command("--max-steps", done + more)


def larger(run: Run) -> list[str]:
    """More weights that may move (a higher rank, more modules), and less that holds them back."""
    commands = []
    for flag, value, description in named_options(run):
        name = description.name
        if name in ("r", "rank") and isinstance(value, int):
            commands.append(run.command(f"--{flag}", 4 * value))
        if name == "target_modules" and tuple(value or ALL_LINEAR) != ALL_LINEAR:
            commands.append(run.command(f"--{flag}", ",".join(ALL_LINEAR)))
        if name.endswith("dropout") and isinstance(value, float) and value > MUCH:
            commands.append(run.command(f"--{flag}", 0.1))
        if name == "freeze" and value:
            commands.append(run.command(f"--{flag}", ""))
    if run.settings.weight_decay > MUCH:
        commands.append(run.command("--weight-decay", 0.01))
    return commands


def preview(run: Run) -> str:
    """Training rows with their labels: those that do not belong to their texts cannot be learnt."""
    return run.command("--rows", 20, of="data preview")



def updates_done(history: Sequence[Evaluation], log: Sequence[Row]) -> int:
    """The last update that log or evaluations know of."""
    steps = [0]
    for line in log:
        if line.get("event") == "step":
            steps.append(int(line["step"]))
    for evaluation in history:
        steps.append(evaluation.step)
    return max(steps)


def updates_more(level: float, per_update: float, done: int) -> int:
    """Updates in which the loss would halve at this pace.

    Between a third of the run and twice the run, as no pace lasts.

    Args:
        level: the loss now, in nats.
        per_update: its slope, in nats an update.
    """
    halving = level / 2 / max(-per_update, 1e-12)
    return math.ceil(min(max(halving, done / 3), 2 * done))
