"""What to type next, in the options that this run really has."""

from __future__ import annotations

from typing import Any

from ftp.types import Run


def sooner(run: Run, step: int) -> list[str]:
    """End after this update, or by itself."""
    found = [run.command("--max-steps", step)]
    if run.settings.early_stopping_patience is None:
        found.append(run.command("--early-stopping-patience", 2))
    return found


def smaller(run: Run) -> list[str]:
    """Fewer or tighter weights, and more rows where there are more."""
    found = []
    for name, value, known in options(run):
        field = known.name
        if field in ("r", "rank") and isinstance(value, int) and value > 1:
            found.append(run.command(f"--{name}", max(int(known.low or 1), value // 4)))
        if field.endswith("dropout") and isinstance(value, float) and value < 0.1:
            found.append(run.command(f"--{name}", 0.1))
    if run.settings.weight_decay < 0.1:
        found.append(run.command("--weight-decay", 0.1))
    if run.settings.max_train_rows is not None:
        found.append(run.command("--max-train-rows", 4 * run.settings.max_train_rows))
    return found


def options(run: Run) -> list[tuple[str, Any, Any]]:
    """Flag (without dashes), value and description of each option of the plugins that this run named."""
    hooks = run.hooks
    if hooks is None:
        return []
    return [(known.key, getattr(hooks.plugins[one.name], known.name, known.default), known)
            for one in hooks.picked if not one.found.default for known in one.options]
