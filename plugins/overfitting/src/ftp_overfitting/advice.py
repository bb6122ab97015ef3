"""What to type next, in the options that this run really has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftp.types import Run

MUCH_DECAY, MUCH_DROPOUT = 0.1, 0.1
"""Common strong values; a run that has less of them has something to try."""


def stop_sooner(run: Run, step: int) -> list[str]:
    """End after this update, or by itself."""
    commands = [run.command("--max-steps", step)]
    if run.settings.early_stopping_patience is None:
        commands.append(run.command("--early-stopping-patience", 2))
    return commands


def restrict(run: Run) -> list[str]:
    """Train fewer weights or hold them tighter, and read more rows where there are more."""
    commands = []
    for flag, value, description in _plugin_options(run):
        field = description.name
        if field in ("r", "rank") and isinstance(value, int) and value > 1:
            least = int(description.low or 1)
            commands.append(run.command(f"--{flag}", max(least, value // 4)))
        if field.endswith("dropout") and isinstance(value, float) and value < MUCH_DROPOUT:
            commands.append(run.command(f"--{flag}", MUCH_DROPOUT))
    if run.settings.weight_decay < MUCH_DECAY:
        commands.append(run.command("--weight-decay", MUCH_DECAY))
    if run.settings.max_train_rows is not None:
        commands.append(run.command("--max-train-rows", 4 * run.settings.max_train_rows))
    return commands


def _plugin_options(run: Run) -> Iterator[tuple[str, Any, Any]]:
    """Flag (without dashes), value and description of each option of the plugins that were named.

    Default plugins are left out: nobody chose them, and their options restrict nothing.
    """
    if run.hooks is None:
        return
    for plugin in run.hooks.picked:
        if plugin.found.default:
            continue
        instance = run.hooks.plugins[plugin.name]
        for description in plugin.options:
            value = getattr(instance, description.name, description.default)
            yield description.key, value, description
