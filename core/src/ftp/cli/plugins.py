"""`ftp plugins`: what is installed, and what one of them does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypedDict

import click

from ftp import forms, heads, registry
from ftp.cli.plugin_page import as_text, describe
from ftp.errors import Problem, UserError, nearest
from ftp.folder.writing import plain
from ftp.forms import catalogue
from ftp.host.quiet import quiet_import
from ftp.host.terminal import say, say_json, warn
from ftp.plugin_info import Found
from ftp.plugins.declare import kind_of, summary_of
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
    """Show all that a plugin declares: forms, head, order, hooks, options, and what its package brings beside it."""
    known = _known(plugins_from or ())
    candidates = meant(name, known)
    if not candidates:
        raise UserError(f"ftp plugins show {name}: no such plugin is installed", nearest(name, known), "ftp plugins")
    pages = [describe(candidate) for candidate in candidates]
    if as_json:
        say_json(plain(pages[0] if len(pages) == 1 else pages), indent=2)
        return
    for page in pages:
        say("\n".join(as_text(page)))
    if len(pages) > 1:
        say(f"\n{clash(name, candidates)}")


def _known(plugins_from: Sequence[str]) -> dict[str, list[Found]]:
    """Installed plugins and those of these files or folders, by name."""
    known = dict(discover())
    for where in plugins_from:
        for plugin in from_path(where)[0]:
            known[plugin.name] = [*known.get(plugin.name, []), plugin]
    return dict(sorted(known.items()))


class Entry(TypedDict):
    """A line of the list. `default`: whether it is part of every run."""

    name: str
    kind: str
    distribution: str
    version: str
    summary: str
    default: bool


def _list(plugins_from: Sequence[str], everything: bool) -> tuple[list[Entry], list[Problem]]:
    """One entry a plugin, and why some do not import (they are listed too, of kind `broken`)."""
    entries: list[Entry] = []
    broken = _broken_registrations()
    for of_name in _known(plugins_from).values():
        for plugin in of_name:
            started = time.perf_counter()
            # one broken package must not keep the others from being listed
            try:
                cls = load_quietly(plugin)
                kind, summary = kind_of(cls), summary_of(cls)
            except UserError as error:
                kind, summary = "broken", "cannot be used: see below"
                for problem in error.problems:
                    # several plugins of a package are broken in one way
                    reason = problem.what.replace(f"plugin '{plugin.name}' of ", "")
                    broken.setdefault((plugin.distribution, reason), problem)
            if (seconds := time.perf_counter() - started) > SLOW:
                what = f"plugin '{plugin.name}' of {plugin.package} takes {seconds:.1f} s to import"
                broken[plugin.distribution, what] = Problem(f"{what}, and this list imports every plugin",
                                                            "its heavy libraries belong inside its hooks")
            if everything or plugin.distribution != CORE:
                entries.append(Entry(name=plugin.name, kind=kind, distribution=plugin.distribution, version=plugin.version,
                                     summary=summary, default=plugin.default))
    return entries, list(broken.values())


def _broken_registrations() -> dict[tuple[str, str], Problem]:
    """What packages register for declarations to name (forms, heads) and cannot be used: (package, reason) -> the problem."""
    with quiet_import():
        forms.all_forms()
        heads.all_heads()
    problems = {}
    for group in (catalogue.GROUP, heads.GROUP):
        for name, problem in registry.broken(group).items():
            noun = registry.noun_of(group)
            reason = problem.what.replace(f"{noun} '{name}' of ", "")
            problems[registry.package_of(group, name), reason] = problem
    return problems


def _print(entries: Sequence[Entry], hidden: bool) -> None:
    """A table without rich: this command answers at once."""
    if not entries:
        say("no plugins are installed")
        return
    rows = [("name", "kind", "package", "summary")]
    for entry in entries:
        package = f"{entry['distribution']} {entry['version']}".strip()
        every_run = " (part of every run)" if entry["default"] else ""
        rows.append((entry["name"], entry["kind"], package, entry["summary"] + every_run))
    # the summary stands last, as wide as it is
    name_width, kind_width, package_width, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, kind, package, summary in rows:
        cells = (name.ljust(name_width), kind.ljust(kind_width), package.ljust(package_width), summary)
        say("  ".join(cells).rstrip())
    say("\none of them: ftp plugins show NAME" + ("; with those of core: ftp plugins --all" if hidden else ""))
