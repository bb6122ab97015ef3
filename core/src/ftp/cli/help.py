"""The help of commands that take the options of a run, grouped by core's groups and by plugin."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence

import click

from ftp.options import Option
from ftp.plugin_info import Picked
from ftp.plugins.declare import kind_of, summary_of
from ftp.plugins.plan import Given, settled, suggestions_for


def text(
    usage: str, summary: str, fixed: Sequence[tuple[str, str]], options: Iterable[Option], picked: Sequence[Picked], given: Given
) -> str:
    """The help: usage, what the command does, its own options, and those of the run with the defaults that they have beside what
    is `given`."""
    plugins = {plugin.name: plugin for plugin in picked}
    suggestions = suggestions_for(picked, settled(picked, given)[0], given)[0]
    # click's own help knows no options that depend on the words of the line
    formatter = click.HelpFormatter(width=min(shutil.get_terminal_size().columns, 110), max_width=110)
    formatter.write_usage("ftp", usage)
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(summary)
    with formatter.section("Options"):
        formatter.write_dl(list(fixed))
    for heading, items in _by_heading(options).items():
        if heading in plugins:
            cls = plugins[heading].cls
            heading = f"{heading} ({kind_of(cls)}): {summary_of(cls)}"
        with formatter.section(heading):
            formatter.write_dl([(_left(item), _right(item, suggestions)) for item in items])
    without_options = [plugin.name for plugin in picked if not plugin.options]
    if without_options:
        formatter.write_paragraph()
        formatter.write_text(f"Without options: {', '.join(without_options)}.")
    return formatter.getvalue()


def _by_heading(options: Iterable[Option]) -> dict[str, list[Option]]:
    """Core's groups first and then one for each plugin."""
    groups: dict[str, list[Option]] = {}
    for item in sorted(options, key=lambda item: item.owner != ""):
        groups.setdefault(item.owner or item.group or "run", []).append(item)
    return groups


def _left(item: Option) -> str:
    """How an option is written: `--[no-]tie`, `--on-risk warn|stop|fail`, `--epochs FLOAT`."""
    if item.is_flag:
        return f"--[no-]{item.flag[2:]}"
    value = "|".join(map(str, item.choices)) or item.type_name.upper()
    return f"{item.flag} {value}"


def _right(item: Option, suggestions: Mapping[str, object]) -> str:
    """What an option means, its bounds, and the default that it has in this run."""
    default = item.default
    # plugins suggest other defaults for core's options alone
    if not item.owner:
        default = suggestions.get(item.key, default)
    parts = [item.help]
    if limits := bounds(item.low, item.high):
        parts.append(f"({limits})")
    if default is not None and default != ():
        parts.append(f"[{show(default)}]")
    return " ".join(filter(None, parts))


def bounds(low: float | None, high: float | None) -> str:
    """`1 to 8`, `at least 1`, `at most 8`, or nothing."""
    if low is None:
        return "" if high is None else f"at most {_bound(high)}"
    if high is None:
        return f"at least {_bound(low)}"
    return f"{_bound(low)} to {_bound(high)}"


def _bound(value: float) -> str:
    """A bound in all its digits, where `g` would round a large one."""
    return f"{value:g}" if abs(value) < 1e5 else str(value)


def show(value: object) -> str:
    """A default as a user would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)
