"""Models that installed packages offer (entry point group `ftp.models`); nothing here is heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ftp.answers.fields import instance
from ftp.errors import UserError, describe
from ftp.host.terminal import OF_THE_USER
from ftp.plugins import names
from ftp.plugins.find import MODELS
from ftp.types import Head, Offer

OfferPoint = tuple[Callable[[], Offer], str, str]
"""A function that gives an offer, with the name and version of the distribution that it comes from."""


def offers() -> dict[str, list[OfferPoint]]:
    """Models in installed packages (entry point group `ftp.models`) by name, without importing any of the packages."""
    found: dict[str, list[OfferPoint]] = {}
    for point in metadata.entry_points(group=MODELS):
        name, version = (point.dist.metadata["Name"], point.dist.version) if point.dist else ("?", "")
        known = found.setdefault(point.name, [])
        if (name, version) not in [one[1:] for one in known]:
            known.append((_asker(point, f"{name} {version}".strip()), name, version))
    return dict(sorted(found.items()))


def defaults(known: Mapping[str, list[OfferPoint]], head: Head) -> list[tuple[str, Offer, str]]:
    """The offers that want to be the default for a head: name, offer, and the package that it comes from."""
    return [(name, offer, f"{distribution} {version}".strip()) for name, points in known.items()
            for ask, distribution, version in points if head in (offer := ask()).default_for]


def wishes(model: str | None, head: Head) -> tuple[str, Mapping[str, Any]]:
    """The offered model that `--model` means for a head, and what it suggests.

    ("", {}) for a folder or a hub id, and where there is no one model of that name: that is told when it is looked for.
    """
    known = offers()
    named = names.lookup(model, known, lambda point: point[1]) if model is not None else []
    if model is not None and (not named or Path(model).exists()):
        return "", {}
    try:
        found = [(name, offer) for name, offer, _ in defaults(known, head)] if model is None else \
            [(model, ask()) for ask, *_ in named]
    except UserError:
        return "", {}
    return (found[0][0], found[0][1].suggests) if len(found) == 1 else ("", {})


def _asker(point: metadata.EntryPoint, package: str) -> Callable[[], Offer]:
    def ask() -> Offer:
        try:
            offer: Offer = point.load()()
        except OF_THE_USER:
            raise
        except BaseException as error:
            raise UserError(f"model {point.name}: {package} offers it, but fails: {describe(error)}",
                            "the package or the one that holds the weights is broken; a run that names another with --model does "
                            "without it",
                            f"pip install --force-reinstall {package.split()[0]}") from error
        mismatch = instance(Offer)(offer)
        if mismatch is not None:
            raise UserError(f"model {point.name}: {package} offers it, but {point.value} gives {mismatch.given}, "
                            f"not {mismatch.right}")
        return offer

    return ask
