"""The grid: each method with each domain that fits runs and comes back, and each misfit says which would fit.

Plugins are found by their entry points, so that a new one joins by itself. Each pair (objective and domain, objective and
parameterisation, parameterisation and domain) meets at least once; docs/grid.md is made from the same table.
"""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ftp import UserError
from ftp.forms import reachable
from ftp.plugin_info import Picked
from ftp.plugins.declare import kind_of
from ftp.plugins.find import discover
from ftp.plugins.fit import trains_alone
from ftp.plugins.plan import prepare
from ftp_testing import domains, grid
from ftp_testing.scene import models_of
from ftp_testing.subject import JUDGE, find

CELLS = grid.cells()
ABSENT = [name for name in grid.names("parameterisation") if grid.lacking([name])]
RUNS = grid.runs(CELLS, grid.names("parameterisation"), ABSENT)
MISFITS = [cell for cell in CELLS if cell.task is None]
QUICK = {"max_steps": 2, "batch_size": 4, "max_train_rows": 8, "max_eval_rows": 4, "logging_steps": 1, "verify": False,
         "baselines": False, "device": "cpu", "precision": "fp32"}


def label(cell: grid.Cell) -> str:
    return "-".join(cell.plugins)


def picked(name: str) -> Picked:
    candidate = discover()[name][0]
    return Picked(candidate, candidate.load())


def needed(cell: grid.Cell) -> dict[str, Any]:
    """Options that a plugin cannot do without, as it says itself (a teacher, for example)."""
    options: dict[str, Any] = {}
    for name in cell.plugins:
        options |= picked(name).declaration.tried_with
    return options


def beside(cell: grid.Cell) -> list[str]:
    """Plugins that one of these does nothing without, as it says itself."""
    companions: list[str] = []
    for name in cell.plugins:
        companions += [other for other in picked(name).declaration.goes_with if other not in cell.plugins]
    return companions


def without_risks() -> list[str]:
    """Words that leave out the checks of every run: they have their own tests."""
    words = []
    for name, (candidate, *_) in discover().items():
        if candidate.default and kind_of(candidate.load()) == "risk":
            words.append(f"-{name}")
    return words


def is_reported(cell: grid.Cell) -> bool:
    """Whether a run writes its report, which costs as much as the run: once for each domain, and once for each objective."""
    first_of_domain = next(run for run in RUNS if run.domain == cell.domain)
    first_of_objective = next(run for run in RUNS if run.objective == cell.objective)
    return cell in (first_of_domain, first_of_objective)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind -> a tiny model that takes long rows."""
    from ftp_testing.models import tiny

    folders = {}
    for kind in sorted({kind_of_model(cell) for cell in RUNS}):
        folders[kind] = tiny(kind, tmp_path_factory.mktemp("models") / kind, max_position_embeddings=1024)
        config = folders[kind] / "tokenizer_config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "model_max_length": 1024}))
    return folders


def kind_of_model(cell: grid.Cell) -> Any:
    """The kind of tiny model that a run is done with."""
    assert cell.task is not None
    return models_of(cell.task.form, cell.task.head)[0]


@pytest.mark.parametrize("cell", RUNS, ids=label)
def test_what_fits_runs_and_comes_back(cell: grid.Cell, models: dict[str, Path], tmp_path: Path) -> None:
    import ftp

    assert cell.task is not None
    if missing := grid.lacking(cell.plugins):
        pytest.skip(f"{', '.join(missing)} is not installed, which it needs")
    subject = find(cell.domain)
    rows = domains.source(subject, domains.own_form(subject, cell.task.form))
    plugins = [*cell.plugins, *beside(cell), *without_risks()]
    result = ftp.run(plugins, plugins_from=(JUDGE,), model=str(models[kind_of_model(cell)]), data=rows,
                     out=tmp_path / "run", cache_dir=tmp_path / "cache", report=is_reported(cell),
                     **QUICK, **needed(cell))
    assert (result.out / "report.html").exists() == is_reported(cell)
    lines = [json.loads(line) for line in (result.out / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["event"] == "step"]
    assert result.step == 2 and len(losses) == 2 and all(map(math.isfinite, losses))
    assert 0 < result.trained <= result.total
    assert result.scores and all(math.isfinite(score.value) for score in result.scores)
    assert ftp.load(result.out).run.task == cell.task


@pytest.mark.parametrize("cell", MISFITS, ids=label)
def test_what_does_not_fit_says_what_would(cell: grid.Cell) -> None:
    """Before anything is loaded, and by name."""
    with pytest.raises(UserError) as caught:
        prepare(cell.plugins)
    words = str(caught.value).replace(",", " ").split()
    if cell.objective:
        forms_wanted = set(picked(cell.objective).declaration.wants)
        fitting = {name for name in grid.names("domain") if reachable(picked(name).declaration.gives) & forms_wanted}
        assert f"'{cell.objective}'" in words and f"'{cell.domain}'" in words and forms_wanted <= set(words)
    else:
        forms = reachable(picked(cell.domain).declaration.gives)
        assert not any(map(trains_alone, forms))
        fitting = {name for name in grid.names("objective") if forms & set(picked(name).declaration.wants)}
    assert fitting <= set(words), f"{fitting} in {caught.value}"
    assert cell.domain not in fitting


def pairs(runs: list[grid.Cell]) -> set[tuple[str, str]]:
    """Two plugins of different kinds that are in one of these runs."""
    met = set()
    for cell in runs:
        met |= {(cell.objective, cell.domain), (cell.objective, cell.parameterisation),
                (cell.parameterisation, cell.domain)}
    return met


def test_every_pair_meets() -> None:
    """In runs that take place: what is skipped meets nothing. Everything that is needed is in requirements.txt."""
    methods = grid.names("parameterisation")
    assert len(grid.names("objective")) >= 8 and len(methods) >= 2 and len(grid.names("domain")) >= 5
    met = pairs([cell for cell in RUNS if not grid.lacking(cell.plugins)])
    fitting = [cell for cell in CELLS if cell.task]
    assert {(cell.objective, cell.domain) for cell in fitting} <= met
    assert set(product({cell.objective for cell in fitting}, methods)) <= met
    assert set(product(methods, {cell.domain for cell in fitting})) <= met


def test_what_cannot_run_is_no_pairs_only_run() -> None:
    methods = grid.names("parameterisation")
    for absent in methods:
        runs = grid.runs(CELLS, methods, [absent])
        able = [cell for cell in runs if cell.parameterisation != absent]
        assert {(cell.objective, cell.domain) for cell in CELLS if cell.task} <= pairs(able)
        assert pairs(runs) == pairs(RUNS)


def test_every_plugin_goes_with_something() -> None:
    """An objective without any domain, or a domain without any objective, would be of no use to anybody."""
    fitting = [cell for cell in CELLS if cell.task]
    assert {cell.domain for cell in fitting} == set(grid.names("domain"))
    assert {cell.objective for cell in fitting} >= set(grid.names("objective"))
