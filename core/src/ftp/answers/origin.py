"""Which plugin an answer comes from, and the errors that name it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ftp.errors import PluginError, describe, passes_through


@dataclass(frozen=True)
class Mismatch:
    """What an answer is, and what is right instead; both in words."""

    actual: str
    right: str


@dataclass(frozen=True)
class Source:
    """The plugin that an answer comes from."""

    plugin: str
    package: str

    def error(self, hook: str, mismatch: Mismatch) -> PluginError:
        """The error that names plugin, package and hook."""
        return PluginError(f"{self} gave {mismatch.actual} to {hook}, not {mismatch.right}")

    def failure(self, hook: str, error: BaseException) -> PluginError:
        """The error for what a plugin raised in a hook or in a function that it gave."""
        return PluginError(f"{self} failed in {hook}: {describe(error)}")

    def __str__(self) -> str:
        return f"plugin '{self.plugin}' ({self.package})"


@contextlib.contextmanager
def named(source: Source, hook: str) -> Iterator[None]:
    """Name the plugin whose function raises in what is done here."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if passes_through(error):
            raise
        raise source.failure(hook, error) from error
