"""What is wrong with a set of plugins that can be known without running them: what pluggy keeps silent about."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Collection, Sequence

from ftp import hooks
from ftp.errors import Problem, nearest
from ftp.options import Option, convert, options_of
from ftp.plugin_info import NEEDS, Picked, declaration_of
from ftp.plugins.declare import answers_hook, implementations, mistakes_of
from ftp.plugins.names import installed_names, is_misspelt, split
from ftp.plugins.order import circle_of
from ftp.settings import Settings

NAMING_PLUGINS = ("requires", "before", "after", "replaces", "goes_with")
"""Words of a declaration that name other plugins."""


def audit(picked: Sequence[Picked], names: Sequence[str] = ()) -> list[Problem]:
    """Everything wrong with a set of plugins that can be known without running them.

    Args:
        names: the plugins as `--plugins` names them, for the command that has what is missing.
    """
    problems: list[Problem] = []
    known = installed_names() | {plugin.name for plugin in picked}
    for plugin in picked:
        problems += audit_class(plugin.cls, f"plugin '{plugin.name}' of {plugin.found.package}", known)
    problems += _missing(picked, names)
    problems += _circle(picked)
    return problems + _several_answers(picked) + _several_deciders(picked)


def _missing(picked: Sequence[Picked], names: Sequence[str]) -> list[Problem]:
    """Plugins that others of the run require, and that are not in it."""
    there = {plugin.name for plugin in picked}
    named = names or [plugin.name for plugin in picked if not plugin.found.default]
    problems = []
    for plugin in picked:
        absent = [name for name in plugin.declaration.requires if name not in there]
        if not absent:
            continue
        required = " and ".join(f"'{name}'" for name in absent)
        what = f"plugin '{plugin.name}' of {plugin.found.package} requires {required}, which this run does not have"
        # a default plugin that was left out (-name) comes back
        without = [name for name in named if name.removeprefix("-") not in absent]
        command = f"ftp run --plugins {','.join([*absent, *without])}"
        problems.append(Problem(what, "name it as well; ftp plugins lists what is installed", command))
    return problems


def _circle(picked: Sequence[Picked]) -> list[Problem]:
    """Plugins whose `before` and `after` contradict one another."""
    circle = circle_of(picked)
    if not circle:
        return []
    steps = " before ".join(f"'{name}'" for name in [*circle, circle[0]])
    packages = [plugin.found.package for plugin in picked if plugin.name in circle]
    return [Problem(f"plugins declare an order that goes round in a circle: {steps} ({', '.join(packages)})",
                    f"leave out {' or '.join(circle)}")]


def _several_answers(picked: Sequence[Picked]) -> list[Problem]:
    """Hooks that take one answer and would get more. Core's own answer, asked last, gives way to any."""
    problems = []
    for hook, arity in hooks.ARITY.items():
        if arity != "one":
            continue
        answering = []
        for plugin in picked:
            if answers_hook(plugin.cls, hook) and not implementations(plugin.cls)[hook].get("trylast"):
                answering.append(plugin)
        if len(answering) > 1:
            problems.append(Problem(f"hook {hook} takes one answer, but {_with_packages(answering)} both give it",
                                    _leave_out(answering)))
    return problems


def _several_deciders(picked: Sequence[Picked]) -> list[Problem]:
    """Matters that only one plugin of a run may decide, and more do."""
    deciders: dict[str, list[Picked]] = {}
    for plugin in picked:
        for matter in plugin.declaration.decides:
            deciders.setdefault(matter, []).append(plugin)
    problems = []
    for matter, deciding in deciders.items():
        if len(deciding) > 1:
            problems.append(Problem(f"{_with_packages(deciding)} both decide {matter}", _leave_out(deciding)))
    return problems


def _with_packages(plugins: Sequence[Picked]) -> str:
    return " and ".join(f"'{plugin.name}' ({plugin.found.package})" for plugin in plugins)


def _leave_out(plugins: Sequence[Picked]) -> str:
    return f"leave out {' or '.join(plugin.name for plugin in plugins)}"


def audit_class(cls: type, who: str, known: Collection[str] | None = None) -> list[Problem]:
    """What is wrong with one plugin: words that it cannot declare, hooks that are not marked, names or arguments that the
    contract does not have.

    Args:
        known: names of plugins, by which a misspelt one shows; None: those that are installed.
    """
    problems = [*mistakes_of(cls, who), *_half_of_a_state(cls, who)]
    problems += _misspelt_plugins(cls, who, installed_names() if known is None else known)
    problems += _unknown_options(cls, who)
    problems += _unfit_candidates(cls, who)
    for name, function in inspect.getmembers(cls, inspect.isroutine):
        options = getattr(function, "ftp_impl", None)
        if options is None:  # not marked
            if name in hooks.ARITY:
                problems.append(Problem(f"{who}: method {name} has the name of a hook but no @hookimpl",
                                        "mark it with @hookimpl, or rename it"))
            continue
        hook = options.get("specname") or name
        if hook not in hooks.ARITY:
            problems.append(Problem(f"{who}: @hookimpl {hook}: there is no such hook", nearest(hook, hooks.ARITY)))
            continue
        problems += _unknown_arguments(hook, function, who)
        if options.get("wrapper"):
            problems += _wrong_wrapper(hook, function, who)
    return problems


