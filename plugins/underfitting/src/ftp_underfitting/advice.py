"""What to type next, in the options that this run really has."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import entry_points

from ftp import forms
from ftp.risks import named_options
from ftp.types import Data, Evaluation, Row, Run

ALL_LINEAR = ("all-linear",)
"""PEFT's name for every linear module."""
MUCH = 0.3
"""Dropout or weight decay above this holds a model back that learns too little."""
NEAR_USUAL = 5
"""A learning rate within this factor of the usual one is not to blame for being unusual."""

CLASS_WEIGHTS = "class_weight"
"""The plugin that weighs rare classes more."""
PROBE = "probe"
METHODS = ("full", PROBE)
"""Plugins that train all weights, or a linear head alone."""
TRAINED_WEIGHTS = "which weights are trained"
"""What a parameterisation decides."""


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


def other_methods(run: Run, data: Data) -> list[str]:
    """Other ways to train on the same rows, as far as they are installed and are no part of the run."""
    installed = {plugin.name for plugin in entry_points(group="ftp")}
    named = [plugin for plugin in run.hooks.picked if not plugin.found.default]
    names = [plugin.name for plugin in named]
    commands = []
    # without an update nothing asks the loss
    can_weigh = CLASS_WEIGHTS in installed and CLASS_WEIGHTS not in names and run.settings.max_steps != 0
    if can_weigh and _are_classes_uneven(data):
        commands.append(run.command("--plugins", ",".join([*names, CLASS_WEIGHTS])))
    for method in METHODS:
        commands += in_place_of_method(run, data, method)
    return commands


def in_place_of_method(run: Run, data: Data, method: str) -> list[str]:
    """The same rows with a method in place of the one of this run; none where it is not installed."""
    named = [plugin for plugin in run.hooks.picked if not plugin.found.default]
    names = [plugin.name for plugin in named]
    deciding = [plugin.name for plugin in named if TRAINED_WEIGHTS in plugin.declaration.decides]
    is_installed = any(plugin.name == method for plugin in entry_points(group="ftp"))
    if len(deciding) != 1 or data.domains or not is_installed or method in names:
        return []
    others = [method if name == deciding[0] else name for name in names]
    # a new line and not the recipe, whose learning rate is that of the method of this run
    return [f"ftp run --plugins {','.join(others)}{_source(run)}"]


def _source(run: Run) -> str:
    """The flags that say which rows and which model this run has."""
    settings = run.settings
    words: list[str] = []
    for flag, value in (("--model", settings.model), ("--data", settings.data)):
        if value:
            words += [flag, str(value)]
    if settings.columns:
        words += ["--columns", ",".join(settings.columns)]
    return "".join(f" {shlex.quote(word)}" for word in words)


def _are_classes_uneven(data: Data) -> bool:
    """Whether the rarest class of the training rows has less than a fifth of its fair share."""
    train = data.splits.get("train")
    column = forms.get(data.form).class_column
    if train is None or column is None or column.kind != "class" or not hasattr(train, "num_rows"):
        return False
    counts: Counter[int] = Counter(train[column.name][:])
    fair_share = len(train) / max(1, len(data.labels))
    return min(counts.values(), default=0) < fair_share / 5


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
