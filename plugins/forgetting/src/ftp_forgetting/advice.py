"""What to type next, in the options that this run really has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ftp import forms, heads
from ftp.errors import UserError
from ftp.types import Model, Run

LAYER = re.compile(r".*\.\d+\.")


def less(run: Run, model: Model) -> list[str]:
    """Commands that keep more of what the model could do: a lower rate, fewer updates, fewer weights, general rows, anchors."""
    found = [run.command("--learning-rate", f"{run.settings.learning_rate / 3:.1g}")]
    done = _done(run)
    if done > 10:
        found.append(run.command("--max-steps", done // 2))
    names = _names(run)
    deciding = _deciding(run)
    if deciding in ([], ["full"]):
        small = [*(name for name in names if name not in deciding), "lora"]
        found += _with(run, small)
        if modules := mlp(model.net):
            found += _with(run, small, "--lora.target_modules", ",".join(modules))
    if heads.get(model.head).writes_text and forms.fits(["conversation"], run.task.form):
        found += _with(run, [*names, "mix"])
    found += _with(run, [*names, "l2sp"])
    if heads.get(model.head).is_over_vocabulary:
        found += _with(run, [*names, "kl_anchor"])
    return found


def mlp(net: Any) -> tuple[str, ...]:
    """The matrices of the layers' MLPs, as `target_modules` takes them: ends of names, or one expression where an end is that of
    a matrix of the attention too. Empty where they cannot be told from the names."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    ends = [LAYER.sub("", name) for name, part in net.named_modules()
            if isinstance(part, (nn.Linear, Conv1D)) and LAYER.match(name)]
    attention = [end for end in ends if "att" in end.lower()]
    inner = list(dict.fromkeys(end for end in ends if end not in attention))
    if not attention or not inner or any("expert" in end for end in inner):
        return ()
    last = tuple(dict.fromkeys(end.split(".")[-1] for end in inner))
    if any(end.split(".")[-1] in last for end in attention):
        return (rf".*\.\d+\.({'|'.join(map(re.escape, inner))})",)
    return last


def _with(run: Run, names: Sequence[str], *options: str) -> list[str]:
    """This run with these plugins, at the learning rate that they suggest where they suggest another; none where they are not
    installed, do not go together, or are those of the run already."""
    from ftp.plugins.plan import prepare

    if set(names) == set(_names(run)):
        return []
    same = {"model": run.settings.model} if run.settings.model else {}
    try:
        usual, other = (prepare(one, run.settings.plugins_from, [("this run", same)]).settings.learning_rate
                        for one in (_names(run), names))
    except UserError:
        return []
    rate = () if usual == other else ("--learning-rate", f"{run.settings.learning_rate * other / usual:.2g}")
    return [run.command("--plugins", ",".join(names), *options, *rate)]


def _names(run: Run) -> list[str]:
    """The plugins that the run named, as its recipe has them (`-name`: left out)."""
    if run.out is not None and (run.out / "run.toml").is_file():
        from ftp.options import read_recipe

        return list(read_recipe(run.out / "run.toml")["plugins"])
    return [one.name for one in (run.hooks.picked if run.hooks else ()) if not one.found.default]


def _deciding(run: Run) -> list[str]:
    """The plugins that say which weights move."""
    from ftp.plugins.declare import kind_of

    return [one.name for one in (run.hooks.picked if run.hooks else ()) if kind_of(one.cls) == "parameterisation"]


def _done(run: Run) -> int:
    lines: Any = run.log.lines if run.log is not None else ()
    return max([0, *(int(line["step"]) for line in lines if line.get("event") == "step")])
