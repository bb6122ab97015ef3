"""The head alone is fitted, nothing is trained, and what is saved is a plain model that every command takes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from ftp import UserError
from ftp.cli.main import call
from ftp_testing.built import built
from ftp_testing.models import tiny

LABELS = ("bad news", "good news", "no news")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    words = ("storm", "prize", "table")
    for split, count in (("train", 48), ("validation", 12), ("test", 12)):
        lines = []
        for number in range(count):
            label = number % 3
            lines.append(json.dumps({"text": f"the {words[label]} number {number} of {split}", "label": LABELS[label]}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    tiny("bert", folder / "bert")
    return folder


def options(folder: Path, **more: Any) -> dict[str, Any]:
    return {"data": str(folder), "model": str(folder / "bert"), "max_train_rows": None, **more}


def test_the_head_alone_may_be_trained_and_all_else_is_as_it_was(folder: Path) -> None:
    _, _, model, _ = built(["probe", "classify"], **options(folder))
    assert model.has_fitted_head
    trained = {name for name, weight in model.net.named_parameters() if weight.requires_grad}
    assert trained == {"classifier.weight", "classifier.bias"}
    assert model.fresh == ("classifier",) and not model.averaging
    base = AutoModelForSequenceClassification.from_pretrained(folder / "bert", num_labels=3)
    number = model.net.config.num_hidden_layers - 1
    ours = model.net.state_dict()
    for name, weight in base.state_dict().items():
        if any(f"layer.{below}." in name for below in range(number)) or "embeddings" in name:
            assert torch.equal(ours[name], weight), f"{name} is read from the checkpoint and left as it is"


def test_without_layers_the_network_keeps_them(folder: Path) -> None:
    _, _, model, _ = built(["probe", "classify"], **options(folder, **{"probe.layers": False, "probe.class_names": False}))
    assert model.has_fitted_head
    assert model.net.config.num_hidden_layers == 2


@pytest.mark.parametrize("more", [{"head_init": "random"}, {"max_train_rows": 5}])
def test_where_nothing_is_fitted_and_nothing_trained_the_run_is_refused(folder: Path, more: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="probe: the head cannot be fitted"):
        built(["probe", "classify"], **options(folder, **more))
    # asked for updates, the new head is trained from random numbers
    _, _, model, _ = built(["probe", "classify"], **options(folder, max_steps=3, **more))
    assert not model.has_fitted_head
    assert {name.split(".")[0] for name, weight in model.net.named_parameters() if weight.requires_grad} >= {"classifier"}


def test_a_head_of_another_kind_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="is not fitted by a linear model"):
        built(["probe", "qa"], model=str(folder / "bert"))


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "probe"
    argv = ["run", "--plugins", "probe,classify,-leakage,-forgetting", "--data", str(folder), "--model", str(folder / "bert"),
            "--out", str(out), "--device", "cpu", "--precision", "fp32", "--no-verify"]
    assert call(argv) == 0
    return out


def test_a_run_makes_no_update_and_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads((run / "run.json").read_text())
    assert facts["steps"] == 0 and facts["status"] == "finished"
    assert facts["reason"] == "no update was asked for (--max-steps 0): the head as it was fitted is the result"
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if line["event"] == "evaluation"] == [0]
    told = " ".join(line["message"] for line in log if line["event"] == "told")
    assert "how much is trained" not in told
    risks = {risk["name"]: risk for risk in json.loads((run / "risks.json").read_text())}
    assert risks["underfitting"]["level"] != "not_run", "a fitted head is judged too"


def test_the_commands_and_the_python_of_the_page_do_what_they_say(
    run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first command is that of the fixture; the others take what it left."""
    page = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    commands = re.search(r"```bash\n(.*?)```", page, re.DOTALL)
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert commands is not None and code is not None
    first, *others = commands[1].strip().splitlines()
    assert first == "ftp run --plugins probe,classify --data reviews.csv"
    (tmp_path / "runs").mkdir()
    shutil.copytree(run, tmp_path / "runs" / "probe-classify-1")
    (tmp_path / "more.csv").write_text("text,label\nthe prize number 3,good news\nthe storm number 4,bad news\n")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    shown = {}
    for command in others:
        words = shlex.split(command)[1:]
        assert call(words) == 0, command
        shown[words[0]] = capsys.readouterr().out
    assert set(shown) == {"predict", "evaluate", "export", "report"} and "accuracy" in shown["evaluate"]
    # plain Transformers gives the same label with the same probability
    before, _, last = code[1].strip().rpartition("\n")
    names: dict[str, Any] = {}
    exec(before, names)
    (answer,) = eval(last, names)
    assert f"{answer['label']}  {answer['score']:.1%}" in shown["predict"]


def test_tags_have_no_names_of_classes_to_fit(folder: Path, tmp_path: Path) -> None:
    """Rows of words: the names of their tags are no rows, which ended the run."""
    tags = {"storm": "B-BAD", "prize": "B-GOOD", "table": "O"}
    lines = []
    for number in range(24):
        word = tuple(tags)[number % 3]
        lines.append(json.dumps({"tokens": ["the", word, str(number)], "tags": ["O", tags[word], "O"]}))
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    _, _, model, _ = built(["probe", "tag"], data=str(tmp_path), model=str(folder / "bert"))
    assert model.has_fitted_head


def test_a_run_that_was_cut_off_is_taken_up(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "running"}))
    before = (run / "scores.json").read_text()
    assert call(["run", "--resume", str(run)]) == 0
    again = json.loads((run / "run.json").read_text())
    assert (again["steps"], again["status"], again["reason"]) == (0, "finished", facts["reason"])
    assert (run / "scores.json").read_text() == before


def test_a_plan_says_that_the_head_alone_is_trained(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["plan", "--plugins", "probe,classify", "--data", str(folder), "--model", str(folder / "bert")]) == 0
    shown = capsys.readouterr().out
    assert "has one layer more there, which averages" in " ".join(shown.split())
