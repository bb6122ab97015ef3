"""A whole run of two domains: their own files, shares, scores of each, and a resume that ends the same."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftp.folder.checkpoints import checkpoint_path, step_of
from ftp.train import checkpoint

PLUGINS = '''
import ftp
from ftp.types import Score


class Domain:
    @ftp.hookimpl
    def load_data(self, run):
        return ftp.data.load(run, form="labelled")

    @ftp.hookimpl
    def evaluate(self, data, predictions):
        """How many rows it was asked about, and how many of these say its word."""
        scores = []
        for split, one in predictions.items():
            own = sum(self.word in text for text in one.rows["text"])
            assert len(one.rows) == len(one.answers) == len(data.splits[split])
            scores.append(Score("own_rows", own / len(one.rows), "max", split))
        return scores


@ftp.plugin(gives=("labelled",))
class Films(Domain):
    """Reviews of films."""

    word = "film"


@ftp.plugin(gives=("labelled",))
class Food(Domain):
    """Reviews of soup."""

    word = "soup"
'''


@pytest.fixture(scope="module")
def arguments(tiny_bert_dropout: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """The command line of a run of two domains, each with its own rows."""
    folder = tmp_path_factory.mktemp("domains")
    (folder / "both.py").write_text(PLUGINS)
    for name, word, count in (("films", "film", 60), ("food", "soup", 20)):
        dice = random.Random(name)
        lines = ["text,label"]
        for number in range(count):
            label = dice.choice(["joy", "not"])
            lines.append(f"the {word} {number} was {label} and {dice.choice(['new', 'on', 'four', 'bank'])},{label}")
        (folder / f"{name}.csv").write_text("\n".join(lines))
    both = f"{folder / 'both.py'}:Films,{folder / 'both.py'}:Food"
    fixed = ["run", "--plugins=-leakage,-preflight,-forgetting", "--plugins-from", both, "--model", tiny_bert_dropout,
             "--films.data", folder / "films.csv", "--food.data", folder / "food.csv", "--mix", "films=0.5,food=0.5",
             "--device", "cpu", "--precision", "fp32", "--cache-dir", folder / "cache", "--batch-size", 8, "--eval-steps", 4,
             "--logging-steps", 1, "--save-steps", 3, "--epochs", 1.5, "--learning-rate", 5e-3, "--no-verify"]
    return lambda *more: [str(word) for word in (*fixed, *more)]


@pytest.fixture(scope="module")
def whole(live: Any, arguments: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happens to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    life = live(arguments("--out", out), out)
    assert life.end() == 0, life.text
    return out


def events(out: Path, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == name]


def test_losses_and_scores_are_those_of_each_domain(whole: Path) -> None:
    scores = {(score["name"], score["split"]): score for score in json.loads((whole / "scores.json").read_text())["scores"]}
    rows = {name: scores[name, "validation"]["n"] for name in ("loss", "films/loss", "food/loss")}
    assert rows == {"loss": 8, "films/loss": 6, "food/loss": 2}
    loss = {name: scores[name, "validation"]["value"] for name in rows}
    assert loss["loss"] == pytest.approx((6 * loss["films/loss"] + 2 * loss["food/loss"]) / 8)
    assert loss["films/loss"] != loss["food/loss"]
    # each was asked about its own rows alone, and about no others
    assert scores["films/own_rows", "validation"]["value"] == scores["food/own_rows", "validation"]["value"] == 1
    assert not {"own_rows", "films/films/own_rows"} & {name for name, _ in scores}
    evaluations = events(whole, "evaluation")
    assert all({"films/loss", "food/loss", "films/train_loss", "food/train_loss"} <= set(line) for line in evaluations)


def test_the_shares_are_told(whole: Path) -> None:
    messages = [line["message"] for line in events(whole, "told")]
    assert "--mix: rows of an epoch by domain: films 36 (0.67 times each of its 54), food 36 (2 times each of its 18)" in messages
    assert "train: rows by domain: films 54, food 18" in messages
    assert len(events(whole, "step")) == 14  # 9 updates an epoch, as without shares


def test_killed_it_ends_the_same(live: Any, arguments: Callable[..., list[str]], seen: Any, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    life = live(arguments("--out", out), out, {"action": "kill", "where": checkpoint_path(out, 14).name, "number": 1})
    assert life.end() == -signal.SIGKILL, life.text
    newest = checkpoint.newest(out / "checkpoints")
    assert newest is not None and step_of(newest) == 12  # within the second epoch
    life = live(["run", "--resume", str(out)], out)
    assert life.end() == 0, life.text
    assert seen(out) == seen(whole)


def test_new_rows_are_scored_as_those_of_the_domain_that_is_named(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ftp.cli.main import call

    rows = tmp_path / "new.csv"
    rows.write_text("text,label\nthe soup was joy,joy\nthe soup was not,not\n")
    line = ["evaluate", str(whole), "--data", str(rows), "--trust-recipe"]
    assert call([*line, "--domain", "food", "--json"]) == 0
    scores = {score["name"]: score["value"] for score in json.loads(capsys.readouterr().out)["scores"]}
    assert scores["food/own_rows"] == 1 and scores["food/loss"] == pytest.approx(scores["loss"])
    assert call(line) == 2
    assert "several domains (films, food)" in capsys.readouterr().err
