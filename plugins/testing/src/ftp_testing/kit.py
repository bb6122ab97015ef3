"""All checks that fit a plugin, done one by one. Imports nothing heavy."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from ftp.errors import PluginError, UserError
from ftp_testing.outcome import CHECKS, Check, Fault, NotApplicable, Outcome, where
from ftp_testing.subject import Part, Subject, find

PARTS: tuple[Part, ...] = ("every", "objective", "parameterisation", "run", "events", "domain", "risk")


@dataclass(frozen=True)
class Report:
    """What the checks said of one plugin. `kind`: objective, parameterisation, domain, risk or extra."""

    plugin: str
    kind: str
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The checks that found a fault."""
        return tuple(one for one in self.outcomes if one.status == "failed")


def check(name: str, *, only: Iterable[str] = (), told: Callable[[Outcome], None] | None = None) -> Report:
    """Do every check that fits a plugin: an installed one by its name, another as `path.py:Class`.

    `only`: names of checks; none: all. `told` hears each outcome at once. Raises `UserError` for a plugin or a check that
    there is not.
    """
    subject, outcomes = _subject(name), []
    for one in fitting(subject, only=only):
        outcomes.append(do(one, subject))
        if told is not None:
            told(outcomes[-1])
    return Report(subject.name, subject.kind, tuple(outcomes))


def fitting(subject: Subject, *, only: Iterable[str] = ()) -> list[Check]:
    """The checks that a plugin is asked to pass."""
    from ftp.errors import Problem, nearest

    wanted = list(only)
    for part in PARTS if wanted else subject.parts:  # some of them import torch
        importlib.import_module(f"ftp_testing.checks.{part}")
    if unknown := [name for name in wanted if name not in CHECKS]:
        raise UserError([Problem(f"there is no check '{name}'", nearest(name, CHECKS) or f"one of: {', '.join(CHECKS)}")
                         for name in unknown])
    found = [one for one in CHECKS.values() if one.part in subject.parts and (one.name in wanted or not wanted)]
    return sorted(found, key=lambda one: PARTS.index(one.part))


def do(one: Check, subject: Subject) -> Outcome:
    """One check of one plugin. Whatever the plugin raises on the way is a fault."""
    started = time.perf_counter()

    def outcome(status: Any, message: str) -> Outcome:
        return Outcome(one.name, status, message, round(time.perf_counter() - started, 2))

    missing = [name for name in subject.picked.declaration.needs if find_spec(name) is None]
    if missing and one.part != "every":
        return outcome("not_applicable", f"it needs {', '.join(missing)}, which is not installed: pip install {' '.join(missing)}")
    if one.part != "every" and (unfit := _unfit(subject)):
        if subject.kept.setdefault("unfit said by", one.name) == one.name:
            return outcome("failed", unfit)
        return outcome("not_applicable", f"it cannot be tried: see {subject.kept['unfit said by']}")
    try:
        return outcome("ok", one.look(subject))
    except NotApplicable as reason:
        return outcome("not_applicable", str(reason))
    except Fault as fault:
        return outcome("failed", str(fault))
    except (UserError, PluginError) as error:
        return outcome("failed", f"{error}")
    except Exception as error:
        return outcome("failed", f"{subject.name} raised {type(error).__name__}: {error}{where(error)}")


def conformance(*names: str) -> Callable[..., None]:
    """A pytest test of one or several plugins, each check a test of its own: `test_mine = conformance("mine")`.

    A check that has nothing to look at is skipped with its reason (shown by `pytest -rs`); checks for other kinds of plugins
    are left out.
    """
    import pytest

    cases = [pytest.param(name, one, id=f"{_label(name)}-{one.name}")
             for name in names for one in fitting(_subject(name))]

    @pytest.mark.parametrize("plugin, one", cases)
    def test(plugin: str, one: Check) -> None:
        found = do(one, _subject(plugin))
        if found.status == "failed":
            pytest.fail(f"{one.name}: {found.message}", pytrace=False)
        if found.status == "not_applicable":
            pytest.skip(f"nothing to look at: {found.message}")

    return test


def _unfit(subject: Subject) -> str:
    """Why the plugin cannot be tried beside what `goes_with` names; empty where it can. Looked at once for all checks."""
    if "unfit" not in subject.kept:
        subject.kept["unfit"] = ""
        named = subject.picked.declaration.goes_with
        try:
            if named:
                subject.prepared()
        except UserError as error:
            subject.kept["unfit"] = f"goes_with names {', '.join(named)}, beside which it does not run: {error}\n  name plugins that it goes with"
    return str(subject.kept["unfit"])


@cache
def _subject(name: str) -> Subject:
    return find(name)


def _label(name: str) -> str:
    return name.rsplit(":", 1)[-1]
