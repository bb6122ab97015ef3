"""What to type next, in the options that this run really has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftp import UserError, forms, heads
from ftp.types import Model, Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAYER = re.compile(r".*\.\d+\.")
"""The beginning of the name of a module inside a layer, which has the layer's number."""


def keep_more(run: Run, model: Model) -> list[str]:
    """Commands that keep more of what the model could do.

    A lower rate, fewer updates, fewer weights, general rows, anchors.
    """
    commands = [run.command("--learning-rate", f"{run.settings.learning_rate / 3:.1g}")]
    done = _updates_done(run)
    if done > 10:
        commands.append(run.command("--max-steps", done // 2))
    names = _named_plugins(run)
    parameterisations = _parameterisations(run)
    # where all weights are trained, low-rank adapters forget less (Biderman et al. 2024)
    if parameterisations in ([], ["full"]):
        with_lora = [*(name for name in names if name not in parameterisations), "lora"]
        commands += _with_plugins(run, with_lora)
        modules = mlp(model.net)
        if modules:
            target = ("--lora.target_modules", ",".join(modules))
            commands += _with_plugins(run, with_lora, *target)
    # of conversations, and of what can be read as such, `mix` has general rows
    if heads.get(model.head).writes_text and forms.get(run.task.form).is_whole:
        commands += _with_plugins(run, [*names, "mix"])
    commands += _with_plugins(run, [*names, "l2sp"])
    if heads.get(model.head).is_over_vocabulary:
        commands += _with_plugins(run, [*names, "kl_anchor"])
    return commands


def mlp(net: PreTrainedModel) -> tuple[str, ...]:
    """The matrices of the layers' MLPs, as `target_modules` takes them.

    Ends of names, or one expression where an end is that of a matrix of the attention too. Empty
    where they cannot be told from the names.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    # names inside a layer: the same in each, so that a few stand for all
    matrices = []
    for name, module in net.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)) and LAYER.match(name):
            matrices.append(LAYER.sub("", name))
    attention = [name for name in matrices if "att" in name.lower()]
    others = list(dict.fromkeys(name for name in matrices if name not in attention))
    # experts of a mixture are trained by few rows each, and adapters on all of them are many
    if not attention or not others or any("expert" in name for name in others):
        return ()
    ends = tuple(dict.fromkeys(_last_part(name) for name in others))
    if any(_last_part(name) in ends for name in attention):
        return (rf".*\.\d+\.({'|'.join(map(re.escape, others))})",)
    return ends


def _last_part(name: str) -> str:
    return name.split(".")[-1]


def _with_plugins(run: Run, names: Sequence[str], *options: str) -> list[str]:
    """This run with these plugins, and with the learning rate that they suggest.

    None where they are not installed, do not go together, or are those of the run already.
    """
    if set(names) == set(_named_plugins(run)):
        return []
    try:
        usual_rate = _usual_rate(run, _named_plugins(run))
        other_rate = _usual_rate(run, names)
    except UserError:
        return []
    rate: tuple[str, ...] = ()
    if usual_rate != other_rate:
        scaled = run.settings.learning_rate * other_rate / usual_rate
        rate = ("--learning-rate", f"{scaled:.2g}")
    return [run.command("--plugins", ",".join(names), *options, *rate)]


def _usual_rate(run: Run, names: Sequence[str]) -> float:
    """The learning rate that these plugins suggest for the run's model.

    Raises:
        UserError: they are not installed, or do not go together.
    """
    from ftp.plugins.plan import prepare

    options = {"model": run.settings.model} if run.settings.model else {}
    prepared = prepare(names, run.settings.plugins_from, [("this run", options)])
    return prepared.settings.learning_rate


def _named_plugins(run: Run) -> list[str]:
    """The plugins that the run named, as its recipe has them (`-name`: left out)."""
    if run.out is not None and (run.out / "run.toml").is_file():
        from ftp.options import read_recipe

        return list(read_recipe(run.out / "run.toml")["plugins"])
    if run.hooks is None:
        return []
    return [plugin.name for plugin in run.hooks.picked if not plugin.found.default]


def _parameterisations(run: Run) -> list[str]:
    """The plugins that say which weights move."""
    from ftp.plugins.declare import kind_of

    if run.hooks is None:
        return []
    names = []
    for plugin in run.hooks.picked:
        if kind_of(plugin.cls) == "parameterisation":
            names.append(plugin.name)
    return names


def _updates_done(run: Run) -> int:
    steps = [0]
    for line in run.log.lines if run.log is not None else ():
        if line.get("event") == "step":
            steps.append(int(line["step"]))
    return max(steps)
