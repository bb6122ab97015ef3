"""What is wrong with a set of plugins that can be known without running them: what pluggy keeps silent about."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from ftp import hooks
from ftp.errors import Problem, nearest
from ftp.plugin_info import Picked
from ftp.plugins.declare import answers_hook, implementations

SPLITS = ("train", "validation", "test")
"""The splits that a domain is taken to give; one that gives others says so in its class attribute `splits`."""


def audit(picked: Sequence[Picked]) -> list[Problem]:
    """Everything wrong with a set of plugins that can be known without running them."""
    problems = [problem for one in picked for problem in audit_class(one.cls, f"plugin '{one.name}' of {one.found.package}")]
    for name, arity in hooks.ARITY.items():
        if arity != "one":
            continue
        answers = [one for one in picked if answers_hook(one.cls, name) and not implementations(one.cls)[name].get("trylast")]
        if len(answers) > 1:
            who = " and ".join(f"'{one.name}' ({one.found.package})" for one in answers)
            problems.append(Problem(f"hook {name} takes one answer, but {who} both give it",
                                    f"leave out {' or '.join(one.name for one in answers)}"))
    deciders: dict[str, list[Picked]] = {}
    for one in picked:
        for what in one.attribute("decides"):
            deciders.setdefault(what, []).append(one)
    for what, those in deciders.items():
        if len(those) > 1:
            who = " and ".join(f"'{one.name}' ({one.found.package})" for one in those)
            problems.append(Problem(f"{who} both decide {what}", f"leave out {' or '.join(one.name for one in those)}"))
    owner: dict[str, Picked] = {}
    for one in picked:
        for split in (one.attribute("splits") or SPLITS) if answers_hook(one.cls, "load_data") else ():
            if split in owner:
                who = " and ".join(f"'{giver.name}' ({giver.found.package})" for giver in (owner[split], one))
                problems.append(Problem(f"split '{split}' has two sources: {who}", "leave out one of them"))
                break
            owner[split] = one
    return problems


def audit_class(cls: type, who: str) -> list[Problem]:
    """What is wrong with one plugin's hooks: marks forgotten, names or arguments that the contract does not have."""
    problems = []
    for name, function in inspect.getmembers(cls, inspect.isroutine):
        marked = getattr(function, "ftp_impl", None)
        if marked is None:
            if name in hooks.ARITY:
                problems.append(Problem(f"{who}: method {name} has the name of a hook but no @hookimpl",
                                        "mark it with @hookimpl, or rename it"))
            continue
        hook = marked.get("specname") or name
        if hook not in hooks.ARITY:
            problems.append(Problem(f"{who}: @hookimpl {hook}: there is no such hook", nearest(hook, hooks.ARITY)))
            continue
        known = set(inspect.signature(getattr(hooks, hook)).parameters)
        for argument in list(inspect.signature(function).parameters)[1:]:
            if argument not in known:
                problems.append(Problem(f"{who}: hook {hook} has no argument '{argument}'",
                                        f"{nearest(argument, known)} it has: {', '.join(sorted(known))}".strip()))
        if hook == "check_risks" and marked.get("wrapper"):
            problems.append(Problem(f"{who}: check_risks cannot be wrapped", "give verdicts of your own instead"))
        if marked.get("wrapper") and not inspect.isgeneratorfunction(function):
            problems.append(Problem(f"{who}: hook {hook} is marked as a wrapper but never yields",
                                    "answer = yield; return answer"))
    return problems
