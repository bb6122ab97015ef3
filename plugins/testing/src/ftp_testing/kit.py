"""All checks that fit a plugin, done one by one. Imports nothing heavy."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from ftp.errors import PluginError, UserError
from ftp_testing.outcome import CHECKS, Check, Fault, NotApplicable, Outcome, Status, where
from ftp_testing.subject import Part, Subject, find

PARTS: tuple[Part, ...] = ("every", "objective", "parameterisation", "run", "events", "domain", "risk")


@dataclass(frozen=True)
class Report:
    """What the checks said of one plugin.

    Attributes:
        plugin: its name.
        kind: objective, parameterisation, domain, risk or extra.
        outcomes: of each check, in the order in which they were done.
    """

    plugin: str
    kind: str
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The checks that found a fault."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")


def check(name: str, *, only: Iterable[str] = (), told: Callable[[Outcome], None] | None = None) -> Report:
    """Do every check that fits a plugin.

    Args:
        name: of an installed plugin; one that is not installed is named `path.py:Class`.
        only: names of checks to do; none: all that fit.
        told: called with each outcome as soon as there is one; None: nobody is told before the end.

    Returns:
        What each check said, in the order in which they were done.

    Raises:
        UserError: there is no such plugin, or no such check.
    """
    subject = _subject(name)
    outcomes = []
    for fitting_check in fitting(subject, only=only):
        outcome = do(fitting_check, subject)
        outcomes.append(outcome)
        if told is not None:
            told(outcome)
    return Report(subject.name, subject.kind, tuple(outcomes))


def fitting(subject: Subject, *, only: Iterable[str] = ()) -> list[Check]:
    """The checks that a plugin is asked to pass."""
    from ftp.errors import Problem, nearest

    names = list(only)
    for part in PARTS if names else subject.parts:  # some of them import torch
        importlib.import_module(f"ftp_testing.checks.{part}")
    # all wrong names are told at once
    problems = []
    for name in names:
        if name not in CHECKS:
            problems.append(Problem(f"there is no check '{name}'", nearest(name, CHECKS) or f"one of: {', '.join(CHECKS)}"))
    if problems:
        raise UserError(problems)
    chosen = names or list(CHECKS)
    checks = [check for check in CHECKS.values() if check.part in subject.parts and check.name in chosen]
    return sorted(checks, key=lambda check: PARTS.index(check.part))


def do(check: Check, subject: Subject) -> Outcome:
    """One check of one plugin. Whatever the plugin raises on the way is a fault."""
    started = time.perf_counter()
    status, message = _try(check, subject)
    return Outcome(check.name, status, message, round(time.perf_counter() - started, 2))


def _try(check: Check, subject: Subject) -> tuple[Status, str]:
    """What a check says, as the status and message of its outcome."""
    missing = [name for name in subject.picked.declaration.needs if find_spec(name) is None]
    if missing and check.part != "every":
        return "not_applicable", f"it needs {', '.join(missing)}, which is not installed: ftp install --exact {' '.join(missing)}"
    reason = _why_unsuited(subject) if check.part != "every" else ""
    if reason:  # one check fails for it, the others name that one
        said_by = subject.memory.unsuited_said_by or check.name
        subject.memory.unsuited_said_by = said_by
        return ("failed", reason) if said_by == check.name else ("not_applicable", f"it cannot be tried: see {said_by}")
    try:
        return "ok", check.look(subject)
    except NotApplicable as error:
        return "not_applicable", str(error)
    except (Fault, UserError, PluginError) as error:
        return "failed", str(error)
    except Exception as error:
        return "failed", f"{subject.name} raised {type(error).__name__}: {error}{where(error)}"


def conformance(*names: str) -> Callable[..., None]:
    """A pytest test of one or several plugins, each check a test of its own: `test_mine = conformance("mine")`.

    A check that has nothing to look at is skipped with its reason (shown by `pytest -rs`); checks for other kinds of plugins
    are left out.

    Args:
        names: of installed plugins, or `path.py:Class`.

    Returns:
        A test function, with a parameter for each check of each plugin.

    Raises:
        UserError: there is no such plugin.
    """
    import pytest

    cases = []
    for name in names:
        for check in fitting(_subject(name)):
            cases.append(pytest.param(name, check, id=f"{_label(name)}-{check.name}"))

    @pytest.mark.parametrize("plugin, check", cases)
    def test(plugin: str, check: Check) -> None:
        outcome = do(check, _subject(plugin))
        if outcome.status == "failed":
            pytest.fail(f"{check.name}: {outcome.message}", pytrace=False)
        if outcome.status == "not_applicable":
            pytest.skip(f"nothing to look at: {outcome.message}")

    return test


def _why_unsuited(subject: Subject) -> str:
    """Why the plugin cannot be tried beside what `goes_with` names; empty where it can. Looked at once for all checks."""
    if subject.memory.unsuited is None:
        subject.memory.unsuited = ""
        companions = subject.picked.declaration.goes_with
        try:
            if companions:
                subject.prepared()
        except UserError as error:
            subject.memory.unsuited = (f"goes_with names {', '.join(companions)}, beside which it does not run: {error}\n"
                                       "  name plugins that it goes with")
    return subject.memory.unsuited


@cache
def _subject(name: str) -> Subject:
    return find(name)


def _label(name: str) -> str:
    return name.rsplit(":", 1)[-1]
