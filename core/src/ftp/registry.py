"""What installed packages register under an entry-point group: forms of rows, heads of networks, file formats.

Core's own are named by `own` and come first; those of other packages follow in the order of their names. Nothing heavy is
imported: a registered object keeps what needs torch behind `Later`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pkgutil import resolve_name
from typing import Any, Protocol, TypeVar

from ftp.errors import UserError, describe, nearest


class Named(Protocol):
    """What can be registered has a name."""

    @property
    def name(self) -> str: ...


Registered = TypeVar("Registered", bound=Named)


@dataclass(frozen=True)
class Later:
    """A function that is imported when it is first called, so that naming it imports nothing.

    Args:
        path: `package.module:function`.
    """

    path: str

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return resolve_name(self.path)(*arguments, **named)


def package_of(group: str, name: str) -> str:
    """The package that registers a name; core's own are of no entry point."""
    for point in metadata.entry_points(group=group):
        if point.name == name and point.dist is not None:
            return point.dist.name
    return "ftp-core"


def registered(group: str, kind: type[Registered], own: Iterable[str]) -> dict[str, Registered]:
    """The objects of a group by name.

    Args:
        own: `module:object` of each one that is core's.

    Raises:
        UserError: a package registers something else than a `kind`, cannot be imported, or takes a name that is in use.
    """
    objects: dict[str, Registered] = {}
    source_of: dict[str, str] = {}
    for path in own:
        spec: Registered = resolve_name(path)
        objects[spec.name] = spec
        source_of[spec.name] = "ftp-core"
    points = metadata.entry_points(group=group)
    # a package that lies twice on the path registers its objects once
    once = {(point.name, point.value): point for point in points}
    for point in sorted(once.values(), key=lambda point: point.name):
        package = point.value
        if point.dist is not None:
            package = f"{point.dist.name} {point.dist.version}"
        spec = _load(point, group, kind, package)
        if spec.name in objects:
            raise UserError(
                f"two packages register '{spec.name}' as {group}: {source_of[spec.name]} and {package}",
                "a name stands for one; remove one of the packages",
                f"pip uninstall {package.split()[0]}",
            )
        objects[spec.name] = spec
        source_of[spec.name] = package
    return objects


def look_up(known: Mapping[str, Registered], name: str, noun: str) -> Registered:
    """The object of a name among `known`. Raises `UserError` where no installed package registers it."""
    if name not in known:
        fix = f"{nearest(name, known)} there are: {', '.join(known)}".strip()
        raise UserError(f"there is no {noun} '{name}'", fix, "ftp plugins")
    return known[name]


def _load(point: metadata.EntryPoint, group: str, kind: type[Registered], package: str) -> Registered:
    """The object that an entry point names."""
    try:
        spec = point.load()
    except Exception as error:  # whatever a package raises while it is imported
        raise UserError(
            f"{package} registers '{point.name}' as {group}, but it cannot be imported: {describe(error)}",
            "repair or remove the package",
            f"pip uninstall {package.split()[0]}",
        ) from error
    if not isinstance(spec, kind):
        raise UserError(
            f"{package} registers '{point.name}' as {group}, but {point.value} is a {type(spec).__name__}",
            f"it must be a {kind.__module__}.{kind.__name__}",
        )
    if spec.name != point.name:
        raise UserError(
            f"{package} registers '{point.name}' as {group}, but the name of {point.value} is {spec.name!r}",
            "give the entry point and the object one name",
        )
    return spec
