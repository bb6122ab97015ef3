"""Packages of plugins: which one a name means, what they offer, what must stay as it is. Imports nothing heavy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from ftp.contract import normal_name
from ftp.entry_points import groups_of
from ftp.errors import Problem, UserError, nearest
from ftp.plugin_info import declaration_of
from ftp.plugins import names
from ftp.plugins.find import clash, discover, installed, meant
from ftp.plugins.names import DEFAULTS, GROUP

CORE = "ftp-core"
PREFIX = "ftp-"
"""How the names of packages with plugins begin: the plugin `lora` is in `ftp-lora`, unless it is installed from another."""

ARCHIVES = (".whl", ".tar.gz", ".zip")


# --- names ---


def requirement_of(name: str, exact: bool = False) -> str:
    """What pip is asked for where a user names a plugin, a package, a path or an address.

    Args:
        exact: the name is that of a package, whatever it begins with.

    Raises:
        UserError: it is none of these.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    if is_address(name):
        return name
    if is_path(name):
        path = re.sub(r"\[[^]]*\]$", "", name)  # without extras
        if not Path(path).exists():
            raise UserError(f"ftp install {name}: no such file or folder")
        return name
    package, plain = names.split(name)
    try:
        parsed = Requirement(package or plain)
    except InvalidRequirement:
        raise UserError(f"ftp install {name}: this is no name of a plugin or a package",
                        "allowed are a name, a name with versions ('lora>=0.2'), a path, a wheel, or an address (git+https://...)"
                        ) from None
    if parsed.url is None and not exact:
        parsed.name = _package_named(parsed.name)
    return str(parsed)


def is_address(name: str) -> bool:
    """Whether a name is that of something on a network, by itself or after the name of its package."""
    return "://" in name


def is_path(name: str) -> bool:
    """Whether a name is a path, by the rule that pip has: a bare word never is one, even where a folder is called so."""
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    return name in (".", "..") or any(separator in name for separator in separators) or name.endswith(ARCHIVES)


def _package_named(name: str) -> str:
    """The package of a plugin: that which has it now, else `ftp-NAME`."""
    package = normal_name(name)
    if package.startswith(PREFIX):
        return package
    offered = discover().get(name, [])
    if len(offered) == 1 and offered[0].distribution != CORE:
        return offered[0].distribution
    return f"{PREFIX}{package}"


def installed_package_of(name: str) -> str:
    """The installed package that a user means by the name of a plugin or of the package.

    Raises:
        UserError: there is none, it is ftp itself, or it has nothing to do with ftp.
    """
    known = discover()
    candidates = meant(name, known)
    packages = sorted({plugin.distribution for plugin in candidates})
    if len(packages) > 1:
        raise UserError([clash(f"ftp uninstall {name}", candidates)])
    if not packages:
        packages = [package for package in (name, f"{PREFIX}{name}") if _is_installed(package)][:1]
    if not packages:
        raise UserError(f"ftp uninstall {name}: no such plugin or package is installed", nearest(name, known),
                        "ftp plugins --all")
    package = normal_name(packages[0])
    if package == CORE:
        raise UserError(f"ftp uninstall {name}: {CORE} is ftp itself, which cannot remove itself",
                        "to be rid of all of it, remove the environment; to leave a default plugin out of a run, name it with "
                        "a dash", "ftp run --plugins ...,-NAME")
    if not groups_of(package):
        raise UserError(f"ftp uninstall {name}: the package {package} brings nothing that ftp looks for",
                        "it is removed as it was installed", f"pip uninstall {package}")
    return package


def _is_installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except (metadata.PackageNotFoundError, ValueError):
        return False
    return True


def names_of(requirements: Iterable[str]) -> list[str]:
    """The packages that requirements name; what a path or an address brings is not known by it."""
    named = [requirement for requirement in requirements if not is_address(requirement) and not is_path(requirement)]
    return [normal_name(re.split(r"[^\w.-]", requirement)[0]) for requirement in named]


# --- what packages offer and need ---


def plugins_of(package: str) -> list[str]:
    """Names of the plugins of an installed package."""
    groups = groups_of(package)
    return sorted({*groups.get(GROUP, []), *groups.get(DEFAULTS, [])})


def kept_versions() -> list[str]:
    """`name==version` of core and of the libraries that it depends on, as they are installed."""
    kept = []
    for package in [CORE, *_required_by(CORE)]:
        if _is_installed(package):
            kept.append(f"{package}=={metadata.version(package)}")
    return kept


def dependents(packages: Iterable[str]) -> dict[str, list[str]]:
    """Installed packages of plugins that would be without what they depend on: package -> those of `packages`."""
    leaving = {normal_name(package) for package in packages}
    needs: dict[str, list[str]] = {}
    for distribution in metadata.distributions():
        name = normal_name(distribution.metadata["Name"] or "")
        is_ours = any(point.group.startswith(GROUP) for point in distribution.entry_points)
        if name and name not in leaving and is_ours:
            needed = leaving.intersection(_required_by(name))
            if needed:
                needs[name] = sorted(needed)
    return dict(sorted(needs.items()))


def _required_by(package: str) -> list[str]:
    """The packages that an installed one depends on; what only an extra asks for does not count."""
    from packaging.requirements import Requirement

    required = []
    for line in metadata.requires(package) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            required.append(normal_name(requirement.name))
    return required


def left_alone(plugins: Sequence[str]) -> list[Problem]:
    """Plugins that stay but require in a run one of those that go."""
    problems = []
    for name, cls in installed():
        lost = [required for required in declaration_of(cls).requires if required in plugins]
        if lost and name not in plugins:
            problems.append(Problem(f"plugin '{name}' requires {' and '.join(lost)} in a run, and is of no use without",
                                    command=f"ftp uninstall {name}"))
    return problems
