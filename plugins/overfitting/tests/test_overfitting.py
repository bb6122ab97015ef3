"""Raised where held-out rows fall behind, silent where they do not, and never "ok" where nothing
was compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

import ftp
from ftp.errors import UserError
from ftp.plugins.call import Hooks
from ftp.plugins.plan import prepare
from ftp.settings import Settings
from ftp.types import Data, Evaluation, Risk, Run, Score, Task
from ftp_overfitting import Overfitting, measures, memory
from ftp_testing.advice import follow
from ftp_testing.models import tiny

LABELS = ("bad", "good")
ROWS = 200
Curve = Sequence[float]


@cache
def two_classes(train: int = 400, held: int = ROWS) -> Data:
    def rows(count: int, name: str) -> Dataset:
        texts = [f"{name} {index}" for index in range(count)]
        return Dataset.from_dict({"text": texts, "label": [index % 2 for index in range(count)]})

    splits = {"train": rows(train, "train"), "validation": rows(held, "held out")}
    return Data(splits, "labelled", LABELS)


def a_run(head: Any = "labels", hooks: Any = None, **settings: Any) -> Run:
    return Run(Settings(**settings), Task("labelled", head), hooks or Hooks(()), out=Path("runs/x"))


def history(
    train: Curve,
    held: Curve,
    seed: int = 0,
    *,
    rows: int = ROWS,
    wobble: float = 0.03,
    spread: float = 1.0,
    every: int = 20,
) -> list[Evaluation]:
    """Evaluations of given mean losses.

    A row's loss is lognormal (skewed, as losses are) around the mean, part of it the row's own and
    part of it new each time.

    Args:
        wobble: what an evaluation as a whole is off by, relative.
    """
    dice = np.random.default_rng(seed)
    row_effects = [dice.normal(size=rows) for _ in range(2)]
    evaluations = []
    for index, means in enumerate(zip(train, held, strict=True)):
        losses = []
        for mean, effect in zip(means, row_effects, strict=True):
            noise = 0.8 * effect + 0.6 * dice.normal(size=rows)
            shape = np.exp(spread * noise - spread**2 / 2)  # of mean 1
            losses.append(mean * shape * (1 + wobble * dice.normal()))
        train_losses, held_losses = losses
        evaluations.append(
            Evaluation(
                step=(index + 1) * every,
                loss=float(held_losses.mean()),
                scores=(Score("accuracy", 0.8),),
                train_loss=float(train_losses.mean()),
                losses=held_losses,
                train_losses=train_losses,
            )
        )
    return evaluations


def judged(
    evaluations: Sequence[Evaluation],
    stage: str = "end",
    data: Data | None = None,
    run: Run | None = None,
    log: Sequence[Any] = (),
    **options: Any,
) -> Risk:
    check = Overfitting(**options)
    risk, = check.check_risks(
        run or a_run(), stage, data or two_classes(), None, None, evaluations, log
    )
    assert risk.name == "overfitting"
    json.dumps(risk.evidence)
    return risk


def raised(evaluations: Sequence[Evaluation]) -> bool:
    """Whether any evaluation of a run was called worse than a note."""
    levels = set()
    for count in range(1, len(evaluations) + 1):
        levels.add(judged(evaluations[:count], "evaluation").level)
    return bool(levels & {"warn", "stop"})


CLEAN = {
    "flat": ([0.30] * 12, [0.35] * 12),
    "falling": (np.geomspace(0.6, 0.25, 12), np.geomspace(0.6, 0.33, 12)),
    "few looks": (np.geomspace(0.6, 0.25, 4), np.geomspace(0.6, 0.35, 4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.slow
def test_clean_runs_raise_nothing_in_19_of_20(name: str) -> None:
    """200 noisy runs each, every look judged; the means of `flat` do not move at all: the hardest
    case for a trend."""
    alarms = sum(raised(history(*CLEAN[name], seed=seed)) for seed in range(200))
    assert alarms <= 10, f"{alarms} of 200"


def test_the_trend_itself_keeps_its_level() -> None:
    """A true mean that never rises is called risen in 5 % of runs at most.

    Without any least size, and with rows of the heaviest tail.
    """

    def is_called_risen(evaluations: Sequence[measures.RowLosses]) -> bool:
        for count in range(2, 11):
            trend = measures.measure_trend(evaluations[:count], None, 0.05)
            if trend is not None and trend.low > 0:
                return True
        return False

    alarms = 0
    for seed in range(200):
        flat = history([0.3] * 10, [0.35] * 10, seed=seed, rows=60, wobble=0.0, spread=1.5)
        alarms += is_called_risen(measures.row_losses(flat))
    assert alarms <= 10, f"{alarms} of 200"


def test_a_rising_held_out_loss_is_raised_with_its_beginning() -> None:
    risks = []
    for seed in range(40):
        risks.append(
            judged(history([0.5, 0.3, 0.2, 0.1, 0.05], [0.5, 0.4, 0.42, 0.52, 0.6], seed=seed))
        )
    assert sum(risk.level in ("warn", "stop") for risk in risks) >= 34  # 36 when this was written
    risk = risks[0]
    trend = risk.evidence["trend"]
    best = trend["best_step"]
    assert best in (40, 60)
    assert f"update {best}" in risk.finding
    assert 0 < trend["low"] < trend["rise"] < trend["high"]
    assert risk.advice[0] == f"ftp run runs/x/run.toml --max-steps {best}"
    assert any("--early-stopping-patience" in line for line in risk.advice)


def test_a_held_out_loss_that_doubles_stops() -> None:
    doubled = history([0.5, 0.2, 0.1, 0.02], [0.5, 0.45, 0.8, 1.2])
    assert judged(doubled).level == "stop"
    assert judged(doubled, stop_rise=9.0).level == "warn"


def test_one_bad_look_is_a_note_at_most() -> None:
    train = [0.55, 0.4, 0.35, 0.3, 0.28]
    spike = history(train, [0.56, 0.45, 0.41, 0.60, 0.38])
    assert judged(spike[:4], "evaluation").level in ("ok", "note")
    assert judged(spike, "evaluation").level == "ok"
    last = judged(history(train, [0.56, 0.45, 0.41, 0.38, 0.60], wobble=0.0))
    assert last.level == "note" and "last evaluation alone" in last.finding


def test_a_gap_without_a_trend_is_raised() -> None:
    risk = judged(history([0.02, 0.01, 0.01], [0.75, 0.75, 0.75], wobble=0.0, spread=0.5))
    assert risk.level == "warn" and "nothing of it carries over" in risk.finding
    assert risk.evidence["gap"]["lost_low"] > 0.75


def test_a_gap_says_at_which_look_it_began_and_advises_to_end_there() -> None:
    evaluations = history(
        [0.6, 0.3, 0.1, 0.02, 0.01], [0.62, 0.6, 0.6, 0.6, 0.6], wobble=0.0, spread=0.3
    )
    levels = [judged(evaluations[:count]).level for count in range(2, 6)]
    began = 20 * (2 + levels.index(levels[-1]))  # 20 updates between evaluations
    risk = judged(evaluations)
    assert risk.level == "warn"
    assert 20 < began < 100
    assert risk.evidence["began"] == began
    assert f"first seen after update {began}" in risk.finding
    assert risk.advice[:2] == (
        f"ftp run runs/x/run.toml --max-steps {began}",
        "ftp run runs/x/run.toml --early-stopping-patience 2",
    )


def test_a_finding_begins_in_plain_words_and_says_of_how_many_rows() -> None:
    clean = judged(history([0.5, 0.3], [0.5, 0.31]))
    assert clean.finding.startswith("no sign that")
    assert clean.evidence["sampled"]
    assert clean.evidence["rows"] == {"train": 200, "held out": 200}
    assert clean.evidence["of"] == {"train": 400, "held out": 200}
    complete = judged(history([0.5, 0.3], [0.5, 0.31]), data=two_classes(200))
    assert not complete.evidence["sampled"]
    bad = judged(history([0.5, 0.2, 0.1, 0.02], [0.5, 0.45, 0.8, 1.2]))
    assert (
        bad.finding.startswith("the model learns its training rows by heart")
        and "these 400" in bad.finding
    )


def test_limits_that_contradict_one_another_are_told() -> None:
    check = Overfitting(rise=3.0, stop_rise=1.0, note_lost=0.9)
    with pytest.raises(UserError) as refusal:
        check.check_risks(a_run(), "data", two_classes(), None, None, [], [])
    assert len(refusal.value.problems) == 2
    text = "--overfitting.rise 3 is above --overfitting.stop_rise 1"
    assert text in str(refusal.value)


def test_a_run_that_diverges_is_not_overfitting() -> None:
    assert judged(history([0.4, 0.5, 0.9, 2.0], [0.45, 0.55, 1.0, 2.2])).level == "ok"


def test_advice_names_options_that_the_run_has() -> None:
    evaluations = history([0.5, 0.2, 0.1, 0.05], [0.5, 0.4, 0.5, 0.6])
    options = [
        SimpleNamespace(key="lora.r", name="r", default=16, low=1),
        SimpleNamespace(key="lora.lora_dropout", name="lora_dropout", default=0.0, low=0),
        SimpleNamespace(key="lora.lora_alpha", name="lora_alpha", default=32, low=1),
    ]
    lora = SimpleNamespace(name="lora", options=options, found=SimpleNamespace(default=False))
    values = SimpleNamespace(r=8, lora_dropout=0.0, lora_alpha=32)
    hooks = SimpleNamespace(picked=[lora], plugins={"lora": values})
    risk = judged(evaluations, run=a_run(hooks=hooks, early_stopping_patience=3))
    advice = " ".join(risk.advice)
    assert "--lora.r 2" in advice
    assert "--lora.lora_dropout 0.1" in advice
    assert "early-stopping" not in advice
    assert "lora" not in " ".join(judged(evaluations).advice)


# --- nothing compared ---


def test_nothing_compared_is_not_run() -> None:
    evaluations = history([0.5, 0.4], [0.5, 0.45])
    without_train = [replace(each, train_loss=None, train_losses=None) for each in evaluations]
    assert judged([]).level == "not_run"
    assert judged(without_train).level == "not_run"
    assert "no loss of training rows" in judged(without_train).finding
    assert "stream" in judged(without_train, run=a_run(streaming=True)).finding
    first = judged(evaluations[:1])
    assert first.level == "not_run"
    assert "one evaluation" in first.finding
    assert first.evidence["gap"]["gap"] is not None


def test_three_rows_are_too_few() -> None:
    risk = judged(history([0.5, 0.1], [0.5, 0.9], rows=3), data=two_classes(3, 3))
    assert risk.level == "not_run" and "3 rows" in risk.finding


def test_rows_without_a_loss_do_not_count() -> None:
    evaluations = history([0.5, 0.1], [0.5, 0.9])
    for evaluation in evaluations:
        evaluation.losses[:195] = np.nan
    assert judged(evaluations).level == "not_run"


def test_identical_splits_mean_nothing() -> None:
    rows = two_classes().splits["validation"]
    same_rows = Data({"train": rows, "validation": rows}, "labelled", LABELS)
    risk = judged(history([0.5, 0.3], [0.5, 0.3]), data=same_rows)
    assert risk.level == "not_run" and "same rows" in risk.finding


def test_one_class_is_judged_by_its_gap_alone() -> None:
    train = two_classes().splits["train"]
    alike = train.remove_columns("label").add_column("label", [0] * len(train))
    data = Data({**two_classes().splits, "train": alike}, "labelled", LABELS)
    risk = judged(history([0.01, 0.01], [0.01, 0.01]), data=data)
    assert risk.level == "ok" and risk.evidence["gap"]["lost"] is None


def test_a_million_rows_take_no_time() -> None:
    import time

    million = Dataset.from_dict({"label": np.arange(1_000_000) % 2})
    data = Data({**two_classes().splits, "train": million}, "labelled", LABELS)
    evaluations = history([0.5, 0.3, 0.2], [0.5, 0.4, 0.35], rows=100_000)
    started = time.process_time()
    assert judged(evaluations, data=data).level == "ok"
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("alpha", 0.9), ("rise", -1), ("warn_lost", -0.1), ("min_rows", 1), ("auc", 0.2)],
)
def test_thresholds_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"--overfitting\.{name}.*out of range"):
        prepare(["full", "sentiment"], given=[("flags", {f"overfitting.{name}": value})])


def test_it_takes_the_place_of_gap() -> None:
    names = [plugin.name for plugin in prepare(["full", "sentiment"]).picked]
    assert "overfitting" in names and "gap" not in names


# --- memory ---


def test_membership_of_strangers_is_a_coin() -> None:
    dice = np.random.default_rng(0)
    num_missed = 0
    for _ in range(200):
        train = dice.lognormal(size=100)
        measured = memory.membership(train, dice.lognormal(size=150), 0.025)
        assert measured.low <= measured.auc <= measured.high
        num_missed += not measured.low <= 0.5 <= measured.high
    assert num_missed <= 20  # a level of 0.025 on each side: 10 of 200 are expected


def test_membership_is_the_area_under_the_curve() -> None:
    from sklearn.metrics import roc_auc_score

    dice = np.random.default_rng(1)
    train = np.round(dice.lognormal(-0.5, size=80), 1)  # rounded, so that there are ties
    held = np.round(dice.lognormal(size=90), 1)
    expected = roc_auc_score([1] * 80 + [0] * 90, np.concatenate([-train, -held]))
    assert memory.membership(train, held, 0.05).auc == pytest.approx(expected)


def test_text_known_by_heart_is_raised_and_classes_are_not() -> None:
    """The same losses: of a text they are a leak, of two classes an everyday gap."""
    evaluations = history([2.4, 2.3], [3.0, 2.95], spread=0.1, wobble=0.0)
    log = [{"event": "step", "step": 5, "loss": 4.0}]
    run = a_run("tokens")
    data = Data(two_classes().splits, "text")
    risk = judged(evaluations, run=run, data=data, log=log)
    assert risk.level == "warn"
    assert risk.evidence["membership"]["low"] > 0.75
    assert "word for word" not in risk.finding
    alike = history([2.4, 2.3], [2.42, 2.32], spread=0.1)
    assert judged(alike, run=run, data=data, log=log).level == "ok"


def test_some_rows_known_by_heart_are_a_note() -> None:
    evaluations = history([3.0, 3.0], [3.0, 3.0], spread=0.1, wobble=0.0)
    for evaluation in evaluations:
        evaluation.train_losses[:40] = 0.1
    risk = judged(evaluations, run=a_run("tokens"), data=Data(two_classes().splits, "text"))
    assert risk.level == "note" and risk.evidence["membership"]["below"] >= 0.2


# --- whole runs ---


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Risk]:
    """A run of a tiny network; a label is a word of the text, or a coin where `learnable` is False.
    """
    home = tmp_path_factory.mktemp("runs")
    models = {kind: tiny(kind, home / kind) for kind in ("bert", "gpt2")}  # type: ignore[arg-type]
    words = [
        "film",
        "soup",
        "the",
        "a",
        "was",
        "and",
        "of",
        "in",
        "on",
        "day",
        "new",
        "bank",
        "about",
        "four",
        "more",
    ]

    def run(
        name: str,
        plugins: Sequence[str],
        train: int,
        *,
        learnable: bool = True,
        kind: str = "bert",
        **options: Any,
    ) -> Risk:
        dice = np.random.default_rng(7)
        folder = home / name
        folder.mkdir()
        for split, count in (("train", train), ("validation", 80)):
            lines = []
            for _ in range(count):
                label = int(dice.integers(2))
                text = list(dice.choice(words, 8))
                if learnable:
                    text += [["joy", "not"][label]] * 2
                lines.append(json.dumps({"text": " ".join(text), "label": label}))
            (folder / f"{split}.jsonl").write_text("\n".join(lines))
        defaults: dict[str, Any] = {
            "data": str(folder),
            "model": str(models[kind]),
            "out": home / f"{name}-run",
            "baselines": False,
            "verify": False,
            "report": False,
            "cache_dir": home / "cache",
            "device": "cpu",
            "precision": "fp32",
        }
        result = ftp.run([*plugins, "-leakage", "-duplicates"], **{**defaults, **options})
        return {risk.name: risk for risk in result.risks}["overfitting"]

    return run


@pytest.mark.slow
def test_a_clean_run_is_ok(go: Callable[..., Risk]) -> None:
    risk = go("clean", ["full", "sentiment"], 200, learning_rate=2e-3, max_steps=60, eval_steps=20)
    assert risk.level == "ok" and risk.stage == "end" and len(risk.evidence["train_loss"]) == 4


@pytest.mark.slow
def test_coins_learnt_by_heart_are_raised(go: Callable[..., Risk]) -> None:
    risk = go(
        "coins",
        ["full", "sentiment"],
        30,
        learnable=False,
        learning_rate=3e-3,
        max_steps=120,
        eval_steps=30,
    )
    assert risk.level in ("warn", "stop") and any("--max-steps" in line for line in risk.advice)
    for line in risk.advice:
        follow(line)


@pytest.mark.slow
def test_text_is_asked_for_word_by_word(go: Callable[..., Risk]) -> None:
    risk = go(
        "heart",
        ["full", "clm", "sentiment"],
        24,
        kind="gpt2",
        learning_rate=5e-3,
        max_steps=240,
        eval_steps=240,
        overfitting={"verbatim": 10, "verbatim_tokens": 4},
    )
    assert risk.level in ("warn", "stop"), risk
    assert risk.evidence["verbatim"]["train"] > risk.evidence["verbatim"]["held"]
