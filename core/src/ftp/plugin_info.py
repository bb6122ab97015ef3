"""What is known of a plugin of a run: what it declares, where it comes from, its class and options, and what it answered.

Imports nothing heavy.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ftp.entry_points import Package, load_object
from ftp.errors import UserError
from ftp.options import Option, options_of

SPLITS = ("train", "validation", "test")
"""The splits that a domain is taken to give; one that gives others declares its `splits`."""


def is_plugin(cls: object) -> bool:
    """Whether a class is itself marked with `@plugin`, not only the one that it is made from."""
    return inspect.isclass(cls) and "__ftp_plugin__" in vars(cls)


def declaration_of(cls: type) -> Declaration:
    """What a class declares, or the one that it is made from."""
    return cast(Declaration, getattr(cls, "__ftp_plugin__", Declaration()))


NEEDS = {
    "classes": "rows with a class each, or tags",
    "uneven": "a class with less than a fifth of the rows that it would have if all had as many",
    "gpu": "a GPU",
}
"""What a candidate may need, and what that means."""


@dataclass(frozen=True)
class Candidate:
    """Settings that are worth a try on rows of one's own; `ftp advise` races those that fit.

    Attributes:
        settings: options -> value: those of the plugin by their own names, and core's; none: as the plugin is.
        fewest_rows: training rows below which it is not worth a try.
        most_rows: training rows above which it is not; None: no limit.
        needs: what must hold of the rows or the machine (`uneven`, `classes`, `gpu`).
        cost: of an update, as a multiple of one that trains all weights.
        trains_network: False where the network stays as it is and only what reads it is fitted.
        why: when it is better than others, in a few words; empty where nobody has measured that.
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    fewest_rows: int = 0
    most_rows: int | None = None
    needs: str | tuple[str, ...] = ()
    cost: float = 1.0
    trains_network: bool = True
    why: str = ""

    @property
    def all_needs(self) -> tuple[str, ...]:
        """What it needs; a single word counts as one."""
        return (self.needs,) if isinstance(self.needs, str) else tuple(self.needs)


@dataclass(frozen=True)
class Declaration:
    """What a plugin says of itself in the brackets of `@plugin(...)`, which says what each word means.

    `words`: all of them as they stand there, unknown ones included: these are reported before a run.
    """

    kind: str = ""
    wants: tuple[str, ...] = ()
    head: str = ""
    gives: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    general: bool = False
    suggests: Mapping[str, object] = field(default_factory=dict)
    goes_with: tuple[str, ...] = ()
    tried_with: Mapping[str, object] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    builds_with: tuple[str, ...] = ()
    decides: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    main_only: bool = False
    adds_weights: bool = True
    starts_as_base: bool = True
    detaches: str = ""
    words: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A plugin that could be part of a run: its name, and the package it comes from.

    `core_versions`: those of ftp-core that its package runs with, as in `>=0.1,<1`; empty: it names none.
    """

    name: str
    target: str
    distribution: str
    version: str
    default: bool = False
    cls: type | None = None
    core_versions: str = ""

    @property
    def package(self) -> str:
        return f"{self.distribution} {self.version}".strip()

    def load(self) -> type:
        """The plugin's class.

        Raises:
            UserError: its package was made for another version of ftp-core, or failed to import: which one, and why.
        """
        if self.cls is not None:
            return self.cls
        package = Package(self.distribution, self.version, self.core_versions)
        loaded = load_object(f"plugin '{self.name}'", self.target, package)
        if not is_plugin(loaded):
            raise UserError(f"plugin '{self.name}' of {self.package}: {self.target} is not marked with @ftp.plugin",
                            "mark the class with it, or remove the package", f"ftp uninstall {self.distribution}")
        return cast(type, loaded)


def source_options(domain: str) -> list[Option]:
    """The options by which each domain of a run has rows of its own; `Hooks` puts them in the place of core's."""
    return [
        Option(domain, "data", str | None, None,
               "rows of this domain alone, in place of --data: file, folder of splits, or hub id", path=True),
        Option(domain, "columns", tuple[str, ...], (), "column mapping of these rows, in place of --columns"),
    ]


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
        """The options of its class; of a domain also those that say where its own rows are."""
        own = options_of(self.cls, self.name)
        names = {item.name for item in own}
        if self.declaration.gives:
            own += [item for item in source_options(self.name) if item.name not in names]
        return own

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that a domain gives."""
        return self.declaration.splits or SPLITS

    @property
    def declaration(self) -> Declaration:
        """What it says of itself in `@plugin(...)`."""
        return declaration_of(self.cls)


@dataclass(frozen=True)
class Answer:
    """What one plugin answered to a hook. `value`: of the type that the hook says (`ftp.answers` has checked it)."""

    plugin: str
    package: str
    value: Any
