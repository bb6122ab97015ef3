"""What to type next, in the options that this run really has."""

from __future__ import annotations

from typing import Any

from ftp.types import Model, Run


def less(run: Run, model: Model) -> list[str]:
    """Commands that keep more of what the model could do: a lower rate, fewer updates, fewer weights, general rows, anchors."""
    command = f"ftp run {run.out / 'run.toml'}" if run.out is not None else "ftp run ..."
    found = [f"{command} --learning-rate {run.settings.learning_rate / 3:.1g}"]
    done = _done(run)
    if done > 10:
        found.append(f"{command} --max-steps {done // 2}")
    names = [one.name for one in (run.hooks.picked if run.hooks else ()) if not one.found.default]
    adapted = hasattr(model.net, "peft_config")
    if not adapted:
        found.append(f"{command} --plugins {','.join([*(one for one in names if one != 'full'), 'lora'])}")
    if model.head in ("tokens", "mask") and run.task.form in ("text", "conversation") and "mix" not in names:
        found.append(f"{command} --plugins {','.join([*names, 'mix'])} --mix.data FILE")
    if "l2sp" not in names:
        found.append(f"{command} --plugins {','.join([*names, 'l2sp'])}")
    if model.head in ("tokens", "mask") and "kl_anchor" not in names:
        found.append(f"{command} --plugins {','.join([*names, 'kl_anchor'])}")
    return found


def _done(run: Run) -> int:
    lines: Any = run.log.lines if run.log is not None else ()
    return max([0, *(int(line["step"]) for line in lines if line.get("event") == "step")])
