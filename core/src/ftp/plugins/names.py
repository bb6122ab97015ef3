"""Names of what packages offer: `lora`, or `ftp-lora:lora` where two packages offer one name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import TypeVar

from ftp.contract import normal_name
from ftp.entry_points import entry_points
from ftp.errors import Problem

T = TypeVar("T")

GROUP = "ftp"
DEFAULTS = "ftp.defaults"
"""Groups of entry points with plugins: those that a run names, and those of every run."""


def installed_names() -> frozenset[str]:
    """The names of all installed plugins."""
    return frozenset(point.name for point in (*entry_points(GROUP), *entry_points(DEFAULTS)))


def is_misspelt(name: str, right: str) -> bool:
    """Whether a name is another one with one slip inside: a letter too many, too few or another, or two exchanged.

    Other letters at the ends make other names: lora and qlora, ema and ema2.
    """
    # capitals and other dashes are slips as well
    name = normal_name(name)
    right = normal_name(right)
    start = _num_shared(name, right)
    end = _num_shared(name[start:][::-1], right[start:][::-1])
    wrong = name[start : len(name) - end]
    missing = right[start : len(right) - end]
    if name == right:
        return True
    is_exchanged = len(wrong) == 2 and wrong == missing[::-1]
    is_inside = start > 0 and end > 0 and max(len(wrong), len(missing)) <= 1
    return is_exchanged or is_inside


def _num_shared(name: str, other: str) -> int:
    """How many letters two names have in common from their beginning."""
    count = 0
    for letter, other_letter in zip(name, other, strict=False):
        if letter != other_letter:
            break
        count += 1
    return count


def split(name: str) -> tuple[str, str]:
    """The package and the plain name that `package:name` means; the package is empty where none is named."""
    package, _, plain = name.rpartition(":")
    return package, plain


def lookup(name: str, known: Mapping[str, Sequence[T]], distribution_of: Callable[[T], str]) -> list[T]:
    """What a name means: all that is offered under it, or what the package before the colon offers."""
    package, plain = split(name)
    offered = known.get(plain, ())
    # without a package all of the name are meant: whoever asks says that they clash
    if not package:
        return list(offered)
    return [offer for offer in offered if normal_name(package) in _spellings(distribution_of(offer))]


def clash(what: str, plain: str, distributions: Sequence[str], packages: Sequence[str]) -> Problem:
    """The mistake of a name that several packages offer. `packages`: each with its version."""
    choices = [f"{PurePath(distribution).name}:{plain}" for distribution in distributions]
    return Problem(f"{what}: two packages offer this name: {' and '.join(packages)}",
                   f"name it with its package: {' or '.join(choices)}")


def _spellings(distribution: str) -> set[str]:
    """How a package may be written: its name, or of a plugin that is not installed its file with or without the folder."""
    return {normal_name(distribution), normal_name(PurePath(distribution).name)}
