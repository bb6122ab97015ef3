"""Names of what packages offer: `lora`, or `ftp-lora:lora` where two packages offer one name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import TypeVar

from ftp.contract import normal_name
from ftp.errors import Problem

T = TypeVar("T")


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
