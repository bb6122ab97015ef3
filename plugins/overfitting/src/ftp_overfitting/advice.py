"""What to type next, in the options that this run really has."""

from __future__ import annotations

from ftp.risks import named_options
from ftp.types import Run

MUCH_DECAY, MUCH_DROPOUT = 0.1, 0.1
"""Common strong values; a run that has less of them has something to try."""


def stop_sooner(run: Run, step: int) -> list[str]:
    """End after this update, or by itself."""
    commands = [run.command("--max-steps", step)]
    if not run.settings.early_stopping_patience:
        commands.append(run.command("--early-stopping-patience", 2))
    return commands


def restrict(run: Run) -> list[str]:
    """Train fewer weights or hold them tighter, and read more rows where there are more."""
    commands = []
    for flag, value, description in named_options(run):
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
