"""Models that installed packages offer (entry point group `ftp.models`); nothing here is heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ftp import heads, registry
from ftp.answers.fields import instance
from ftp.contract import install_command
from ftp.entry_points import EntryPoint, entry_points
from ftp.errors import Problem, UserError, describe
from ftp.host.quiet import quiet_import
from ftp.host.terminal import OF_THE_USER
from ftp.plugins import names
from ftp.plugins.find import MODELS
from ftp.types import Offer

OfferPoint = tuple[Callable[[], Offer], str, str]
"""A function that gives an offer, with the name and version of the distribution that it comes from."""


def offers() -> dict[str, list[OfferPoint]]:
    """Models in installed packages (entry point group `ftp.models`) by name, without importing any of the packages."""
    offered: dict[str, list[OfferPoint]] = {}
    for point in entry_points(MODELS):
        package = point.package
        same_name = offered.setdefault(point.name, [])
        # a package that lies twice on the path offers its models once
        if not any(point_of_name[1:] == (package.name, package.version) for point_of_name in same_name):
            same_name.append((_asker(point), package.name, package.version))
    return dict(sorted(offered.items()))


def defaults(known: Mapping[str, list[OfferPoint]], head: str) -> list[tuple[str, Offer, str]]:
    """The offers that want to be the default for a head, or else for the head whose model serves it (`HeadSpec.model_as`): name,
    offer, and the package that it comes from.

    Raises:
        UserError: there is none, and an offer that fails could be one.
    """
    broken: dict[str, Problem] = {}
    wanting = _wanting(known, head, broken) or _wanting(known, heads.get(head).model_as, broken)
    if broken and not wanting:
        raise UserError(broken.values())
    for distribution, problem in broken.items():
        registry.tell_once(problem, distribution)
    return wanting


def _wanting(known: Mapping[str, list[OfferPoint]], head: str, broken: dict[str, Problem]) -> list[tuple[str, Offer, str]]:
    """The offers that name a head as one that they are the default for; `broken` gets the failures by package."""
    wanting = []
    for name, points in known.items():
        for ask, distribution, version in points:
            try:
                with quiet_import():
                    offer = ask()
            except UserError as error:
                broken[distribution] = error.problems[0]
                continue
            if head in offer.default_for:
                wanting.append((name, offer, f"{distribution} {version}".strip()))
    return wanting


def wishes(model: str | None, head: str) -> tuple[str, Mapping[str, object]]:
    """The offered model that `--model` means for a head, and what it suggests.

    ("", {}) for a folder or a hub id, and where no model or several have that name: that is an error when it is looked for.
    """
    meant = offer_meant(model, head)
    return ("", {}) if meant is None else (meant[0], meant[1].suggests)


def offer_meant(model: str | None, head: str) -> tuple[str, Offer] | None:
    """The offered model that `--model` means for a head, with its name; None for a folder or a hub id, and where no model or
    several have that name."""
    known = offers()
    try:
        if model is None:
            offered = [(name, offer) for name, offer, _ in defaults(known, head)]
        else:
            points = names.lookup(model, known, lambda point: point[1])
            is_folder = Path(model).exists()  # which comes before an offer of its name
            offered = [(model, ask()) for ask, _, _ in points if not is_folder]
    except UserError:
        return None
    return offered[0] if len(offered) == 1 else None


def _asker(point: EntryPoint) -> Callable[[], Offer]:
    """What imports a package's offer, and names the package where it fails or gives something else."""
    package = point.package
    who = f"model {point.name}: {package} offers it, but"
    fix = f"a run that names another with --model does without it; to be rid of it: ftp uninstall {package.name}"

    def ask() -> Offer:
        function = point.load(f"model '{point.name}'")
        try:
            offer: Offer = function()  # type: ignore[operator]
        except OF_THE_USER:
            raise
        # also sys.exit of a package that does not mean this command
        except BaseException as error:
            again = install_command(package.name, "--reinstall")
            raise UserError(f"{who} fails: {describe(error)}", fix, again) from error
        mismatch = instance(Offer)(offer)
        if mismatch is not None:
            raise UserError(f"{who} {point.target} gives {mismatch.actual}, not {mismatch.right}", fix)
        return offer

    return ask
