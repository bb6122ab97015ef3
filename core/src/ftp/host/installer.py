"""pip, or uv where the environment is uv's, in the environment that this program runs in. Imports nothing heavy."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ftp.contract import normal_name
from ftp.errors import Problem, UserError

OWN_ENVIRONMENT = "python3 -m venv .venv && .venv/bin/python -m pip install ftp-core"
"""The command for whoever has no environment that can be written to."""

PROGRESS = ("Downloading", "Building")
"""Beginnings of the lines that are worth showing while the tool works."""

UV_CHANGE = re.compile(r"^ ([+~-]) ([^=\s]+)==(\S+)(?: \(from (.+)\))?$", re.MULTILINE)
"""A line of uv: what was added, put again or removed, its version, and where it is from."""


@dataclass(frozen=True)
class Tool:
    """What installs packages. `command`: what its subcommands follow."""

    name: str
    command: tuple[str, ...]
    environment: tuple[str, ...] = ()
    """How a subcommand is told the environment, where the tool is not itself in it."""

    def line(self, *words: str) -> str:
        """A command of the tool as a user types it."""
        return shlex.join([*self.command, words[0], *self.environment, *words[1:]])


@dataclass(frozen=True)
class Change:
    """One package that is, or would be, another than before.

    Args:
        before: its version until now; empty: it was not installed.
        after: its version from now on; empty: it is removed.
        source: the address or file that it came from, where that is known.
    """

    name: str
    before: str
    after: str
    source: str = ""


class InstallError(UserError):
    """The tool ended with an error, which is told in words."""


def tool() -> Tool:
    """What installs packages into this environment.

    Raises:
        UserError: nothing may be installed in it, or there is nothing that could.
    """
    site = Path(sysconfig.get_path("purelib"))
    # PEP 668: whoever owns a Python outside of virtual environments marks it, and pip would refuse as well
    if sys.prefix == sys.base_prefix and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists():
        raise UserError(f"this Python ({sys.executable}) is managed by the system, which lets nobody else install packages in it",
                        "make an environment of your own, with ftp in it", OWN_ENVIRONMENT)
    # without this right pip would install for the user alone, beside the environment
    if not os.access(site, os.W_OK):
        raise UserError(f"there is no right to write in {site}", "ask whoever owns it, or make an environment of your own",
                        OWN_ENVIRONMENT)
    uv = shutil.which("uv")
    has_pip = importlib.util.find_spec("pip") is not None
    if uv and (_made_by_uv() or not has_pip):
        return Tool("uv", (uv, "pip"), ("--python", sys.executable))
    if has_pip:
        return Tool("pip", (sys.executable, "-P", "-m", "pip"))
    raise UserError(f"the environment {sys.prefix} has no pip, and the command uv is not found",
                    "install uv, or put pip into the environment", f"{sys.executable} -m ensurepip")


def _made_by_uv() -> bool:
    """Whether uv made this virtual environment."""
    try:
        lines = Path(sys.prefix, "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any(line.partition("=")[0].strip() == "uv" for line in lines)


def install(
    using: Tool, requirements: Sequence[str], *, editable: Sequence[str] = (), constraints: Sequence[str] = (),
    flags: Sequence[str] = (), upgrade: bool = False, reinstall: bool = False, dry_run: bool = False,
    show: Callable[[str], None] = lambda line: None,
) -> list[Change]:
    """Install packages and what they depend on; what changed, or with `dry_run` what would.

    Args:
        requirements: as pip takes them: names with versions, paths, addresses.
        editable: folders that are used where they lie.
        constraints: `name==version` of what must stay as it is.
        reinstall: install again also what is there, and nothing that it depends on.
        flags: where packages come from (`--index-url ...`), as pip and uv both take them.
        show: gets the lines that tell how far it is.

    Raises:
        InstallError: nothing was installed; says why.
    """
    # uv tells only what it changes, so what was there is looked at before
    before = versions()
    with tempfile.TemporaryDirectory(prefix="ftp-install-") as folder:
        kept = Path(folder, "constraints.txt")
        kept.write_text("".join(f"{line}\n" for line in constraints), encoding="utf-8")
        report = Path(folder, "report.json")
        words = [*using.command, "install", *using.environment, *flags, "--constraint", str(kept)]
        if using.name == "pip":
            words += ["--no-input", "--disable-pip-version-check", "--report", str(report)]
        words += ["--upgrade"] if upgrade else []
        # what it depends on may stay as it is
        again = {"pip": "--force-reinstall", "uv": "--reinstall"}[using.name]
        words += [again, "--no-deps"] if reinstall else []
        words += ["--dry-run"] if dry_run else []
        for path in editable:
            words += ["--editable", path]
        status, output = _run([*words, *requirements], show)
        if status:
            raise InstallError([_why(output, [*editable, *requirements], upgrade, using)])
        # else this process would not see the packages that were just written
        importlib.invalidate_caches()
        if using.name == "uv":
            return _changes_of_uv(output, before)
        return _changes_of_pip(json.loads(report.read_text(encoding="utf-8")), before)


def uninstall(using: Tool, packages: Sequence[str]) -> None:
    """Remove packages, and nothing else. Raises `InstallError` where one of them is still there."""
    confirmed = ["--yes", "--disable-pip-version-check"] if using.name == "pip" else []
    status, output = _run([*using.command, "uninstall", *using.environment, *confirmed, *packages], lambda line: None)
    importlib.invalidate_caches()
    left = [package for package in packages if normal_name(package) in versions()]
    # pip counts what it may not remove as done
    if status or left:
        raise InstallError(f"{using.name} could not remove {' and '.join(left or packages)}: {_last_words(output)}",
                           "see all that it says", using.line("uninstall", *packages))


def versions() -> dict[str, str]:
    """The version of every installed package, by its name as package indexes compare them."""
    installed: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a folder that some other tool left has none
            installed.setdefault(normal_name(name), distribution.version)
    return installed


def _run(words: Sequence[str], show: Callable[[str], None]) -> tuple[int, str]:
    """The exit status of a command and all that it printed, on both streams."""
    lines = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                          errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.strip().startswith(PROGRESS):
                show(line.strip())
    return process.returncode, "".join(lines)


def _changes_of_pip(report: Mapping[str, Any], before: Mapping[str, str]) -> list[Change]:
    """What pip's report of an installation says (https://pip.pypa.io/en/stable/reference/installation-report)."""
    changes = []
    for item in report["install"]:
        name = normal_name(item["metadata"]["name"])
        changes.append(Change(name, before.get(name, ""), item["metadata"]["version"], item["download_info"]["url"]))
    return changes


