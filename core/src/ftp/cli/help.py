"""The help of commands that take the options of a run, grouped by core's groups and by plugin."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence

import click

from ftp.cli.flags import grouped
from ftp.options import Option
from ftp.plugin_info import Picked
from ftp.plugins.declare import kind_of, summary_of
from ftp.plugins.plan import Given, settled, suggestions_for


def text(
    usage: str, summary: str, fixed: Sequence[tuple[str, str]], options: Iterable[Option], picked: Sequence[Picked], given: Given
) -> str:
    """The help: usage, what the command does, its own options, and those of the run with the defaults that they have beside what
    is `given`."""
    who = {one.name: one for one in picked}
    suggestions = suggestions_for(picked, settled(picked, given)[0], given)[0]
    formatter = click.HelpFormatter(width=min(shutil.get_terminal_size().columns, 110), max_width=110)
    formatter.write_usage("ftp", usage)
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(summary)
    with formatter.section("Options"):
        formatter.write_dl(list(fixed))
    for heading, items in grouped(options).items():
        if heading in who:
            heading = f"{heading} ({kind_of(who[heading].cls)}): {summary_of(who[heading].cls)}"
        with formatter.section(heading):
            formatter.write_dl([(_left(item), _right(item, suggestions)) for item in items])
    silent = [one.name for one in picked if not one.options]
    if silent:
        formatter.write_paragraph()
        formatter.write_text(f"Without options: {', '.join(silent)}.")
    return formatter.getvalue()


def _left(item: Option) -> str:
    if item.is_flag:
        return f"--[no-]{item.flag[2:]}"
    return f"{item.flag} {'|'.join(map(str, item.choices)) if item.choices else item.type_name.upper()}"


def _right(item: Option, suggestions: dict[str, object]) -> str:
    default = suggestions.get(item.key, item.default) if not item.owner else item.default
    limits = bounds(item)
    shown = "" if default is None or default == () else f"[{show(default)}]"
    return " ".join(part for part in (item.help, f"({limits})" if limits else "", shown) if part)


def bounds(item: Option) -> str:
    """`1 to 8`, `at least 1`, `at most 8`, or nothing."""
    low, high = (None if value is None else f"{value:g}" if abs(value) < 1e5 else f"{value}" for value in (item.low, item.high))
    if low and high:
        return f"{low} to {high}"
    if low:
        return f"at least {low}"
    return f"at most {high}" if high else ""


def show(value: object) -> str:
    """A default as a user would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)
