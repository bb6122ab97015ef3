"""`ftp uninstall`: packages of plugins out of the environment that ftp itself lives in."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from ftp.errors import Problem, UserError
from ftp.host import installer
from ftp.host.terminal import say, warn
from ftp.plugins import packages


@click.command("uninstall")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
def command(names: tuple[str, ...], dry_run: bool) -> None:
    """Remove the packages of plugins. The libraries that came with them stay.

    NAME is a plugin or a package. A package on which another one depends is removed together with that one, or not at all.
    """
    leaving = _packages(names)
    plugins = {package: packages.plugins_of(package) for package in leaving}
    versions = installer.versions()
    tool = installer.tool()
    if not dry_run:
        installer.uninstall(tool, leaving)
    would = "would be " if dry_run else ""
    gone: list[str] = []
    for package in leaving:
        what = f"removed    {package} {versions[package]}"
        if plugins[package]:
            what += f"  with {', '.join(plugins[package])}"
        say(f"{would}{what}")
        gone += plugins[package]
    for problem in packages.left_alone(gone):
        warn(str(problem))


def _packages(names: Sequence[str]) -> list[str]:
    """The packages that are meant. Raises `UserError` with each name that is none, and each package that is needed."""
    leaving: list[str] = []
    problems: list[Problem] = []
    for name in names:
        try:
            leaving.append(packages.installed_package_of(name))
        except UserError as error:
            problems += error.problems
    leaving = list(dict.fromkeys(leaving))
    needing = packages.dependents(leaving)
    together = f"ftp uninstall {shlex.join([*names, *needing])}"
    for package, needed in needing.items():
        problems.append(Problem(f"{package} depends on {' and '.join(needed)}", "keep both, or remove them together", together))
    if problems:
        raise UserError(problems)
    return leaving
