"""What installed packages offer to ftp (entry points of the groups `ftp` and `ftp.*`), and the one guarded way to load it.

The files are read here, once for all groups, where they lie as pip and uv put them: to import importlib.metadata and ask it
takes a quarter of the time in which `ftp plugins` answers. It is asked wherever packages may lie in another way.
Formats: https://packaging.python.org/specifications (entry points, core metadata).
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

from ftp.contract import install_command, normal_name, refusal, required_core
from ftp.errors import Problem, UserError, describe
from ftp.host.terminal import OF_THE_USER

PREFIX = "ftp"
INFO_FOLDERS = (".dist-info", ".egg-info")
"""How the names of folders end that hold what is known of an installed package."""


@dataclass(frozen=True)
class Package:
    """An installed package.

    Args:
        core_versions: those of ftp-core that it runs with, as in `>=0.1,<1`; empty: it names none.
    """

    name: str
    version: str = ""
    core_versions: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True)
class EntryPoint:
    """One thing that a package offers: `name = target` in a group, the target as `package.module:object`."""

    group: str
    name: str
    target: str
    package: Package

    def load(self, what: str) -> object:
        """The object that it names.

        Args:
            what: it is, for messages, as in `form 'pairs'`.

        Raises:
            UserError: its package is broken, or was made for another version of ftp-core.
        """
        return load_object(what, self.target, self.package)


# --- load ---


def load_object(what: str, target: str, package: Package) -> object:
    """Import what a package offers; whatever its code does meanwhile is an error that names the package.

    Args:
        what: it is, for messages, as in `form 'pairs'`.
        target: where it is, as `package.module:object`.

    Raises:
        UserError: the package does not import, ends the process, or was made for another version of ftp-core.
    """
    who = f"{what} of {package}"
    problem = refusal(who, package.name, package.core_versions)
    if problem is not None:
        raise UserError([problem])
    module, _, attribute = target.partition(":")
    try:
        loaded: object = importlib.import_module(module)
        for name in filter(None, attribute.split(".")):
            loaded = getattr(loaded, name)
    except OF_THE_USER:
        raise
    except BaseException as error:  # also sys.exit, or what tools raise to end a test or a task
        raise UserError([_import_problem(who, module, package, error)]) from error
    return loaded


def _import_problem(who: str, module: str, package: Package, error: BaseException) -> Problem:
    """Why something does not import, and the command that would help."""
    remove = f"remove it with: ftp uninstall {package.name}"
    if not isinstance(error, ModuleNotFoundError):
        fix = f"its package is broken or does not fit this version of ftp; update it, or {remove}"
        return Problem(f"{who} does not import: {describe(error)}", fix, install_command(package.name, "--upgrade"))
    what = f"{who} does not import: {error}"
    missing = (error.name or "").split(".")[0]
    if missing == module.split(".")[0]:
        fix = f"the installation is broken; install it again, or {remove}"
        return Problem(what, fix, install_command(package.name, "--reinstall"))
    return Problem(what, f"module '{missing}' is missing; install it, or {remove}", install_command(missing))


# --- find ---


def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """What all installed packages offer in a group, in the order of Python's path, without importing any of them."""
    return _points_on(_state_of_path()).get(group, ())


def groups_of(package: str) -> dict[str, list[str]]:
    """What a package offers to ftp: group -> names.

    Args:
        package: its name in any spelling; one that is not installed offers nothing.
    """
    groups: dict[str, list[str]] = {}
    for group, points in _points_on(_state_of_path()).items():
        names = {point.name for point in points if normal_name(point.package.name) == normal_name(package)}
        if names:
            groups[group] = sorted(names)
    return groups


def _state_of_path() -> tuple[tuple[str, int], ...]:
    """The folders of Python's path with the time of their last change, so that what is installed meanwhile is seen."""
    state = []
    for folder in sys.path:
        try:
            state.append((folder, Path(folder).stat().st_mtime_ns))
        except OSError:  # folders of the path need not exist
            continue
    return tuple(state)


@lru_cache(maxsize=1)
def _points_on(path: tuple[tuple[str, int], ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Every entry point for ftp by group. Of two copies of a package the first on the path counts, as for an import."""
    folders = [folder for folder, _ in path]
    files = _files_in(folders) if _is_plain(folders) else _files_of_importlib()
    points: dict[str, list[EntryPoint]] = {}
    for entries, metadata in files:
        offered = list(_parsed(entries))
        if not offered:
            continue
        package = _package(metadata)
        for group, name, target in offered:
            points.setdefault(group, []).append(EntryPoint(group, name, target, package))
    return {group: tuple(of_group) for group, of_group in points.items()}


def _is_plain(folders: Iterable[str]) -> bool:
    """Whether packages lie in folders alone: no archive or egg on the path, and no finder that knows of others."""
    for finder in sys.meta_path:
        if finder is not PathFinder and hasattr(finder, "find_distributions"):
            return False
    return all(Path(folder).is_dir() and not folder.endswith(".egg") for folder in folders)


def _files_in(folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The texts of entry_points.txt and of METADATA of each package that offers something."""
    seen: set[str] = set()
    for folder in folders:
        for info in sorted(Path(folder).glob("*-info"), key=lambda info: normal_name(info.name)):
            package = normal_name(info.name.partition("-")[0])
            if info.suffix not in INFO_FOLDERS or package in seen:
                continue
            seen.add(package)
            entries = _text_of(info / "entry_points.txt")
            if PREFIX in entries:
                yield entries, _text_of(info / "METADATA") or _text_of(info / "PKG-INFO")


def _text_of(file: Path) -> str:
    """The text of a file; empty where there is none that can be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _files_of_importlib() -> Iterator[tuple[str, str]]:
    """As `_files_in`, from whatever finders and archives there are."""
    from importlib import metadata

    seen: set[str] = set()
    for distribution in metadata.distributions():
        package = normal_name(distribution.metadata["Name"] or "")
        if package not in seen:
            seen.add(package)
            text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
            yield distribution.read_text("entry_points.txt") or "", text


def _parsed(entries: str) -> Iterator[tuple[str, str, str]]:
    """Group, name and target of each entry point for ftp."""
    group = ""
    for line in map(str.strip, entries.splitlines()):
        if line.startswith("["):
            group = line.strip("[]").strip()
        name, equals, target = line.partition("=")
        is_ours = group == PREFIX or group.startswith(f"{PREFIX}.")
        if is_ours and equals and not line.startswith(("#", ";")):
            # extras after the target ([name]) are of old tools, and bind nobody
            yield group, name.strip(), target.partition("[")[0].strip()


@cache
def _package(metadata: str) -> Package:
    """Name and version of a package, and the versions of ftp-core that it runs with, from the head of its metadata alone."""
    head = metadata.split("\n\n", 1)[0]
    fields = dict(re.findall(r"^(Name|Version): *(.*?) *$", head, re.MULTILINE))
    return Package(fields.get("Name", "?"), fields.get("Version", ""), required_core(head))
