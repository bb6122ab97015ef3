"""Names of public modules that are imported when they are first asked for, and names that have moved. Imports nothing."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass


class FtpDeprecationWarning(DeprecationWarning):
    """A plugin uses a public name that a later version will not have."""


@dataclass(frozen=True)
class Moved:
    """A public name that has another place now.

    Args:
        target: where it is, as `package.module:name`.
        gone_in: the version of ftp-core that no longer knows the old name, two minor versions after the move.
    """

    target: str
    gone_in: str


def late_names(
    module: str, targets: Mapping[str, str], moved: Mapping[str, Moved] | None = None
) -> Callable[[str], object]:
    """The `__getattr__` of a module whose names are imported when they are first asked for.

    Args:
        module: its `__name__`.
        targets: name -> `package.module:name`.
        moved: names that it still has for a while; each warns with its new place.
    """

    def get(name: str) -> object:
        if name in targets:
            return _resolved(targets[name])
        if moved and name in moved:
            move = moved[name]
            new_name = move.target.replace(":", ".")
            # the level of whoever uses the name, so that the warning shows the line of the plugin
            warnings.warn(f"{module}.{name} is {new_name} now; the old name goes in ftp-core {move.gone_in}",
                          FtpDeprecationWarning, stacklevel=2)
            return _resolved(move.target)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return get


def _resolved(target: str) -> object:
    """The object of a target. (`pkgutil.resolve_name` would meet a function where a module has the same name.)"""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
