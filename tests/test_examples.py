"""The examples: the recipe fits the plugins that there are, the in-house domain does what its README says."""

from __future__ import annotations

import csv
import json
import random
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ftp
from ftp.plugins.find import from_path
from ftp.runs.stages import is_staged
from ftp.runs.stages import read as read_stages
from ftp.types import Data, Prediction, Predictions
from ftp_testing.domains import a_run

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TICKETS = f"{EXAMPLES / 'inhouse' / 'tickets.py'}:Tickets"


@pytest.fixture(scope="module")
def tickets() -> type:
    cls = from_path(TICKETS)[0][0].cls
    assert cls is not None
    return cls


def rows(columns: dict[str, list[Any]]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(columns)


RECIPES = sorted(path for path in EXAMPLES.rglob("*.toml") if path.name != "pyproject.toml")
STAGED = [path for path in RECIPES if is_staged(path)]


@pytest.mark.parametrize("recipe", STAGED, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_every_stage_of_a_recipe_fits(recipe: Path) -> None:
    """Each stage's values are those that it names, those of earlier stages filled in."""
    from ftp.options import flatten, read_recipe

    out, stages = read_stages(recipe, {})
    stages_of_file = read_recipe(recipe)["stages"]
    for stage, table in zip(stages, stages_of_file, strict=True):
        assert stage.name == table.pop("name")
        assert stage.prepared.plugins == tuple(table.pop("plugins"))
        for key, value in flatten(table).items():
            if isinstance(value, str):  # `{stage}` is the folder of an earlier one
                value = value.replace("{", f"{out}/").replace("}", "")
            prepared = stage.prepared.values[key]
            assert (str(prepared) if isinstance(prepared, Path) else prepared) == value


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - set(STAGED)), ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_recipe_fits(recipe: Path) -> None:
    """Each value is one that the recipe means to set, and says something other than what would be anyway."""
    from ftp.cli import flags
    from ftp.options import flatten, read_recipe

    line, prepared = flags.assemble([str(recipe), "--data", "somewhere"])
    written = flatten(read_recipe(recipe))
    assert prepared.plugins == tuple(written.pop("plugins"))
    for key, value in written.items():
        assert prepared.origin[key] == str(recipe)
        if isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, str) and (recipe.parent / value).exists():
            value = str(recipe.parent / value)  # a path is taken from the recipe's own folder
        assert prepared.values[key] == value
    assert not line.problems


