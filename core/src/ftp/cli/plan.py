"""`ftp plan`: what a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ftp.cli import flags
from ftp.cli.run import RAW, help_text, wants_help
from ftp.host.terminal import say, say_json

if TYPE_CHECKING:
    from ftp.plugins.plan import Prepared
    from ftp.runs.dry_run import Forecast

FIXED = [
    ("RECIPE.toml", "the recipe of the run"),
    ("--plugins A,B,-C", "plugins of the run"),
    ("--json", "the same as JSON"),
    ("--trust-recipe", "run the Python files that the recipe names, and remember them"),
    ("-h, --help", "this help"),
]
SHOWN = 20


@click.command("plan", context_settings=RAW, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Show what a run would do: who answers which hook in which order, what would be trained, updates and memory.
    Takes what `ftp run` takes. Reads local data to count rows; loads no weights."""
    if wants_help(arguments):
        say(help_text("plan", arguments, command.help or "", FIXED))
        return
    line, prepared = flags.assemble(arguments, switches=("--json",))

    from ftp.runs.dry_run import forecast

    found = forecast(prepared)
    if line.extra.get("--json"):
        say_json(as_json(prepared, found), indent=2)
    else:
        say("\n".join(text(prepared, found)))


def as_json(prepared: Prepared, found: Forecast) -> dict[str, object]:
    """The plan as JSON can say it."""
    from ftp.folder.writing import plain

    shape = found.shape
    made: dict[str, object] = plain({
        "plugins": [{"name": one.name, "distribution": one.found.distribution, "version": one.found.version}
                    for one in prepared.picked],
        "form": prepared.task.form, "head": prepared.task.head, "labels": found.labels,
        "hooks": {hook: [{"plugin": name, "how": how} for name, how in acting] for hook, acting in found.acting.items()},
        "model": None if shape is None else {
            "name": shape.name, "class": shape.kind, "trained": shape.trained, "total": shape.total,
            "weights": [{"name": name, "shape": size} for name, size in shape.weights]},
        "rows": found.rows, "updates": found.updates, "memory": found.memory, "formula": found.formula,
        "options": {key: {"value": prepared.values[key], "from": source} for key, source in prepared.origin.items()
                    if source != "default"},
        "unknown": found.unknown, "notes": found.notes})
    return made


def text(prepared: Prepared, found: Forecast) -> list[str]:
    """The plan as lines."""
    task, shape = prepared.task, found.shape
    lines = [f"form   {task.form}", f"head   {task.head}" + (f" ({', '.join(found.labels)})" if found.labels else "")]
    lines += ["", "hooks, in the order in which a run calls them, and who acts:"]
    for hook, acting in found.acting.items():
        told = ", then ".join(f"{name} ({how})" for name, how in acting)
        lines.append(f"  {hook:<12} {told or '-'}")
    lines += ["", f"model  {shape.name} ({shape.kind})" if shape else "model  not known"]
    if shape is not None:
        share = shape.trained / shape.total if shape.total else 0
        lines.append(f"trains {shape.trained:,} of {shape.total:,} parameters ({share:.2%}):")
        lines += [f"  {name}" for name in _patterns([name for name, _ in shape.weights])]
    if found.rows:
        lines += ["", "rows   " + ", ".join(f"{name} {count:,}" for name, count in found.rows.items())]
    settings = prepared.settings
    if found.updates is not None:
        size = f"{settings.batch_tokens} tokens" if settings.batch_tokens else f"{settings.batch_size} rows"
        why = f"{settings.epochs:g} epochs" if settings.max_steps is None else "--max-steps"
        lines.append(f"updates {found.updates:,}, each of {size} ({why})")
    if found.memory:
        lines += ["", f"memory an estimate on the high side: {_size(sum(found.memory.values()))} on one device"]
        lines += [f"  {name:<12} {_size(size)}" for name, size in found.memory.items()]
        lines.append(f"  ({found.formula})")
    defaults = {item.key: item.default for item in prepared.options}
    chosen = {key: source for key, source in prepared.origin.items() if prepared.values[key] != defaults[key]}
    if chosen:
        lines += ["", "options that differ from their defaults:"]
        lines += [f"  {key} = {prepared.values[key]}  ({source})" for key, source in chosen.items()]
    for title, told_here in (("notes", found.notes), ("not known", found.unknown)):
        if told_here:
            lines += ["", f"{title}:", *(f"  {one}" for one in told_here)]
    return lines


def _patterns(names: Sequence[str]) -> list[str]:
    """Names with their layer numbers left out, each with how many there are; the rest counted beyond `SHOWN`."""
    counts: dict[str, int] = {}
    for name in names:
        pattern = ".".join("*" if part.isdigit() else part for part in name.split("."))
        counts[pattern] = counts.get(pattern, 0) + 1
    lines = [f"{pattern}  x {count}" if count > 1 else pattern for pattern, count in counts.items()]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"and {len(lines) - SHOWN} more kinds: ftp plan --json lists all"]
    return lines


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