def absent_plugins(cls: type) -> list[str]:
    """Plugins that a declaration names and that are not installed; a package may know of others that its user does not have."""
    known = installed_names()
    declaration = declaration_of(cls)
    absent: dict[str, None] = {}
    for word in NAMING_PLUGINS:
        for name in getattr(declaration, word):
            if isinstance(name, str) and name not in known:
                absent[name] = None
    return list(absent)


def _misspelt_plugins(cls: type, who: str, known: Collection[str]) -> list[Problem]:
    """Names that no plugin has: those of known ones with a slip, or with a package. Others may be of packages that are not
    installed."""
    declaration = declaration_of(cls)
    problems = []
    for word in NAMING_PLUGINS:
        for name in getattr(declaration, word):
            if not isinstance(name, str) or name in known:
                continue
            package, plain = split(name)
            if package:
                problems.append(Problem(f"{who}: @plugin({word}=...): '{name}' names a package as well",
                                        f"a declaration names a plugin alone: '{plain}'"))
            meant = [right for right in known if is_misspelt(name, right)]
            if meant:
                problems.append(Problem(f"{who}: @plugin({word}=...): no plugin '{name}' is installed",
                                        f"did you mean '{sorted(meant)[0]}'?"))
    return problems


def _unknown_options(cls: type, who: str) -> list[Problem]:
    """Options that a declaration names and that there are not: in `candidates` core's count as well."""
    own = {item.name for item in dataclasses.fields(cls)}
    settable = own | {item.name for item in dataclasses.fields(Settings)}
    declaration = declaration_of(cls)
    named = [("builds_with", name, own) for name in declaration.builds_with]
    for candidate in declaration.candidates:
        named += [("candidates", name, settable) for name in candidate.settings]
    problems = []
    for word, name, options in dict.fromkeys((word, name, frozenset(options)) for word, name, options in named):
        if isinstance(name, str) and name not in options:
            fix = nearest(name, options) or f"its options: {', '.join(sorted(own)) or 'none'}"
            problems.append(Problem(f"{who}: @plugin({word}=...): there is no option '{name}'", fix))
    return problems


def _unfit_candidates(cls: type, who: str) -> list[Problem]:
    """Candidates with a setting that its option refuses, or with a need that nobody knows."""
    candidates = declaration_of(cls).candidates
    options: dict[str, Option] = {}
    # every run asks this of its plugins, and reading all of core's options takes as long as the rest
    if any(candidate.settings for candidate in candidates):
        with contextlib.suppress(Exception):  # options that cannot be read are reported by whoever picks the plugin
            options = {item.name: item for item in (*options_of(Settings, ""), *options_of(cls, ""))}
    problems = []
    for candidate in candidates:
        for name, value in candidate.settings.items():
            refused = convert(options[name], value)[1] if name in options and value is not None else None
            if refused is not None:
                problems.append(Problem(f"{who}: @plugin(candidates=...): {refused.what}", refused.fix))
        for need in candidate.all_needs:
            if need not in NEEDS:
                fix = nearest(need, NEEDS) or f"one of: {', '.join(NEEDS)}"
                problems.append(Problem(f"{who}: @plugin(candidates=...): nothing is known of the need '{need}'", fix))
    return problems


def _unknown_arguments(hook: str, function: Callable[..., object], who: str) -> list[Problem]:
    """Arguments of a method that its hook does not have."""
    known = set(inspect.signature(getattr(hooks, hook)).parameters)
    problems = []
    for argument in list(inspect.signature(function).parameters)[1:]:  # all but self
        if argument not in known:
            problems.append(Problem(f"{who}: hook {hook} has no argument '{argument}'",
                                    f"{nearest(argument, known)} it has: {', '.join(sorted(known))}".strip()))
    return problems


def _wrong_wrapper(hook: str, function: Callable[..., object], who: str) -> list[Problem]:
    """What is wrong with a method that is marked as a wrapper."""
    problems = []
    if hooks.ARITY[hook] == "pipeline":
        problems.append(Problem(f"{who}: {hook} cannot be wrapped", "each plugin gets what the one before it left"))
    if hook == "check_risks":  # a wrapper could drop another check's verdict
        problems.append(Problem(f"{who}: check_risks cannot be wrapped", "give verdicts of your own instead"))
    if not inspect.isgeneratorfunction(function):
        problems.append(Problem(f"{who}: hook {hook} is marked as a wrapper but never yields",
                                "answer = yield; return answer"))
    return problems


def _half_of_a_state(cls: type, who: str) -> list[Problem]:
    """A plugin's state needs both methods of `Stateful`: with one alone nothing would be kept, and nothing would say so."""
    has_state = inspect.isroutine(getattr(cls, "state", None))
    has_restore = inspect.isroutine(getattr(cls, "restore", None))
    if has_state == has_restore:
        return []
    method = "state" if has_state else "restore"
    absent = "restore" if has_state else "state"
    return [Problem(f"{who}: it has the method {method} but not {absent}, so checkpoints would keep nothing of it",
                    f"write {absent} as well (ftp.types.Stateful says how), or rename {method}")]
