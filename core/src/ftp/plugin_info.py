"""What is known of a plugin of a run: where it comes from, its class and options, and what it answered. Imports nothing heavy."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, cast

from ftp.errors import PluginError, UserError, describe
from ftp.host.terminal import OF_THE_USER
from ftp.options import Option, options_of


@dataclass(frozen=True)
class Found:
    """A plugin that could be part of a run: its name, and the package it comes from."""

    name: str
    target: str
    distribution: str
    version: str
    default: bool = False
    cls: type | None = None

    @property
    def package(self) -> str:
        return f"{self.distribution} {self.version}".strip()

    def load(self) -> type:
        """The plugin's class. Raises `UserError` that says which distribution failed to import and why."""
        if self.cls is not None:
            return self.cls
        module, _, attribute = self.target.partition(":")
        try:
            loaded = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            missing = (error.name or "").split(".")[0]
            if missing == module.split(".")[0]:
                fix, command = "the installation is broken", f"pip install --force-reinstall {self.distribution}"
            else:
                fix, command = f"module '{missing}' is missing", f"pip install {missing}"
            raise UserError(f"plugin '{self.name}' of {self.package} does not import: {error}", fix, command) from error
        except Exception as error:
            raise UserError(
                f"plugin '{self.name}' of {self.package} does not import: {describe(error)}",
                "its package is broken or does not fit this version of ftp",
                f"pip install --upgrade {self.distribution}",
            ) from error
        except OF_THE_USER:
            raise
        except BaseException as error:  # sys.exit, or what tools raise to end a test or a task
            raise PluginError(f"plugin '{self.name}' of {self.package} does not import: {describe(error)}") from error
        if not getattr(loaded, "__ftp_plugin__", False):
            raise UserError(f"plugin '{self.name}' of {self.package}: {self.target} is not marked with @ftp.plugin")
        return cast(type, loaded)


@dataclass(frozen=True)
class Picked:
    """A plugin of this run: where it comes from and its class."""

    found: Found
    cls: type

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def options(self) -> list[Option]:
        return options_of(self.cls, self.name)

    def attribute(self, name: str) -> tuple[Any, ...]:
        """A class attribute such as `gives` as a tuple; a single word counts as one of it."""
        value = getattr(self.cls, name, ())
        return (value,) if isinstance(value, str) else tuple(value)


@dataclass(frozen=True)
class Answer:
    """What one plugin answered to a hook."""

    plugin: str
    package: str
    value: Any
