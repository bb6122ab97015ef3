"""`ftp install`: packages of plugins into the environment that ftp itself lives in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ftp.cli.plugin_page import registered_lines
from ftp.entry_points import groups_of
from ftp.errors import Problem, UserError
from ftp.host import installer
from ftp.host.installer import Change
from ftp.host.terminal import say, warn
from ftp.plugins import packages


@click.command("install")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-e", "--editable", multiple=True, metavar="FOLDER", help="A package that is used where it lies, to work on it.")
@click.option("--upgrade", is_flag=True, help="The newest version, also where core or its libraries must change for it.")
@click.option("--reinstall", is_flag=True, help="Again what is installed already, where its files are damaged; nothing else.")
@click.option("--dry-run", is_flag=True, help="Say what would be installed, and install nothing.")
@click.option("--exact", is_flag=True, help="NAME is a package as it is (a library, say), and not a plugin of ftp-NAME.")
@click.option("--index-url", metavar="URL", help="Index of packages in place of the usual one.")
@click.option("--extra-index-url", multiple=True, metavar="URL", help="A further index.")
@click.option("--find-links", multiple=True, metavar="PATH", help="Folder or page with wheels.")
@click.option("--no-index", is_flag=True, help="Ask no index: what --find-links names is all there is.")
def command(
    names: tuple[str, ...], editable: tuple[str, ...], upgrade: bool, reinstall: bool, dry_run: bool, exact: bool,
    index_url: str | None, extra_index_url: tuple[str, ...], find_links: tuple[str, ...], no_index: bool,
) -> int:
    """Install plugins with pip, or with uv, where ftp itself is installed.

    NAME is a plugin (lora is in the package ftp-lora), a package, a path, a wheel, or an address (git+https://...). Core and
    the libraries that it depends on keep their versions. What a package does runs with your rights: install what you trust.
    """
    if not names and not editable:
        raise UserError("ftp install: there is nothing to install", "name a plugin, a package or a path", "ftp install --help")
    requirements = _requirements(names, editable, exact)
    sources: list[str] = []
    if no_index:
        sources.append("--no-index")
    if index_url:
        sources += ["--index-url", index_url]
    for url in extra_index_url:
        sources += ["--extra-index-url", url]
    for place in find_links:
        sources += ["--find-links", place]

    # a plugin must not bring another torch, or another core, without a word
    kept = [] if upgrade else packages.kept_versions()
    tool = installer.tool()
    warn(f"asking {tool.name} for {' '.join([*editable, *requirements])}")
    changes = installer.install(tool, requirements, editable=editable, constraints=kept, flags=sources, upgrade=upgrade,
                                reinstall=reinstall, dry_run=dry_run, show=warn)
    tell(changes, dry_run)
    if dry_run:
        return 0
    strangers = [name for name in packages.names_of(requirements) if not groups_of(name)]
    for stranger in strangers:
        warn(str(Problem(f"{stranger} brings nothing that ftp looks for, so it is no plugin of this ftp",
                         "if you did not mean a library, remove it", f"pip uninstall {stranger}")))
    # a library that somebody asks for by its own name need be no plugin
    missed = 2 if strangers and not exact else 0
    return max(show_plugins([change.name for change in changes]), missed)


def _requirements(names: Sequence[str], editable: Sequence[str], exact: bool) -> list[str]:
    """What pip is asked for. Raises `UserError` with every name that is none."""
    requirements: list[str] = []
    problems: list[Problem] = []
    for name in names:
        try:
            requirements.append(packages.requirement_of(name, exact))
        except UserError as error:
            problems += error.problems
    for folder in editable:
        # pip takes a bare word for the name of a package, also where a folder is called so
        if not packages.is_path(folder):
            problems.append(Problem(f"ftp install --editable {folder}: this is no path", f"write ./{folder}"))
        elif not Path(folder).is_dir():
            problems.append(Problem(f"ftp install --editable {folder}: no such folder"))
    if problems:
        raise UserError(problems)
    return requirements


def tell(changes: Sequence[Change], dry_run: bool) -> None:
    """Say what was installed, and what else is another than before."""
    if not changes:
        say("everything is installed already; --upgrade looks for newer versions")
        return
    would = "would be " if dry_run else ""
    for change in changes:
        what = f"installed  {change.name} {change.after}"
        if change.before not in ("", change.after):
            what = f"changed    {change.name} {change.before} -> {change.after}"
        if change.source:
            what += f"  from {change.source}"
        say(f"{would}{what}")


def show_plugins(changed: Sequence[str]) -> int:
    """The page of each plugin that has come, from a process that has not imported what was there before; its exit status."""
    status = 0
    for package in changed:
        plugins = packages.plugins_of(package)
        if not plugins:  # a package of file formats, say
            for line in registered_lines(groups_of(package)):
                say(f"{package} brings {line}")
        for plugin in plugins:
            say("")
            page = subprocess.run([sys.executable, "-P", "-m", "ftp", "plugins", "show", f"{package}:{plugin}"],
                                  capture_output=True, text=True, errors="replace")
            say(page.stdout, end="")
            warn(page.stderr, end="")
            status = max(status, page.returncode)
    return status
