"""`ftp plugins`: what is installed, and what one of them does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from ftp.cli.help import bounds, show
from ftp.errors import PluginError, Problem, UserError, nearest
from ftp.hooks import ARITY
from ftp.host.terminal import say, say_json, warn
from ftp.options import Option
from ftp.plugin_info import Found, Picked
from ftp.plugins.audit import audit
from ftp.plugins.declare import implementations, kind_of, summary_of
from ftp.plugins.find import clash, discover, from_path, load_quietly, meant

CORE = "ftp-core"
SLOW = 2.0
"""Seconds that the import of one plugin may take before the list says whose it is."""


@click.group("plugins", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="A list of {name, kind, distribution, version, summary, default}.")
@click.option("--all", "everything", is_flag=True, help="With core's own plugins, which are part of every run.")
@click.option("--plugins-from", multiple=True, metavar="PATH", help="A file or folder of plugins that are not installed.")
@click.pass_context
def command(ctx: click.Context, as_json: bool, everything: bool, plugins_from: tuple[str, ...]) -> None:
    """List installed plugins, or show one: `ftp plugins show lora`."""
    ctx.obj = plugins_from
    if ctx.invoked_subcommand is not None:
        return
    entries, broken = _list(plugins_from, everything or as_json)
    if as_json:
        say_json(entries, indent=2)
    else:
        _print(entries, hidden=not everything)
    if broken:
        warn("")
        for problem in broken:
            warn(str(problem))


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.pass_obj
def show_one(plugins_from: tuple[str, ...], name: str, as_json: bool) -> None:
    """Show the hooks, options and forms of a plugin."""
    known = _known(plugins_from or ())
    candidates = meant(name, known)
    if not candidates:
        raise UserError(f"ftp plugins show {name}: no such plugin is installed", nearest(name, known), "ftp plugins")
    described = [_describe(one) for one in candidates]
    if as_json:
        say_json(described[0] if len(described) == 1 else described, indent=2)
        return
    for one in described:
        say("\n".join(_text(one)))
    if len(described) > 1:
        say(f"\n{clash(name, candidates)}")


def _known(plugins_from: Sequence[str]) -> dict[str, list[Found]]:
    known = dict(discover())
    for where in plugins_from:
        for one in from_path(where)[0]:
            known[one.name] = [*known.get(one.name, []), one]
    return dict(sorted(known.items()))


def _list(plugins_from: Sequence[str], everything: bool) -> tuple[list[dict[str, Any]], list[Problem]]:
    """One entry a plugin, and why some do not import (they are listed too, of kind `broken`)."""
    entries: list[dict[str, Any]] = []
    broken: list[Problem] = []
    for found in _known(plugins_from).values():
        for one in found:
            entry = {"name": one.name, "kind": "broken", "distribution": one.distribution, "version": one.version,
                     "summary": "", "default": one.default}
            started = time.perf_counter()
            try:
                cls = load_quietly(one)
                entry |= {"kind": kind_of(cls), "summary": summary_of(cls)}
            except (UserError, PluginError) as error:
                entry["summary"] = "cannot be used: see below"
                broken += getattr(error, "problems", (Problem(str(error)),))
            if (seconds := time.perf_counter() - started) > SLOW:
                broken.append(Problem(f"plugin '{one.name}' of {one.package} takes {seconds:.1f} s to import, and this list "
                                      "imports every plugin", "its heavy libraries belong inside its hooks"))
            if everything or one.distribution != CORE:
                entries.append(entry)
    return entries, broken


def _print(entries: list[dict[str, Any]], hidden: bool) -> None:
    """A table without rich: this command answers at once."""
    if not entries:
        say("no plugins are installed")
        return
    rows = [("name", "kind", "package", "summary")]
    for one in entries:
        every = " (part of every run)" if one["default"] else ""
        rows.append((one["name"], one["kind"], f"{one['distribution']} {one['version']}".strip(), one["summary"] + every))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        say("  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]).rstrip())
    say("\none of them: ftp plugins show NAME" + ("; with those of core: ftp plugins --all" if hidden else ""))


def _describe(found: Found) -> dict[str, Any]:
    import inspect

    cls = found.load()
    picked = Picked(found, cls)
    hooks = {
        hook: {"how": "wraps" if options.get("wrapper") else "default" if options.get("trylast") else "answers",
               "takes": ARITY.get(hook, "?")}
        for hook, options in implementations(cls).items()}
    return {
        "name": found.name, "kind": kind_of(cls), "distribution": found.distribution, "version": found.version,
        "target": found.target, "default": found.default, "summary": summary_of(cls), "help": inspect.getdoc(cls) or "",
        "hooks": {name: hooks[name] for name in ARITY if name in hooks},
        "wants": list(picked.declaration.wants), "gives": list(picked.declaration.gives),
        "head": [picked.declaration.head] if picked.declaration.head else [],
        "suggests": dict(picked.declaration.suggests),
        "options": [_option(item) for item in picked.options],
        "problems": [str(problem) for problem in audit([picked])],
    }


def _option(item: Option) -> dict[str, Any]:
    from ftp.folder.writing import plain

    made: dict[str, Any] = plain({"flag": item.flag, "name": item.name, "type": item.type_name, "default": item.default,
                                  "help": item.help, "low": item.low, "high": item.high, "choices": list(item.choices)})
    return made


def _text(one: dict[str, Any]) -> list[str]:
    lines = [f"{one['name']} ({one['kind']}), from {one['distribution']} {one['version']}".rstrip(), ""]
    lines += [f"  {line}".rstrip() for line in one["help"].splitlines()]
    if one["default"]:
        lines += ["", f"part of every run; left out with --plugins ...,-{one['name']}"]
    for title, key in (("reads rows of the form", "wants"), ("gives rows of the form", "gives"),
                       ("trains the head", "head")):
        if one[key]:
            lines += ["", f"{title}: {' or '.join(one[key])}"]
    if one["suggests"]:
        lines += ["", "suggests: " + ", ".join(f"{key} = {value}" for key, value in one["suggests"].items())]
    lines += ["", "hooks:"]
    width = max((len(name) for name in one["hooks"]), default=0)
    lines += [f"  {name.ljust(width)}  {hook['how']}" for name, hook in one["hooks"].items()] or ["  none"]
    lines += ["", "options:"]
    for item in one["options"]:
        known = Option("", item["name"], None, None, "", item["low"], item["high"])
        limits = "|".join(item["choices"]) if item["choices"] else item["type"]
        limits += f", {bounds(known)}" if bounds(known) else ""
        value = tuple(item["default"]) if isinstance(item["default"], list) else item["default"]
        default = "" if value in (None, ()) else f" [{show(value)}]"
        lines += [f"  {item['flag']}  ({limits}){default}", f"      {item['help']}"]
    if not one["options"]:
        lines.append("  none")
    return [*lines, *(["", "problems:"] + [f"  {text}" for text in one["problems"]] if one["problems"] else [])]
