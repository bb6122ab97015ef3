"""What to type next, in the options that this run really has."""

from __future__ import annotations

from typing import Any

from ftp.types import Data, Run


def command(run: Run) -> str:
    """The command that repeats this run; options are put behind it."""
    return f"ftp run {run.out / 'run.toml'}" if run.out is not None else "ftp run ..."


def sooner(run: Run, best_step: int) -> list[str]:
    """End where the held-out loss was best."""
    found = [f"{command(run)} --max-steps {best_step}"]
    if run.settings.early_stopping_patience is None:
        found.append(f"{command(run)} --early-stopping-patience 2")
    return found


def smaller(run: Run, data: Data) -> list[str]:
    """Fewer or tighter weights, and more rows."""
    found = []
    for name, value, known in options(run):
        field = known.name
        if field in ("r", "rank") and isinstance(value, int) and value > 1:
            found.append(f"{command(run)} --{name} {max(int(known.low or 1), value // 4)}")
        if field.endswith("dropout") and isinstance(value, float) and value < 0.1:
            found.append(f"{command(run)} --{name} 0.1")
    decay = run.settings.weight_decay
    if decay < 0.1:
        found.append(f"{command(run)} --weight-decay 0.1")
    train = data.splits.get("train")
    rows = getattr(train, "num_rows", None)
    if run.settings.max_train_rows is not None:
        found.append(f"{command(run)} --max-train-rows {4 * run.settings.max_train_rows}")
    elif rows is not None:
        found.append(f"more training rows: there are {rows}")
    return found


def options(run: Run) -> list[tuple[str, Any, Any]]:
    """Flag (without dashes), value and description of each option of the plugins that this run named."""
    hooks = run.hooks
    if hooks is None:
        return []
    return [(known.key, getattr(hooks.plugins[one.name], known.name, known.default), known)
            for one in hooks.picked if not one.found.default for known in one.options]