def _changes_of_uv(output: str, before: Mapping[str, str]) -> list[Change]:
    """What the lines of uv say; a package that gets another version is removed and added."""
    changes = []
    for sign, name, version, source in UV_CHANGE.findall(output):
        if sign != "-":
            changes.append(Change(normal_name(name), before.get(normal_name(name), ""), version, source))
    return changes


# --- errors in words ---

CONFLICT = re.compile(r"ResolutionImpossible|conflicting dependencies")
NO_NETWORK = re.compile(
    "NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|Max retries exceeded|ProxyError|SSLError|"
    "Temporary failure in name resolution|error sending request|dns error|Failed to fetch|Network is unreachable"
)
OTHER_PYTHON = re.compile(r"different [Pp]ython|does not satisfy Python")
OTHER_VERSIONS = re.compile(r"\(from versions: (?!none)([^)]*)\)|only (\S+) (?:is|are) available")
UNKNOWN = re.compile(
    r"requirement (\S+)(?: \(from (?!versions)[^)]*\))? \(from versions: none\)|(\S+) was not found in|no versions of (\S+)"
)
NO_RIGHT = re.compile("Permission denied|PermissionError")
NO_SPACE = re.compile("No space left on device")


def _why(output: str, requirements: Sequence[str], upgrade: bool, using: Tool) -> Problem:
    """Why nothing was installed, and what to do about it."""
    wanted = " ".join(requirements)
    again = f"ftp install {shlex.join(requirements)}"
    if NO_SPACE.search(output):
        return Problem(f"{wanted} is not installed: the disk is full", "free some space, or set TMPDIR to a folder with more")
    if NO_RIGHT.search(output):
        return Problem(f"{wanted} is not installed: {_last_words(output)}", "make an environment of your own", OWN_ENVIRONMENT)
    if CONFLICT.search(output):
        return _conflict(output, wanted, again, upgrade)
    if NO_NETWORK.search(output):
        return Problem(f"{wanted} is not installed: the index of packages cannot be reached",
                       "check the network, or name another index with --index-url, or a folder of wheels",
                       f"{again} --no-index --find-links FOLDER")
    if OTHER_PYTHON.search(output):
        return Problem(f"{wanted} is not installed: it needs another Python than {sys.version.split()[0]}: "
                       f"{_last_words(output, OTHER_PYTHON)}", "make an environment with that Python")
    known = OTHER_VERSIONS.search(output)
    if known:
        return Problem(f"{wanted} is not installed: there is no such version; there are: {known[1] or known[2]}",
                       "ask for one of them")
    unknown = UNKNOWN.search(output)
    if unknown:
        package = unknown[1] or unknown[2] or unknown[3]
        if not any(normal_name(requirement).startswith(normal_name(package)) for requirement in requirements):
            return Problem(f"{wanted} is not installed: it needs {package}, which is not to be had there",
                           "name a further index, or a folder of wheels, that has it", f"{again} --extra-index-url URL")
        return Problem(f"{wanted} is not installed: there is no package {package}",
                       "a plugin NAME is looked for in the package ftp-NAME; one in a package of another name is installed by "
                       "the name of that package", "ftp install --exact PACKAGE")
    if "No solution found" in output:  # what is left of uv's
        return _conflict(output, wanted, again, upgrade)
    return Problem(f"{wanted} is not installed: {_last_words(output)}", f"see all that {using.name} says",
                   using.line("install", *requirements))


def _conflict(output: str, wanted: str, again: str, upgrade: bool) -> Problem:
    """The versions that do not go together, as the tool says it."""
    lines = re.findall(r"^ +(.+ depends? on .+|The user requested .+|cause: .+|And because .+)$", output, re.MULTILINE)
    reasons = [line.replace("The user requested (constraint)", "installed is") for line in lines]
    what = "\n    ".join([f"{wanted} does not go with what is installed:", *(reasons or [_last_words(output)])])
    if upgrade:
        return Problem(what, "make an environment of its own for it", OWN_ENVIRONMENT)
    return Problem(what, "core and its libraries keep their versions unless --upgrade is given; see first what it would change",
                   f"{again} --upgrade --dry-run")


def _last_words(output: str, about: re.Pattern[str] | None = None) -> str:
    """The last line that tells an error, or that is `about` something; else the last line of all."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = []
    for line in lines:
        is_error = line.lower().startswith(("error", "cause:")) if about is None else about.search(line)
        if is_error:
            telling.append(line)
    last = [*lines[-1:], *telling][-1] if lines else "it said nothing"
    return re.sub(r"^(ERROR|error|cause): *", "", last)
