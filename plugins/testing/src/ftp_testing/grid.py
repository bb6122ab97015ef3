"""Which installed plugins go together: every method with every domain. Imports nothing heavy.

A method is an objective (or none: then core's own loss for the domain's rows) and a parameterisation (or none: then all weights
are trained). Whether an objective and a domain go together depends on the forms of rows; a parameterisation goes with all of
them. `tests/test_grid.py` runs what goes together and asks for the errors of the rest; docs/grid.md shows the table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import product

from ftp.errors import UserError
from ftp.plugin_info import declaration_of
from ftp.plugins.declare import kind_of
from ftp.plugins.find import installed
from ftp.plugins.plan import prepare
from ftp.types import Task


@dataclass(frozen=True)
class Cell:
    """An objective ("": none) with a domain. `task`: what they settle on; None where they do not fit, and `why` says so."""

    objective: str
    domain: str
    task: Task | None
    why: str = ""
    parameterisation: str = ""

    @property
    def plugins(self) -> list[str]:
        """What `--plugins` would name."""
        return [name for name in (self.objective, self.parameterisation, self.domain) if name]


def names(kind: str) -> list[str]:
    """The installed plugins of a kind, in order of the alphabet; of objectives those that read rows of domains, of
    parameterisations those that train a network."""
    of_kind = {name for name, cls in installed() if kind_of(cls) == kind}
    return sorted(of_kind.difference(with_own_rows(), without_training()))


def without_training() -> list[str]:
    """The installed plugins that fit only what reads the network, so that they go with few heads."""
    fitting_alone = []
    for name, cls in installed():
        candidates = declaration_of(cls).candidates
        if candidates and not any(candidate.trains_network for candidate in candidates):
            fitting_alone.append(name)
    return fitting_alone


def with_own_rows() -> list[str]:
    """The installed objectives that bring rows of their own, so that they meet no domain."""
    return sorted(name for name, cls in installed() if kind_of(cls) == "objective" and declaration_of(cls).gives)


def lacking(plugins: Iterable[str]) -> list[str]:
    """What some plugins need (`needs`) that is not installed."""
    classes = dict(installed())
    packages: list[str] = []
    for name in plugins:
        packages += declaration_of(classes[name]).needs
    return [package for package in packages if find_spec(package) is None]


def cells(objectives: Sequence[str] | None = None, domains: Sequence[str] | None = None) -> list[Cell]:
    """Every objective, and none, with every domain; None: those that are installed."""
    objectives = names("objective") if objectives is None else objectives
    domains = names("domain") if domains is None else domains
    return [_cell(objective, domain) for objective, domain in product(["", *objectives], domains)]


def _cell(objective: str, domain: str) -> Cell:
    try:
        prepared = prepare([objective, domain] if objective else [domain])
    except UserError as error:
        return Cell(objective, domain, None, str(error))
    return Cell(objective, domain, prepared.task)


def runs(grid: Iterable[Cell], parameterisations: Sequence[str], absent: Collection[str] = ()) -> list[Cell]:
    """Few runs in which each pair meets at least once: objective and domain, objective and parameterisation, parameterisation
    and domain.

    Args:
        absent: parameterisations that cannot run here; no objective is left to meet a domain with one of them alone.
    """
    fitting = [cell for cell in grid if cell.task]
    if not parameterisations:
        return fitting
    able = [name for name in parameterisations if name not in absent] or list(parameterisations)
    objectives = list(dict.fromkeys(cell.objective for cell in fitting))
    domains = list(dict.fromkeys(cell.domain for cell in fitting))
    chosen: list[Cell] = []
    met: set[tuple[str, str, str]] = set()
    for cell in fitting:
        # along each row and each column of the grid the parameterisations take turns
        turn = objectives.index(cell.objective) + domains.index(cell.domain)
        chosen.append(replace(cell, parameterisation=able[turn % len(able)]))
        met.update(_pairs(chosen[-1]))
    for cell, name in product(fitting, parameterisations):
        candidate = replace(cell, parameterisation=name)
        if not met.issuperset(_pairs(candidate)):
            chosen.append(candidate)
            met.update(_pairs(candidate))
    return chosen


def _pairs(cell: Cell) -> Iterator[tuple[str, str, str]]:
    yield "objective", cell.objective, cell.parameterisation
    yield "domain", cell.domain, cell.parameterisation
