"""What to type next, in the options that this run really has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ftp.types import Evaluation, Row, Run

WHOLE = ("all-linear",)


def rate(run: Run, value: float) -> str:
    """Another learning rate."""
    return run.command("--learning-rate", f"{value:.1g}")


def usual_rate(run: Run) -> float:
    """The learning rate that the plugins of this run suggest, else core's own."""
    from ftp.plugins.fit import suggested
    from ftp.settings import Settings

    values, _, _ = suggested(run.hooks.picked if run.hooks else ())
    return float(values.get("learning_rate", Settings().learning_rate))


def lower_rate(run: Run, suggested: float | None) -> list[str]:
    """The rate of the range test, or the usual one where the present one is far above it, or a tenth; and a gentler
    beginning."""
    now, usual = run.settings.learning_rate, usual_rate(run)
    found = [rate(run, suggested if suggested is not None and suggested < now else usual if now > 5 * usual else now / 10)]
    if run.settings.max_grad_norm == 0:
        found.append(run.command("--max-grad-norm", 1))
    if run.settings.warmup_steps is None and run.settings.warmup_ratio < 0.06:
        found.append(run.command("--warmup-ratio", 0.1))
    return found


def higher_rate(run: Run, suggested: float | None) -> str:
    """The rate of the range test, or the usual one where the present one is far below it, or ten times as much."""
    now, usual = run.settings.learning_rate, usual_rate(run)
    return rate(run, suggested if suggested is not None and suggested > now else usual if now < usual / 5 else now * 10)


def longer(run: Run, done: int, more: int) -> str:
    """More updates."""
    return run.command("--max-steps", done + more)


def larger(run: Run) -> list[str]:
    """More weights that may move: a higher rank, more modules; rates of dropout and decay that are high, lower."""
    found = []
    for name, value, known in options(run):
        if known.name in ("r", "rank") and isinstance(value, int):
            found.append(run.command(f"--{name}", 4 * value))
        if known.name == "target_modules" and tuple(value or WHOLE) != WHOLE:
            found.append(run.command(f"--{name}", ",".join(WHOLE)))
        if known.name.endswith("dropout") and isinstance(value, float) and value > 0.3:
            found.append(run.command(f"--{name}", 0.1))
        if known.name == "freeze" and value:
            found.append(run.command(f"--{name}", ""))
    if run.settings.weight_decay > 0.3:
        found.append(run.command("--weight-decay", 0.01))
    return found


def preview(run: Run) -> str:
    """Training rows with their labels: those that do not belong to their texts cannot be learnt."""
    return run.command("--rows", 20, of="data preview")


def options(run: Run) -> list[tuple[str, Any, Any]]:
    """Flag (without dashes), value and description of each option of the plugins that this run named."""
    hooks = run.hooks
    if hooks is None:
        return []
    return [(known.key, getattr(hooks.plugins[one.name], known.name, known.default), known)
            for one in hooks.picked if not one.found.default for known in one.options]


def updates_done(history: Sequence[Evaluation], log: Sequence[Row]) -> int:
    """The last update that anything tells of."""
    lines = [int(line["step"]) for line in log if line.get("event") == "step"]
    return max([0, *lines, *(one.step for one in history)])


def updates_more(level: float, per_update: float, done: int) -> int:
    """Updates in which the loss would halve at this pace, between a third of the run and twice the run."""
    halving = level / 2 / max(-per_update, 1e-12)
    return math.ceil(min(max(halving, done / 3), 2 * done))