def test_sst2_recipe_runs(tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On rows of SST-2's form (as GLUE has them: numbers for classes, phrases), and with its model left to the machine."""
    from ftp.cli.main import call

    folder, dice = tmp_path / "DIR", random.Random(0)
    folder.mkdir()
    for split, count in (("train", 60), ("test", 12)):
        lines = [{"text": f"{dice.choice(['a joy', 'a bore'])} number {split} {number}", "label": number % 2}
                 for number in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    assert call(["run", str(EXAMPLES / "sst2" / "lora.toml"), "--data", "DIR", "--model", str(tiny_bert), "--max-steps", "2",
                 "--no-verify", "--out", "run"]) == 0
    written = json.loads(Path("run/scores.json").read_text())
    assert {("accuracy", "test", 12)} <= {(score["name"], score["split"], score["n"]) for score in written["scores"]}
    names = {"majority class", "TF-IDF, linear model", "untuned, linear head"}
    assert {score["baseline"] for score in written["baselines"]} == names


def test_sst2_result_is_no_invention() -> None:
    """Numbers of the result come with the command and the machine that gave them."""
    page = (EXAMPLES / "sst2" / "README.md").read_text(encoding="utf-8")
    result = page.split("## Result")[1].split("##")[0]
    if re.search(r"\d", result):
        assert re.search(r"`(ftp run|python benchmarks/\w+\.py) ", result) and "machine" in result and "seeds" in result


def test_tickets_run(tmp_path: Path, tiny_bert: Path) -> None:
    """The plugin with its sample: its own metric with a baseline, its own check, customers on one side of the cut."""
    result = ftp.run(["lora"], plugins_from=(TICKETS,), model=str(tiny_bert), max_steps=2, verify=False, out=tmp_path / "run",
                     tickets={"hardware_minutes": 90})
    assert 0 <= result.score("minutes_lost", "validation") <= 90
    baselines = {score.baseline for score in result.baselines if score.name == "minutes_lost"}
    assert baselines == {"majority class", "TF-IDF, linear model", "untuned, linear head"}
    risks = {risk.name: risk for risk in result.risks}
    assert risks["personal-data"].level == "warn"
    assert result.scores[0].n + risks["personal-data"].evidence["rows"] == 166

    answers = ftp.load(result.out).predict(["The printer blinks red."])
    assert answers[0]["answer"] in {"billing", "hardware", "howto", "login"}


def test_tickets_keep_to_the_contract() -> None:
    from ftp_testing import check

    report = check(TICKETS)
    assert len(report.outcomes) > 10 and not report.failed, report.failed


def test_tickets_of_a_customer_stay_together(tickets: type, tmp_path: Path) -> None:
    """What the plugin suggests to core does what its README says."""
    from ftp.data import settle
    from ftp.plugins.call import Hooks
    from ftp.plugins.plan import prepare
    from ftp.types import Run

    prepared = prepare(["lora"], [TICKETS])
    run = Run(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), tmp_path)
    data, _ = settle(tickets().load_data(run), run)
    train, held = (set(data.splits[name]["customer"]) for name in ("train", "validation"))
    assert train and held and not train & held


def test_mistakes_cost_what_the_options_say(tickets: type) -> None:
    labels = ("billing", "hardware", "howto", "login")
    splits = rows({"text": ["a", "b", "c", "d"], "label": [0, 1, 1, 3]})
    answers = [Prediction(0), Prediction(1), Prediction(0), Prediction(2)]  # the third and the fourth are wrong
    predictions = {"test": Predictions("test", splits, answers, 0.0, None)}  # type: ignore[arg-type]
    plugin = tickets(forward_minutes=4.0, hardware_minutes=40.0)
    scores = plugin.evaluate(Data({"test": splits}, "labelled", labels), predictions)
    results = {score.name: (score.value, score.goal) for score in scores}
    assert results == {"accuracy": (0.5, "max"), "minutes_lost": (11.0, "min")}


@pytest.mark.parametrize(("text", "kind"), [
    ("Write to jo.b-x@mail.example.com, please.", "e-mail"),
    ("My number is +44 20 7946 0999.", "telephone"),
    ("Our account is DE02 1203 0000 0000 2020 51.", "IBAN"),
])
def test_personal_data_is_found(tickets: type, text: str, kind: str) -> None:
    data = Data({"train": rows({"text": ["Till 2 is down since 10:45.", text], "label": [0, 1]})}, "labelled", ("a", "b"))
    risk, = tickets().check_risks(run=a_run("labelled"), stage="data", data=data)
    assert (risk.level, risk.evidence) == ("warn", {"rows": 2, kind: [1]})


def test_personal_data_is_not_seen_where_there_is_none(tickets: type) -> None:
    plain = ["Invoice 20117 of 12.10.2024 over 340,00 is numbered twice.", "Error 403 @ till 2", "We sold 1,204 pizzas in 2023."]
    data = Data({"train": rows({"text": plain, "label": [0, 1, 1]})}, "labelled", ("a", "b"))
    risk, = tickets().check_risks(run=a_run("labelled"), stage="data", data=data)
    assert (risk.level, risk.evidence) == ("ok", {"rows": 3})
    assert tickets().check_risks(run=a_run("labelled"), stage="end", data=data) == []
    streamed = Data({"train": SimpleNamespace()}, "labelled", ("a", "b"))  # type: ignore[dict-item]
    assert tickets().check_risks(run=a_run("labelled"), stage="data", data=streamed)[0].level == "not_run"


def test_ticket_sample() -> None:
    """As many rows as the README says, no text twice, queues of about one size, and personal data only of ranges that
    belong to nobody."""
    with (EXAMPLES / "inhouse" / "tickets.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    page = (EXAMPLES / "inhouse" / "README.md").read_text(encoding="utf-8")
    assert f"{len(rows)} tickets" in page and len(rows) >= 150
    assert len({row["text"] for row in rows}) == len(rows)
    assert len({row["ticket"] for row in rows}) == len(rows)
    queues = Counter(row["queue"] for row in rows)
    assert set(queues) == {"billing", "hardware", "howto", "login"} and min(queues.values()) > 35
    texts = " ".join(row["text"] for row in rows)
    assert all(host.endswith("example.com") for host in re.findall(r"@([\w.]+)", texts))
    assert all(number.startswith("+44 20 7946 0") for number in re.findall(r"\+\d[\d ]+", texts))
