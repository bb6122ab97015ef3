"""`ftp plan`: what a run would do, without doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ftp.cli import flags
from ftp.cli.run import RAW, help_text, wants_help
from ftp.host.terminal import say, say_json

if TYPE_CHECKING:
    from ftp.plugins.plan import Prepared
    from ftp.runs.dry_run import Forecast, Shape
    from ftp.settings import Settings

FIXED = [
    ("RECIPE.toml", "the recipe of the run"),
    ("--plugins A,B,-C", "plugins of the run"),
    ("--json", "the same as JSON"),
    ("--trust-recipe", "run the Python files that the recipe names, and remember them"),
    ("-h, --help", "this help"),
]
SHOWN = 20
"""Kinds of weights that are listed."""


@click.command("plan", context_settings=RAW, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Show what a run would do: who answers which hook in which order, what would be trained, updates and memory.
    Takes what `ftp run` takes. Reads local data to count rows; loads no weights."""
    if wants_help(arguments):
        say(help_text("plan", arguments, command.help or "", FIXED))
        return
    line, prepared = flags.assemble(arguments, switches=("--json",))

    from ftp.runs import dry_run

    forecast = dry_run.forecast(prepared)
    prepared = forecast.prepared
    if "--json" in line.switches:
        say_json(as_json(prepared, forecast), indent=2)
    else:
        say("\n".join(text(prepared, forecast)))


def as_json(prepared: Prepared, forecast: Forecast) -> dict[str, object]:
    """The plan as JSON can say it."""
    from ftp.folder.writing import plain

    plugins = []
    for plugin in prepared.picked:
        plugins.append({"name": plugin.name, "distribution": plugin.found.distribution, "version": plugin.found.version})
    hooks = {}
    for hook, acting in forecast.acting.items():
        hooks[hook] = [{"plugin": name, "how": how} for name, how in acting]
    options = {}
    for key, source in prepared.origin.items():
        if source != "default":
            options[key] = {"value": prepared.values[key], "from": source}
    values: dict[str, object] = {
        "plugins": plugins, "form": prepared.task.form, "head": prepared.task.head, "labels": forecast.labels, "hooks": hooks,
        "model": None if forecast.shape is None else _model_as_json(forecast.shape), "rows": forecast.rows,
        "updates": forecast.updates, "memory": forecast.memory, "formula": forecast.formula, "options": options,
        "unknown": forecast.unknown, "notes": forecast.notes,
    }
    return plain(values)


def _model_as_json(shape: Shape) -> dict[str, object]:
    weights = [{"name": name, "shape": size} for name, size in shape.weights]
    return {"name": shape.name, "class": shape.kind, "trained": shape.trained, "total": shape.total, "weights": weights}


def text(prepared: Prepared, forecast: Forecast) -> list[str]:
    """The plan as lines."""
    labels = f" ({', '.join(forecast.labels)})" if forecast.labels else ""
    lines = [f"form   {prepared.task.form}", f"head   {prepared.task.head}{labels}"]
    lines += ["", "hooks, in the order in which a run calls them, and who acts:"]
    for hook, acting in forecast.acting.items():
        who = ", then ".join(f"{name} ({how})" for name, how in acting)
        lines.append(f"  {hook:<12} {who or '-'}")
    lines += ["", *_about_model(forecast.shape)]
    if forecast.rows:
        lines += ["", "rows   " + ", ".join(f"{split} {count:,}" for split, count in forecast.rows.items())]
    if forecast.updates is not None:
        lines.append(_about_updates(prepared.settings, forecast.updates))
    if forecast.memory:
        lines += ["", f"memory an estimate on the high side: {_size(sum(forecast.memory.values()))} on one device"]
        for part, size in forecast.memory.items():
            lines.append(f"  {part:<12} {_size(size)}")
        lines.append(f"  ({forecast.formula})")
    # what the user or a plugin chose; an option that was given its default value is none of them
    chosen = []
    for item in prepared.options:
        value = prepared.values[item.key]
        if value != item.default:
            chosen.append(f"  {item.key} = {value}  ({prepared.origin[item.key]})")
    if chosen:
        lines += ["", "options that differ from their defaults:", *chosen]
    for title, notes in (("notes", forecast.notes), ("not known", forecast.unknown)):
        if notes:
            lines += ["", f"{title}:", *(f"  {note}" for note in notes)]
    return lines


def _about_updates(settings: Settings, updates: int) -> str:
    """How many updates there are, how large one is, and why there are so many."""
    size = f"{settings.batch_size} rows"
    if settings.batch_tokens:
        size = f"{settings.batch_tokens} tokens"
    why = "--max-steps"
    if settings.max_steps is None:
        why = f"{settings.epochs:g} epochs"
    return f"updates {updates:,}, each of {size} ({why})"


def _about_model(shape: Shape | None) -> list[str]:
    """The network, and which of its weights are trained."""
    if shape is None:
        return ["model  not known"]
    share = shape.trained / shape.total if shape.total else 0
    lines = [f"model  {shape.name} ({shape.kind})",
             f"trains {shape.trained:,} of {shape.total:,} parameters ({share:.2%}):"]
    names = [name for name, _ in shape.weights]
    return lines + [f"  {pattern}" for pattern in _patterns(names)]


def _patterns(names: Sequence[str]) -> list[str]:
    """Names with their layer numbers left out, each with how many there are; the rest counted beyond `SHOWN`."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = ["*" if part.isdigit() else part for part in name.split(".")]
        counts[".".join(parts)] += 1
    lines = [f"{pattern}  x {count}" if count > 1 else pattern for pattern, count in counts.items()]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"and {len(lines) - SHOWN} more kinds: ftp plan --json lists all"]
    return lines


def _size(size: float) -> str:
    """Bytes in the unit that suits them: `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
