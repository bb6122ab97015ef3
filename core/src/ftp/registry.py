"""What installed packages register under an entry-point group: forms of rows, heads of networks, file formats.

Core's own are named by `own` and come first; those of other packages follow in the order of their names. Nothing heavy is
imported: a registered object keeps what needs torch behind `Later`. A package that is broken is told of once, and whatever
does not need it goes on; what its functions raise later names it.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Protocol, TypeVar

from ftp.entry_points import EntryPoint, Package, entry_points
from ftp.errors import PluginError, Problem, RowError, UserError, describe, nearest, passes_through
from ftp.host.quiet import quiet_import
from ftp.host.terminal import OF_THE_USER, warn

CORE = Package("ftp-core")


class Named(Protocol):
    """What can be registered has a name."""

    @property
    def name(self) -> str: ...


Registered = TypeVar("Registered", bound=Named)

_broken: dict[str, dict[str, Problem]] = {}
_told: set[str] = set()


@dataclass(frozen=True)
class Later:
    """A function that is imported when it is first called, so that naming it imports nothing.

    Args:
        path: `package.module:function`.
    """

    path: str

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return resolve_name(self.path)(*arguments, **named)


def noun_of(group: str) -> str:
    """What one object of a group is called, as in `form` for `ftp.forms`."""
    return group.rpartition(".")[2].removesuffix("s")


def package_of(group: str, name: str) -> str:
    """The package that registers a name; core's own are of no entry point."""
    for point in entry_points(group):
        if point.name == name:
            return point.package.name
    return CORE.name


def broken(group: str) -> Mapping[str, Problem]:
    """What packages register in a group and cannot be used: name -> why. Known once the group has been read."""
    return _broken.get(group, {})


def registered(
    group: str, kind: type[Registered], own: Iterable[str], *, checked_by_caller: Collection[str] = ()
) -> dict[str, Registered]:
    """The objects of a group by name. One that cannot be used is left out: `broken` has it, and the user is told.

    Args:
        own: `module:object` of each one that is core's.
        checked_by_caller: functions of the objects whose exceptions the caller turns into words itself.
    """
    objects: dict[str, Registered] = {}
    source_of: dict[str, Package] = {}
    for path in own:
        spec: Registered = resolve_name(path)
        objects[spec.name] = spec
        source_of[spec.name] = CORE
    unusable: dict[str, Problem] = {}
    # a package that lies twice on the path registers its objects once
    once = {(point.name, point.target): point for point in entry_points(group)}
    for point in sorted(once.values(), key=lambda point: point.name):
        if point.name in source_of:
            problem = _clash(point, source_of[point.name])
            # neither of two packages is preferred, but core's own stays
            if source_of[point.name] != CORE:
                objects.pop(point.name, None)
        else:
            source_of[point.name] = point.package
            try:
                spec = _load(point, kind)
            except UserError as error:
                (problem,) = error.problems
            else:
                objects[point.name] = _naming_its_package(spec, f"{_who(point)} of {point.package}", checked_by_caller)
                continue
        unusable[point.name] = problem
        tell_once(problem, point.package.name)
    _broken[group] = unusable
    return objects


def look_up(known: Mapping[str, Registered], name: str, group: str) -> Registered:
    """The object of a name among `known`.

    Raises:
        UserError: no installed package registers it, or the one that does is broken.
    """
    if name in known:
        return known[name]
    if name in broken(group):
        raise UserError([broken(group)[name]])
    fix = f"{nearest(name, known)} there are: {', '.join(known)}".strip()
    raise UserError(f"there is no {noun_of(group)} '{name}'", fix, "ftp plugins")


def forget() -> None:
    """Forget what was broken, and who was told so (in tests that install a package)."""
    _broken.clear()
    _told.clear()


def tell_once(problem: Problem, package: str) -> None:
    """Tell the user of a broken package, on one process of a run alone, and only the first time."""
    if package not in _told and os.environ.get("RANK", "0") == "0":
        warn(f"ftp: left out: {problem}")
    _told.add(package)


def _who(point: EntryPoint) -> str:
    return f"{noun_of(point.group)} '{point.name}'"


def _clash(point: EntryPoint, source: Package) -> Problem:
    """The mistake of a name that is in use."""
    return Problem(f"two packages register the {_who(point)}: {source} and {point.package}",
                   "a name stands for one; remove one of the packages", f"ftp uninstall {point.package.name}")


def _load(point: EntryPoint, kind: type[Registered]) -> Registered:
    """The object that an entry point names. Raises `UserError` where it cannot be used, with one problem."""
    with quiet_import():
        spec = point.load(_who(point))
    who = f"{_who(point)} of {point.package}"
    remove = f"ftp uninstall {point.package.name}"
    if not isinstance(spec, kind):
        raise UserError(f"{who}: {point.target} is a {type(spec).__name__}",
                        f"it must be a {kind.__module__}.{kind.__name__}", remove)
    if spec.name != point.name:
        raise UserError(f"{who}: the name of {point.target} is {spec.name!r}",
                        "give the entry point and the object one name", remove)
    return spec


# --- functions of registered objects ---


@dataclass(frozen=True)
class Guarded:
    """A function of a registered object; an exception that nobody expects names the object and its package.

    Args:
        who: the object and its package, as in `form 'pairs' of ftp-pairs 1.0`.
        part: what the function is to the object.
    """

    function: Callable[..., Any]
    who: str
    part: str

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        try:
            return self.function(*arguments, **named)
        except OF_THE_USER:
            raise
        except BaseException as error:
            if isinstance(error, RowError) or passes_through(error):
                raise
            raise PluginError(f"{self.who} failed in {self.part}: {describe(error)}") from error


def _naming_its_package(value: Registered, who: str, checked_by_caller: Collection[str]) -> Registered:
    """A registered object whose functions, and those of the objects within it, are `Guarded`."""
    guarded = copy.copy(value)
    for item in dataclasses.fields(value):  # type: ignore[arg-type]
        part = getattr(value, item.name)
        if callable(part) and not isinstance(part, type) and item.name not in checked_by_caller:
            object.__setattr__(guarded, item.name, Guarded(part, who, item.name))
        elif isinstance(part, tuple):
            inner = tuple(_guarded_inside(element, who, checked_by_caller) for element in part)
            object.__setattr__(guarded, item.name, inner)
    return guarded


def _guarded_inside(value: Any, who: str, checked_by_caller: Collection[str]) -> Any:
    """A way of a form or a layout of an export with its functions `Guarded`; anything else as it is."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    return _naming_its_package(value, who, checked_by_caller)  # type: ignore[type-var]
