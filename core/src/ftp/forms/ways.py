"""Which form can be read as which other one: ways downhill, on which nothing is invented."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from ftp import registry
from ftp.forms.catalogue import all_forms, aside, get, kind_of, likely_names, offers, other_names, text_columns
from ftp.forms.spec import Way


@cache
def steps() -> Mapping[tuple[str, str], Way]:
    """Every way from one form to another that takes one step: (source, target) -> the way."""
    ways: dict[tuple[str, str], Way] = {}
    for name, spec in all_forms().items():
        for step in spec.ways:  # a way to itself leads nowhere: see `canonical`
            if step.target != name:
                ways[name, step.target] = step
    return ways


def canonical(form: str) -> Way | None:
    """How the spellings of a form become one; None where it has one alone."""
    return next((step for step in get(form).ways if step.target == form), None)


@cache
def way(source: str, target: str) -> tuple[str, ...] | None:
    """The forms on the shortest way downhill, both ends included; None where there is none.

    Args:
        source: the form that rows have.
        target: the form that they are to be read as.
    """
    ways: list[tuple[str, ...]] = [(source,)]
    # Breadth first, so that the first way found is the shortest: the list grows while it is read.
    for passed in ways:
        if passed[-1] == target:
            return passed
        for start, end in steps():
            if start == passed[-1] and end not in passed:
                ways.append((*passed, end))
    return None


def reachable(gives: Iterable[str]) -> frozenset[str]:
    """Every form that rows of these forms can be read as, themselves included.

    Args:
        gives: the forms of the rows.
    """
    targets: set[str] = set()
    for source in gives:
        targets.update(target for target in all_forms() if way(source, target))
    return frozenset(targets)


def fits(gives: Iterable[str], wants: str) -> bool:
    """Whether rows of one of the forms can be read as another one.

    Args:
        gives: the forms of the rows.
        wants: the form that is to be read.
    """
    return wants in reachable(gives)


def offers_to(columns: Iterable[str], target: str) -> tuple[str, ...]:
    """Every form that these columns can be read as and that leads to another one, the richest first.

    Args:
        columns: names of the columns of a file; common other names count.
        target: the form that is to be read.
    """
    return tuple(form for form in offers(columns) if way(form, target))


def forget() -> None:
    """Look at the installed packages again (in tests that install one)."""
    # Each of them keeps what it found of the installed packages.
    for function in (all_forms, other_names, likely_names, kind_of, text_columns, aside, steps, way):
        function.cache_clear()
    registry.forget()
