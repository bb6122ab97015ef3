"""Plugins of installed packages (entry points) and of files, and those of a run picked among them. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from ftp.entry_points import entry_points
from ftp.errors import Problem, UserError, describe, nearest
from ftp.host import python_files
from ftp.host.quiet import quiet_import
from ftp.host.terminal import OF_THE_USER
from ftp.plugin_info import Found, Picked, is_plugin
from ftp.plugins import names
from ftp.plugins.audit import audit_class
from ftp.plugins.declare import mistakes_of
from ftp.plugins.names import DEFAULTS, GROUP
from ftp.plugins.order import in_order

MODELS = "ftp.models"
FROM_PATH = "ftp_plugins_from_"
"""How names of modules begin that were read from a file."""


def discover() -> dict[str, list[Found]]:
    """Every installed plugin by name, without importing any. More than one under a name: two packages offer it."""
    defaults = {(point.name, point.target) for point in entry_points(DEFAULTS)}
    offered: dict[str, list[Found]] = {}
    # a package may name a plugin of every run in the group of defaults alone
    for point in (*entry_points(GROUP), *entry_points(DEFAULTS)):
        package = point.package
        is_default = (point.name, point.target) in defaults
        plugin = Found(point.name, point.target, package.name, package.version, is_default, core_versions=package.core_versions)
        same_name = offered.setdefault(point.name, [])
        if plugin not in same_name:
            same_name.append(plugin)
    return dict(sorted(offered.items()))


def from_path(where: str) -> tuple[list[Found], bool]:
    """Plugins of a file or folder that is not installed: `path.py`, `path.py:Class` or a folder of such files.

    Returns:
        The plugins, and whether they join the run without being named (the path names a class).

    Raises:
        UserError: there is no such file, it does not import, or no plugin is in it.
    """
    import hashlib  # slow to import, and rarely needed

    _, wanted = python_files.split(where)
    files = python_files.files_to_run(where)
    if not files:
        raise UserError(f"--plugins-from {where}: no such file or folder with .py files")
    plugins = []
    for file in files:
        digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]
        module = _module_of(file, f"{FROM_PATH}{file.stem}_{digest}", where)
        for cls in vars(module).values():
            is_own = is_plugin(cls) and cls.__module__ == module.__name__  # not one that it imports
            if is_own and wanted in ("", cls.__name__):
                # LoraPlus -> lora-plus
                name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()
                plugins.append(Found(name, f"{file}:{cls.__name__}", str(file), "", False, cls))
    if not plugins:
        absent = f"class {wanted}" if wanted else "class"
        raise UserError(f"--plugins-from {where}: no {absent} marked with @ftp.plugin in it")
    return plugins, bool(wanted)


def _module_of(file: Path, name: str, where: str) -> ModuleType:
    """The module of a file; the file is run once in a process, however often it is named."""
    if name in sys.modules:
        return sys.modules[name]
    module = python_files.load_module(name, file)
    sys.modules[name] = module
    try:
        python_files.run_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, OF_THE_USER):
            raise
        raise UserError(f"--plugins-from {where}: {file} does not import: {describe(error)}") from error
    return module


def meant(name: str, known: Mapping[str, Sequence[Found]]) -> list[Found]:
    """The plugins that `name` or `package:name` means: none, one, or several that share the name."""
    return names.lookup(name, known, lambda plugin: plugin.distribution)


def clash(what: str, plugins: Sequence[Found]) -> Problem:
    """The mistake of a name that several packages offer."""
    distributions = [plugin.distribution for plugin in plugins]
    packages = [plugin.package for plugin in plugins]
    return names.clash(what, plugins[0].name, distributions, packages)


def _unknown(name: str, known: Mapping[str, Sequence[Found]]) -> str:
    """What an unknown name could mean."""
    package, plain = names.split(name)
    if package and plain in known:
        return f"'{plain}' is offered by {' and '.join(plugin.package for plugin in known[plain])}"
    return nearest(plain, known)


def pick(wanted: Sequence[str], plugins_from: Sequence[str] = (), problems: list[Problem] | None = None) -> list[Picked]:
    """The plugins of a run in the order named, defaults last, but for what they declare (`before`, `after`).

    Args:
        wanted: their names; `-name` leaves a default out, `package:name` is the plugin of that package.
        plugins_from: files and folders with plugins that are not installed.
        problems: gets every mistake, where a list is given; else they are raised.

    Raises:
        UserError: every unknown name (and the nearest known), every name that two packages offer, and every plugin that
            fails to import.
    """
    mistakes: list[Problem] = [] if problems is None else problems
    known = discover()
    wanted = [name.strip() for name in wanted if name.strip()]
    plain_names = {names.split(name)[1] for name in wanted}
    for where in plugins_from:
        try:
            plugins, joins = from_path(where)
        except UserError as error:
            mistakes.extend(error.problems)
            continue
        for plugin in plugins:
            known[plugin.name] = [*known.get(plugin.name, []), plugin]
            if joins and plugin.name not in plain_names:
                wanted.append(plugin.name)
                plain_names.add(plugin.name)
    removed: list[Found] = []
    for name in wanted:
        if name.startswith("-"):
            removed += meant(name[1:], known)

    chosen = _named_plugins(wanted, known, removed, mistakes)
    _add_defaults(chosen, wanted, known, removed, mistakes)
    picked = _import(chosen, wanted, mistakes)
    if mistakes and problems is None:
        raise UserError(mistakes)

    # a default plugin gives way to one that replaces it, unless it is named
    replaced: set[str] = set()
    for plugin_of_run in picked:
        replaced.update(plugin_of_run.declaration.replaces)
    replaced -= set(wanted)
    return in_order([plugin for plugin in picked if plugin.name not in replaced or not plugin.found.default])


def _named_plugins(
    wanted: Sequence[str], known: Mapping[str, Sequence[Found]], removed: Sequence[Found], mistakes: list[Problem]
) -> dict[str, Found]:
    """The plugins that a run names, by their names."""
    chosen: dict[str, Found] = {}
    for name in dict.fromkeys(wanted):
        bare = name.removeprefix("-")
        candidates = meant(bare, known)
        plain = names.split(bare)[1]
        is_left_out = bare != name
        if not candidates and is_left_out:
            mistakes.append(Problem(f"--plugins {name}: no such plugin", _unknown(bare, known)))
        elif not candidates:
            fix = _unknown(bare, known) or f"one that is published comes with: ftp install {plain}"
            mistakes.append(Problem(f"--plugins {name}: no such plugin is installed", fix, "ftp plugins"))
        elif is_left_out:
            continue
        elif any(candidate in removed for candidate in candidates):
            mistakes.append(Problem(f"--plugins: '{name}' is both named and removed", "keep one of the two"))
        elif len(candidates) > 1:
            mistakes.append(clash(f"--plugins {name}", candidates))
        elif chosen.setdefault(plain, candidates[0]) != candidates[0]:
            packages = f"{chosen[plain].package} and {candidates[0].package}"
            mistakes.append(Problem(f"--plugins: two plugins of this run are called '{plain}': {packages}",
                                    "keep one of the two"))
    return chosen


def _add_defaults(
    chosen: dict[str, Found], wanted: Sequence[str], known: Mapping[str, Sequence[Found]], removed: Sequence[Found],
    mistakes: list[Problem],
) -> None:
    """The plugins of every run, but for those that are named or left out."""
    named = {names.split(name)[1] for name in wanted if not name.startswith("-")}
    for name, offered in known.items():
        # a package that merely uses the name of a default plugin takes no part; of two defaults one has to be left out
        defaults = [candidate for candidate in offered if candidate.default and candidate not in removed]
        if not defaults or name in named:
            continue
        if len(defaults) > 1:
            packages = " and ".join(candidate.package for candidate in defaults)
            either = " or ".join(f"--plugins ...,-{candidate.distribution}:{name}" for candidate in defaults)
            mistakes.append(Problem(f"two packages put '{name}' into every run: {packages}", f"leave one out: {either}"))
        chosen[name] = defaults[0]


def _import(chosen: Mapping[str, Found], wanted: Sequence[str], mistakes: list[Problem]) -> list[Picked]:
    """The classes of the chosen plugins. The message about one that nobody named says how to do without it."""
    picked = []
    for name, plugin in chosen.items():
        hint = f"it is part of every run unless left out: --plugins ...,-{name}"
        try:
            picked.append(Picked(plugin, load(plugin)))
        except UserError as error:
            for problem in error.problems:
                fix = problem.fix if name in wanted else f"{problem.fix}; {hint}".removeprefix("; ")
                mistakes.append(dataclasses.replace(problem, fix=fix))
    return picked


def installed() -> Iterator[tuple[str, type]]:
    """Name and class of each installed plugin that imports."""
    for name, offered in discover().items():
        with contextlib.suppress(UserError):
            yield name, load_quietly(offered[0])


def load(found: Found) -> type:
    """The class of a plugin. Raises `UserError` where it does not import, or declares what cannot be."""
    cls = found.load()
    who = f"plugin '{found.name}' of {found.package}"
    # a set of plugins is audited when it is picked; what is wrong here is told with all else that is wrong with the class
    if mistakes_of(cls, who):
        raise UserError(audit_class(cls, who))
    return cls


def load_quietly(found: Found) -> type:
    """The class of a plugin that nobody named: what its module prints when it is imported is dropped."""
    with quiet_import():
        return load(found)
