"""Whether plugins make a run together: its form and head, and the settings that they suggest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ftp import forms, heads
from ftp.errors import Problem
from ftp.options import Option, options_of
from ftp.plugin_info import Declaration, Picked, declaration_of
from ftp.plugins.declare import answers_hook, kind_of
from ftp.plugins.find import installed
from ftp.plugins.several import joined_domains
from ftp.types import Task


class Suggestions(NamedTuple):
    """Defaults of core's options that plugins and a model suggest. Each mapping is by the name of an option.

    Args:
        values: the defaults.
        origin: who suggests each, in words.
        problems: the options for which two suggestions contradict one another.
    """

    values: dict[str, Any]
    origin: dict[str, str]
    problems: dict[str, Problem]


STRENGTH = ("parameterisation", "objective", "domain")
"""Whose suggestions count more, strongest first."""


def trains_alone(form: str) -> bool:
    """Whether a form has a head with a loss of its own, so that a domain makes a run without an objective."""
    known = forms.all_forms().get(form)
    return known is not None and heads.get(known.default_head).default_loss is not None


def settle(picked: Sequence[Picked], form: str | None = None) -> tuple[Task | None, list[Problem]]:
    """The task of a set of plugins: which form its objective reads and which head that needs; or why they do not fit.

    Without an objective it is the domain's first form that has a head of its own, or another one of these, `form` (`--form`).
    """
    objectives = [plugin for plugin in picked if answers_hook(plugin.cls, "make_loss") and plugin.declaration.wants]
    domains = [plugin for plugin in picked if answers_hook(plugin.cls, "load_data") and plugin.declaration.gives]
    if not domains:
        fitting = _installed(lambda cls: answers_hook(cls, "load_data"))
        return None, [Problem("no plugin of this run gives data", f"name a domain: {fitting or 'none is installed'}",
                              "ftp plugins")]
    if len(objectives) > 1:
        return None, []  # the audit reports two answers to make_loss
    if not objectives:
        return _settle_by_form(domains[0], joined_domains(picked), form)
    return _settle_by_objective(objectives[0], domains, form)


def _settle_by_form(domain: Picked, joined: Sequence[Picked], form: str | None) -> tuple[Task | None, list[Problem]]:
    """The task that core trains by itself: the first form of the domain that has a head of its own, or the one named.

    Args:
        joined: domains whose rows are joined with one another, which have to give this form as well.
    """
    trainable = [name for name in domain.declaration.gives if trains_alone(name)]
    if not trainable:
        return None, [_no_objective(domain)]
    for other in joined:
        within_reach = forms.reachable(other.declaration.gives)
        trainable = [name for name in trainable if name in within_reach]
        if not trainable:
            return None, [_no_common_form(joined)]
    if form is not None and form not in trainable:
        return None, [Problem(f"--form {form}: '{domain.name}' gives {', '.join(trainable)}", "name one of these")]
    chosen = form or trainable[0]
    others = tuple(name for name in trainable if name != chosen)
    return Task(chosen, forms.get(chosen).default_head, others), []


def _no_objective(domain: Picked) -> Problem:
    """The forms of a domain need an objective, and none is named."""
    gives = ", ".join(domain.declaration.gives)
    within_reach = forms.reachable(domain.declaration.gives)
    fitting = _installed(lambda cls: not within_reach.isdisjoint(declaration_of(cls).wants))
    return Problem(f"domain '{domain.name}' gives {gives}, for which no objective is named",
                   f"name one: {fitting or 'none that fits is installed'}", "ftp plugins")


def _installed(fits: Callable[[type], bool]) -> str:
    """The names of the installed plugins that fit, for a message."""
    return ", ".join(name for name, cls in installed() if fits(cls))


def _no_common_form(domains: Sequence[Picked]) -> Problem:
    """The domains of a run whose forms need different heads."""
    each = []
    for domain in domains:
        gives = [f"{name} (head {forms.get(name).default_head})" for name in domain.declaration.gives if trains_alone(name)]
        each.append(f"'{domain.name}' gives {', '.join(gives or domain.declaration.gives)}")
    return Problem(f"the domains of this run have no form in common, and a run trains one head: {'; '.join(each)}",
                   "train each by itself, or name an objective that reads the rows of all (sft writes labels in words)",
                   "ftp plugins")


def _settle_by_objective(
    objective: Picked, domains: Sequence[Picked], form: str | None
) -> tuple[Task | None, list[Problem]]:
    """The first form that the objective wants and every domain can give."""
    wants = objective.declaration.wants
    if form is not None and form not in wants:
        return None, [Problem(f"--form {form}: '{objective.name}' reads {' or '.join(wants)}, whatever the domain gives",
                              "leave it out")]
    common = set(forms.all_forms()).intersection(*[forms.reachable(domain.declaration.gives) for domain in domains])
    for name in wants:
        if name in common and form in (None, name):
            return Task(name, objective.declaration.head or forms.get(name).default_head), []

    # none: say which domain is in the way, and which would not be
    fitting = _installed(lambda cls: _gives_any_of(declaration_of(cls), wants))
    problems = []
    for domain in domains:
        if not _gives_any_of(domain.declaration, wants):
            gives = ", ".join(domain.declaration.gives)
            problems.append(Problem(
                f"'{objective.name}' wants {' or '.join(wants)}, but '{domain.name}' gives {gives}",
                f"domains that fit: {fitting or 'none is installed'}", "ftp plugins"))
    if not problems:
        problems = [Problem(f"the domains give no form in common that '{objective.name}' wants ({', '.join(wants)})")]
    return None, problems


def _gives_any_of(domain: Declaration, wants: Iterable[str]) -> bool:
    """Whether rows of a domain can become rows of one of these forms."""
    return not forms.reachable(domain.gives).isdisjoint(wants)


def core_options() -> list[Option]:
    """The options of core itself. One that follows from the data has no default until the rows are known."""
    from ftp.settings import FOLLOWING, Settings

    options = []
    for item in options_of(Settings, ""):
        if item.name in FOLLOWING:
            item = dataclasses.replace(item, default=None, kind=Optional[item.kind])  # noqa: UP045 (a kind is no type to mypy)
        options.append(item)
    return options


def suggested(
    picked: Iterable[Picked], model: str = "", wishes: Mapping[str, object] | None = None
) -> Suggestions:
    """Core options for which plugins of this run suggest another default. The order in which plugins are named makes no
    difference.

    A parameterisation's suggestion counts more than an objective's, that more than a domain's, and that more than another
    plugin's. What an offered model suggests takes the place of an objective's. The learning rates of the first
    two are multiplied: a parameterisation says what it wants where core's default would be right for all weights, and wants
    the same multiple of what an objective or a model suggests instead.

    Args:
        model: the name of an offered model.
        wishes: what it suggests.
    """
    from ftp.settings import Settings

    suggestions = Suggestions({}, {}, {})
    for key, ranks in _by_strength(picked, model, wishes or {}).items():
        strongest = ranks[min(ranks)]
        supporters = " and ".join(sorted(strongest))
        if len(set(map(repr, strongest.values()))) > 1:
            contradiction = " and ".join(f"{name}: {value}" for name, value in sorted(strongest.items()))
            flag = "--" + key.replace("_", "-")
            suggestions.problems[key] = Problem(f"{flag}: two plugins suggest different values ({contradiction})",
                                                f"say which: {flag} VALUE")
            continue
        value = next(iter(strongest.values()))
        origin = f"suggested by {supporters}"
        # of a parameterisation and an objective: the product
        if key == "learning_rate" and min(ranks) == 0 and 1 in ranks:
            objective, rate = next(iter(ranks[1].items()))
            times = value / Settings().learning_rate
            value = float(f"{rate * times:.6g}")
            origin = f"{rate:g} suggested by {objective}, {times:g} times that by {supporters}"
        suggestions.values[key] = value
        suggestions.origin[key] = origin
    return suggestions


def _by_strength(
    picked: Iterable[Picked], model: str, wishes: Mapping[str, object]
) -> dict[str, dict[int, dict[str, Any]]]:
    """Option -> rank of a suggestion (0: the strongest) -> name of who suggests it -> the value."""
    suggestions: dict[str, dict[int, dict[str, Any]]] = {}
    for plugin in picked:
        kind = kind_of(plugin.cls)
        rank = STRENGTH.index(kind) if kind in STRENGTH else len(STRENGTH)
        for key, value in plugin.declaration.suggests.items():
            suggestions.setdefault(key, {}).setdefault(rank, {})[plugin.name] = value
    for key, value in wishes.items():
        suggestions.setdefault(key, {})[STRENGTH.index("objective")] = {model: value}
    return suggestions
