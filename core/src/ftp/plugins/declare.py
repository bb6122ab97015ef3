"""What a plugin says of itself: the decorator, its kind, the hooks that it answers. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")
KINDS = ("objective", "parameterisation", "domain", "risk", "core", "extra")


@dataclass_transform(kw_only_default=True, field_specifiers=(dataclasses.field,))
def plugin(cls: type[T]) -> type[T]:
    """Make a class a plugin: a dataclass whose fields are options, whose methods marked `@hookimpl` are hooks, and
    whose docstring is its help. Class attributes say how it fits: `wants` (forms an objective reads, best first),
    `head`, `gives` (forms a domain has), `splits` (those it gives, where not train, validation and test), `suggests` (core
    options it would rather have by default), `goes_with` and `tried_with` (plugins and options that `ftp check` tries it with,
    where it does nothing alone), `needs` (optional libraries without which it cannot be tried), `replaces` (default
    plugins that it makes needless), `builds_with` (its options without which core builds the network), `decides` (what only one
    plugin of a run may decide), `kind`. A method `hide(text)` gives a text of a row as it may be shown or kept (`Run.hidden`)."""
    plugin_class: type[T] = dataclass(eq=False, kw_only=True)(cls)
    plugin_class.__ftp_plugin__ = True  # type: ignore[attr-defined]
    return plugin_class


def implementations(cls: type) -> dict[str, dict[str, Any]]:
    """Marked hook methods of a plugin class -> pluggy's options of each (`wrapper`, `trylast`, ...)."""
    options_of_hook = {}
    for name, function in inspect.getmembers(cls, inspect.isroutine):
        options = getattr(function, "ftp_impl", None)
        if options is not None:
            options_of_hook[options.get("specname") or name] = options
    return options_of_hook


def kind_of(cls: type) -> str:
    """What a plugin is, from its `kind` or from the hooks it answers."""
    if getattr(cls, "kind", None):
        return str(cls.kind)  # type: ignore[attr-defined]
    answers = implementations(cls)
    if "make_loss" in answers and not answers["make_loss"].get("wrapper"):
        return "objective"
    if "load_data" in answers and not answers["load_data"].get("wrapper"):
        return "domain"
    if "build_model" in answers:
        return "parameterisation"
    return "risk" if set(answers) == {"check_risks"} else "extra"


def summary_of(cls: type) -> str:
    """The first line of a plugin's docstring."""
    return (inspect.getdoc(cls) or "").strip().split("\n")[0]


def answers_hook(cls: type, hook: str) -> bool:
    """Whether a class answers a hook itself (a wrapper only changes what another answers)."""
    options = implementations(cls).get(hook)
    return options is not None and not options.get("wrapper")


def attribute_of(cls: type, name: str) -> tuple[Any, ...]:
    """A class attribute such as `gives` as a tuple; a single word counts as one of it."""
    value = getattr(cls, name, ())
    return (value,) if isinstance(value, str) else tuple(value)
