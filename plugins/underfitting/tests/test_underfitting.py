"""Raised where nothing was learnt and silent where something was; never "ok" where nothing was
compared."""

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
import torch
from datasets import Dataset
from scipy import stats

import ftp
from ftp.errors import UserError
from ftp.plugin_info import Declaration
from ftp.plugins.call import Hooks
from ftp.plugins.plan import prepare
from ftp.settings import Settings
from ftp.types import Comparison, Data, Evaluation, Prediction, Predictions, Risk, Run, Score, Task
from ftp_testing.advice import follow
from ftp_testing.models import tiny
from ftp_underfitting import Underfitting, advice, curve, gain, weights
from ftp_underfitting.start import Start, steepest

LABELS = ("bad", "good")
GUESS = float(np.log(2))


@cache
def two_classes(classes: int = 2) -> Data:
    texts = [f"row {index}" for index in range(400)]
    rows = Dataset.from_dict({"text": texts, "label": [index % classes for index in range(400)]})
    return Data({"train": rows, "validation": rows.select(range(200))}, "labelled", LABELS)


def a_run(head: Any = "labels", hooks: Any = None, **settings: Any) -> Run:
    return Run(Settings(**settings), Task("labelled", head), hooks or Hooks(()), out=Path("runs/x"))


def history(
    train: Sequence[float], seed: int = 0, rows: int = 200, every: int = 20
) -> list[Evaluation]:
    """Evaluations whose training rows cost `train` nats on average, held-out rows a tenth more.

    Losses of rows are drawn from a gamma distribution, which is as skewed as losses are.
    """
    dice = np.random.default_rng(seed)
    row_effects = dice.gamma(1.0, size=rows)
    evaluations = []
    for index, mean in enumerate(train):
        losses = mean * (0.7 * row_effects + 0.3 * dice.gamma(1.0, size=rows))
        evaluations.append(
            Evaluation(
                step=(index + 1) * every,
                loss=1.1 * mean,
                train_loss=float(losses.mean()),
                losses=1.1 * losses,
                train_losses=losses,
            )
        )
    return evaluations


def log(
    losses: Sequence[float], seed: int = 0, noise: float = 0.0, every: int = 5
) -> list[dict[str, Any]]:
    """Lines of the log of a run, with an update's loss each."""
    dice = np.random.default_rng(seed)
    lines = []
    for index, loss in enumerate(losses):
        noisy_loss = float(loss + noise * dice.normal())
        step = (index + 1) * every
        lines.append({"event": "step", "step": step, "loss": noisy_loss, "grad_norm": 1.0})
    return lines


def predictions(answers: Sequence[int], labels: Sequence[int]) -> dict[str, Predictions]:
    rows = Dataset.from_dict({"label": list(labels)})
    losses = np.full(len(answers), 0.5)
    split = Predictions("validation", rows, list(map(Prediction, answers)), 0.5, losses)
    return {"validation": split}


def judged(
    evaluations: Sequence[Evaluation],
    lines: Sequence[Any] = (),
    *,
    stage: str = "end",
    data: Data | None = None,
    run: Run | None = None,
    answered: Any = None,
    start: Start | None = None,
    model: Any = None,
    loss: Any = None,
    comparisons: Sequence[Comparison] = (),
    **options: Any,
) -> Risk:
    plugin = Underfitting(**options)
    plugin._start = start
    risk, = plugin.check_risks(
        run or a_run(),
        stage,
        data or two_classes(),
        model,
        loss,
        answered,
        evaluations,
        lines,
        comparisons,
    )
    assert risk.name == "underfitting"
    json.dumps(risk.evidence)
    return risk


FALLING = np.geomspace(0.69, 0.3, 4)
LEVEL = [*np.geomspace(0.69, 0.3, 20), *[0.3] * 20]


@pytest.mark.slow
def test_clean_runs_raise_nothing_in_19_of_20() -> None:
    """200 noisy runs that learn half of what there is to learn, with a noisy log."""
    levels = []
    for seed in range(200):
        levels.append(judged(history(FALLING, seed), log(LEVEL, seed, noise=0.05)).level)
    assert not {"warn", "stop"} & set(levels)
    assert levels.count("ok") >= 190


@pytest.mark.slow
def test_no_better_than_guessing_is_raised() -> None:
    """True means at the class prior: 5 % of runs may look better by chance."""
    levels = []
    for seed in range(100):
        lines = log([GUESS] * 20, seed, noise=0.02)
        levels.append(judged(history([GUESS] * 4, seed), lines).level)
    assert levels.count("warn") >= 85, levels.count("warn")
    for seed in range(200):
        losses = GUESS + 0.01 * np.random.default_rng(seed).normal(size=200)
        steady = Evaluation(20, GUESS, train_loss=GUESS, train_losses=losses)
        assert judged([steady]).level == "warn", "a sure gain of a thousandth is none"


def test_a_low_learning_rate_is_named_and_the_usual_one_advised() -> None:
    kept = {"net.weight": weights.Snapshot(2.0, torch.ones(4), 4)}
    net = torch.nn.Module()
    net.register_module("net", torch.nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        net.net.weight.copy_(torch.ones(1, 4) * (1 + 1e-6))
    model = SimpleNamespace(net=net, has_fitted_head=False)
    risk = judged(
        history([GUESS] * 3), run=a_run(learning_rate=1e-7), model=model, start=Start(kept, ())
    )
    assert risk.level == "warn" and "learning rate of 1e-07 is too low" in risk.finding
    assert risk.evidence["weights"]["ratio"] == pytest.approx(1e-6, rel=0.2)
    assert risk.advice[0] == "ftp run runs/x/run.toml --learning-rate 5e-05"
    assert any("--max-steps 180" in line for line in risk.advice)
    assert any("range_test" in line for line in risk.advice)


def test_a_high_learning_rate_is_named() -> None:
    risk = judged(
        history([9.0, 5.0, 12.0]), log([60.0, 30.0, 20.0] * 6), run=a_run(learning_rate=1.0)
    )
    assert risk.level == "warn" and "learning rate of 1 is too high" in risk.finding
    assert risk.advice[0].endswith("--learning-rate 5e-05")


def test_diverging_is_told_while_it_happens() -> None:
    evaluations = history([0.5, 0.3, 0.9, 1.0])
    risk = judged(evaluations, stage="evaluation")
    assert risk.level == "warn" and "diverged" in risk.finding and "update 40" in risk.finding
    # one evaluation alone may fall again, as it often does where the learning rate is at its peak
    for earlier in (evaluations[:2], evaluations[:3], history([0.5, 0.9, 0.3])):
        check = Underfitting()
        assert (
            check.check_risks(a_run(), "evaluation", two_classes(), None, None, None, earlier, [], []) == []
        )
    assert judged(evaluations).level == "warn"


def test_a_noisy_training_loss_is_not_diverging() -> None:
    alarms = 0
    for seed in range(200):
        dice = np.random.default_rng(seed)
        evaluations = history(0.3 * (1 + 0.1 * dice.normal(size=10)), seed)
        climbs = [curve.climb(evaluations[:count], [], GUESS) for count in range(2, 11)]
        alarms += any(climbs)
    assert alarms <= 2


def test_a_stream_that_climbs_is_found_in_the_log() -> None:
    assert curve.climb([], log([0.7] * 10 + [2.0] * 10, noise=0.05), None) is not None
    alarms = sum(
        curve.climb([], log([0.7] * 30, seed, noise=0.1), None) is not None for seed in range(200)
    )
    assert alarms <= 4


def test_still_falling_says_how_many_more() -> None:
    risk = judged(history(np.linspace(0.69, 0.4, 4)), log(np.linspace(0.69, 0.4, 30), noise=0.002))
    assert risk.level == "note" and "more updates" in risk.finding
    more = int(risk.advice[0].split("--max-steps ")[1])
    assert 150 < more <= 450
    assert judged(history(FALLING), log(LEVEL, noise=0.01)).level == "ok"


def test_a_slope_that_is_chance_is_not_told() -> None:
    num_sure = 0
    for seed in range(300):
        slope = curve.slope(log([0.4] * 30, seed, noise=0.05))
        assert slope is not None
        num_sure += slope.p < curve.SURE
    assert num_sure <= 9  # 3 are expected


def test_slope_and_climb_are_those_of_scipy() -> None:
    from scipy import stats

    dice = np.random.default_rng(0)
    falling = 0.5 - 0.001 * np.arange(30) + 0.02 * dice.normal(size=30)
    climbing = np.linspace(0.5, 1.5, 20) + 0.1 * dice.normal(size=20)
    slope = curve.slope(log(falling))
    fit = stats.linregress(5 * np.arange(20, 30), falling[-10:])
    assert slope is not None
    assert (slope.per_update, slope.error) == pytest.approx((fit.slope, fit.stderr))
    assert slope.p == pytest.approx(stats.t.cdf(fit.slope / fit.stderr, 8))
    climb = curve.climb([], log(climbing), None)
    expected = stats.ttest_ind(
        climbing[-6:], climbing[:6], equal_var=False, alternative="greater"
    ).pvalue
    assert climb is not None and climb.p == pytest.approx(expected)


def test_more_updates_are_not_advised_where_held_out_rows_gain_no_more() -> None:
    evaluations = history(np.linspace(0.69, 0.4, 4))
    worse = [*evaluations[:-1], replace(evaluations[-1], loss=9.0)]
    assert judged(worse, log(np.linspace(0.69, 0.4, 30), noise=0.002)).level == "ok"


def test_one_answer_for_all_rows() -> None:
    labels = [0, 1] * 50
    one_answer = predictions([0] * 100, labels)
    risk = judged(history([GUESS] * 3), answered=one_answer)
    assert risk.level == "warn"
    assert "100% of 100 held-out rows are answered 'bad'" in risk.finding
    learnt = judged(history(FALLING), answered=one_answer)
    assert learnt.level == "note", (
        "train was fitted: held-out rows are the trouble, see overfitting"
    )
    assert judged(history(FALLING), answered=predictions(labels, labels)).level == "ok"


def test_a_text_is_measured_against_the_untuned_model() -> None:
    before = np.random.default_rng(0).gamma(4.0, size=32)
    measured = gain.against_untuned(before, before * 0.9, 10)
    assert measured is not None
    assert measured.gain == pytest.approx(0.1)
    assert measured.p < 1e-6
    alarms = 0
    for seed in range(200):
        dice = np.random.default_rng(seed)
        chance = gain.against_untuned(before, before * (1 + 0.05 * dice.normal(size=32)), 10)
        assert chance is not None
        alarms += chance.p < 0.05
    assert alarms <= 20, "called learnt where nothing was"


# --- weights ---


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(5000, 8)
        self.key = torch.nn.Linear(8, 8)
        self.lora_B = torch.nn.Linear(8, 8, bias=False)
        self.head = torch.nn.Linear(8, 2)
        torch.nn.init.zeros_(self.lora_B.weight)


def test_weights_that_did_not_move_are_named() -> None:
    net = Net()
    before = weights.take_snapshots(weights.named_tensors(net))
    with torch.no_grad():
        net.embedding.weight[4321] += 1e-3  # one row of many, which no sample is sure to hit
        net.lora_B.weight += 0.01
        net.key.weight *= 1.01
        net.head.bias += 0.1
    moves = weights.compare(before, weights.take_snapshots(weights.named_tensors(net)))
    assert moves is not None and moves.still == ("head.weight",), "the bias of keys has no gradient"
    assert moves.ratio is not None and 1e-4 < moves.ratio < 0.01
    risk = judged(
        history(FALLING),
        model=SimpleNamespace(net=net, has_fitted_head=False),
        start=Start(weights.take_snapshots(weights.named_tensors(net)), ()),
    )
    assert risk.level == "warn" and "head.weight" in risk.finding


def test_an_adapter_that_stays_zero_is_dead() -> None:
    net = Net()
    before = weights.take_snapshots([("lora_B.weight", net.lora_B.weight)])
    moves = weights.compare(before, weights.take_snapshots([("lora_B.weight", net.lora_B.weight)]))
    assert moves is not None and moves.still == ("lora_B.weight",) and moves.ratio is None


def test_a_frozen_new_head_is_told_before_training() -> None:
    net = Net()
    assert weights.frozen_heads(net, ("head",)) == []
    net.head.requires_grad_(False)
    assert weights.frozen_heads(net, ("head",)) == ["head"]


def test_the_ratio_of_a_sample_is_that_of_all_values() -> None:
    torch.manual_seed(0)
    old = torch.nn.Parameter(torch.randn(200_000))
    new = torch.nn.Parameter(old.detach() + 0.01 * torch.randn(200_000))
    moves = weights.compare(
        weights.take_snapshots([("w", old)]), weights.take_snapshots([("w", new)])
    )
    assert moves is not None and moves.sampled and moves.ratio == pytest.approx(0.01, rel=0.05)


# --- a head that was fitted before training ---


def after_a_fit(losses: Sequence[float], train: Sequence[float], scores: Sequence[float]) -> list[Evaluation]:
    """Evaluations from before the first update on, of a head that was fitted then."""
    evaluations = []
    for index, (loss, mean, value) in enumerate(zip(losses, train, scores, strict=True)):
        (evaluation,) = history([mean])
        score = Score("macro_f1", value)
        evaluations.append(replace(evaluation, step=20 * index, loss=loss, train_loss=mean, scores=(score,)))
    return evaluations


def moved(by: float) -> tuple[Any, Start]:
    """A model with a fitted head whose weights moved by a share of their length, and what it was."""
    net = torch.nn.Module()
    net.register_module("net", torch.nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        net.net.weight.copy_(torch.ones(1, 4) * (1 + by))
    start = Start({"net.weight": weights.Snapshot(2.0, torch.ones(4), 4)}, ())
    return SimpleNamespace(net=net, has_fitted_head=True), start


ADDED_NOTHING = "training added nothing to the head that the run began with: "


def test_training_that_adds_nothing_to_a_fitted_head_is_a_note() -> None:
    model, start = moved(1e-6)
    evaluations = after_a_fit([0.4, 0.3999], [0.3, 0.2999], [0.8, 0.8])
    risk = judged(evaluations, run=a_run(learning_rate=1e-7), model=model, start=start)
    text = "held-out rows cost 0.4 nats before the first update and 0.3999 at best after it, training rows 0.3 and 0.2999"
    assert (risk.level, risk.finding) == ("note", f"{ADDED_NOTHING}{text}; a learning rate of 1e-07 is too low")
    assert risk.advice == ("ftp run runs/x/run.toml --learning-rate 5e-05",)


def test_a_fitted_head_that_no_evaluation_was_better_than_is_a_note() -> None:
    model, start = moved(0)
    evaluations = after_a_fit([0.4, 0.45, 0.6], [0.3, 0.2, 0.1], [0.8, 0.8, 0.8])
    risk = judged(evaluations, run=a_run(learning_rate=1e-3), model=model, start=start)
    assert risk.level == "note" and risk.finding.startswith(ADDED_NOTHING)
    text = "held-out rows cost 0.4 nats before the first update and 0.45 at best after it, training rows 0.3 and 0.2"
    assert risk.finding.removeprefix(ADDED_NOTHING).startswith(f"{text}, so the model is what the run began with")
    assert "--learning-rate 5e-05" in risk.advice[0]


@pytest.mark.parametrize(
    ("losses", "train", "scores"),
    [([0.4, 0.39], [0.3, 0.3], [0.8, 0.8]), ([0.4, 0.4], [0.3, 0.2], [0.8, 0.8]), ([0.4, 0.5], [0.3, 0.3], [0.8, 0.9])],
)
def test_any_gain_over_a_fitted_head_is_one(losses: Any, train: Any, scores: Any) -> None:
    model, start = moved(0.01)
    run = a_run(metric_for_best_model="macro_f1")
    assert judged(after_a_fit(losses, train, scores), run=run, model=model, start=start).level == "ok"


# --- nothing compared, bad input ---


def test_nothing_compared_is_not_run() -> None:
    assert judged([]).level == "not_run"
    without_train = [Evaluation(20, 0.5, losses=np.ones(50))]
    assert judged(without_train, log([0.5] * 20)).level == "not_run"
    assert judged(history([0.3], rows=3)).level == "not_run"
    assert "one" in judged(history([0.01, 0.01]), data=two_classes(1)).finding
    assert judged(history([0.01, 0.01]), data=two_classes(1)).level == "not_run"
    makes_rows = SimpleNamespace(makes_rows=True)
    assert "makes its own" in judged(history(FALLING), loss=makes_rows).finding
    text = judged(history(FALLING), run=a_run("tokens"), data=Data(two_classes().splits, "text"))
    assert text.level == "not_run" and "before training" in text.finding


def test_rows_without_a_loss_do_not_count() -> None:
    evaluations = history([0.3])
    evaluations[0].train_losses[5:] = np.nan
    assert judged(evaluations).level == "not_run"


@pytest.mark.slow
def test_a_million_rows_take_no_time() -> None:
    import time

    rows = Dataset.from_dict({"label": np.arange(1_000_000) % 2})
    started = time.process_time()
    data = Data({"train": rows}, "labelled", LABELS)
    assert judged(history(FALLING), log(LEVEL), data=data).level == "ok"
    assert time.process_time() - started < 4


@pytest.mark.parametrize(
    ("name", "value"),
    [("alpha", 0.9), ("steep", -1), ("least_gain", 2), ("one_answer", 0.1), ("rows", -1)],
)
def test_thresholds_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"--underfitting\.{name}.*out of range"):
        prepare(["full", "sentiment"], given=[("flags", {f"underfitting.{name}": value})])


def test_advice_names_options_that_the_run_has() -> None:
    options = []
    for name in ("r", "target_modules", "lora_dropout"):
        options.append(SimpleNamespace(key=f"lora.{name}", name=name, default=None, low=None))
    lora = SimpleNamespace(
        name="lora",
        options=options,
        found=SimpleNamespace(default=False),
        cls=object,
        declaration=Declaration(kind="parameterisation", suggests={"learning_rate": 1e-3}),
    )
    values = SimpleNamespace(r=4, target_modules=("query",), lora_dropout=0.0)
    hooks = SimpleNamespace(picked=[lora], plugins={"lora": values})
    risk = judged(history([GUESS] * 3), run=a_run(hooks=hooks, learning_rate=1e-3))
    commands = " ".join(risk.advice)
    assert "--lora.r 16" in commands
    assert "--lora.target_modules all-linear" in commands
    assert "--learning-rate 0.01" in commands


@pytest.mark.parametrize(("max_steps", "is_advised"), [(0, False), (100, True)])
def test_classes_are_weighed_where_there_are_updates(max_steps: int, is_advised: bool) -> None:
    labels = [0] * 380 + [1] * 20
    rows = Dataset.from_dict({"text": [f"row {index}" for index in range(400)], "label": labels})
    data = Data({"train": rows}, "labelled", LABELS)
    picked = prepare(["probe", "sentiment"]).picked
    run = a_run(hooks=SimpleNamespace(picked=picked), max_steps=max_steps)
    commands = " ".join(advice.other_methods(run, data))
    assert ("class_weight" in commands) == is_advised


def test_advice_can_be_typed() -> None:
    commands = []
    for rate in (1e-7, 1e-3, 1.0):
        risk = judged(history([GUESS] * 3), run=a_run(learning_rate=rate))
        assert risk.level == "warn"
        commands += risk.advice
    for command in commands:
        assert command.startswith(
            ("ftp run runs/x/run.toml --", "ftp data preview runs/x/run.toml --")
        )
    assert any("data preview" in command for command in commands)


def test_a_finding_is_plain_english_whichever_way_the_loss_went() -> None:
    findings = []
    for mean in (7.1 * GUESS, 1.2 * GUESS, 0.9 * GUESS):
        finding = judged(history([mean] * 3), log([mean] * 20)).finding
        assert finding.startswith("the model does not learn as it should: training rows cost ")
        findings.append(finding)
    much, more, chance = findings
    assert "times as much as guessing by class shares (0.6931)" in much
    assert "% more than guessing by class shares" in more
    assert "% less (" in chance
    assert "which may be chance" in chance
    assert "less" not in much + more
    ok = judged(history(FALLING), log(LEVEL))
    assert ok.finding.startswith("the model learnt from its training rows: ")
    against = ok.evidence["against"]
    assert (against["rows"], against["of"], against["sampled"]) == (200, 400, True)


def test_the_range_test_finds_the_steepest_fall() -> None:
    rates = np.geomspace(1e-7, 1, 60)
    fall = 0.6 / (1 + np.exp(-6 * (np.log10(rates) + 3)))  # steepest at 1e-3
    losses = 1.0 - fall + np.where(rates > 0.1, 3 * rates, 0)
    rate = steepest(rates.tolist(), losses.tolist())
    assert rate is not None
    assert 2e-4 < rate < 5e-3
    assert steepest(rates.tolist(), [1.0] * 60) is None and steepest([1e-3], [1.0]) is None


# --- whole runs ---


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Risk]]:
    """A run of a tiny network; a label is a word of the text."""
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
    dice = np.random.default_rng(7)
    for split, count in (("train", 200), ("validation", 80)):
        lines = []
        for _ in range(count):
            label = int(dice.integers(2))
            text = [*dice.choice(words, 8), *[["joy", "not"][label]] * 2]
            lines.append(json.dumps({"text": " ".join(text), "label": label}))
        (home / f"{split}.jsonl").write_text("\n".join(lines))
    data = home / "rows"
    data.mkdir()
    for split in ("train", "validation"):
        (home / f"{split}.jsonl").rename(data / f"{split}.jsonl")
    count = iter(range(100))

    def run(
        plugins: Sequence[str] = ("full", "sentiment"), kind: str = "bert", **options: Any
    ) -> dict[str, Risk]:
        defaults: dict[str, Any] = {
            "data": str(data),
            "model": str(models[kind]),
            "out": home / f"run{next(count)}",
            "baselines": False,
            "verify": False,
            "report": False,
            "cache_dir": home / "cache",
            "device": "cpu",
            "precision": "fp32",
            "max_steps": 60,
            "eval_steps": 20,
            "learning_rate": 2e-3,
        }
        result = ftp.run([*plugins, "-leakage", "-duplicates"], **{**defaults, **options})
        for risk in result.risks:
            for line in risk.advice:
                follow(line)
        return {risk.name: risk for risk in result.risks}

    return run


@pytest.mark.slow
def test_a_clean_run_is_ok(go: Any) -> None:
    risk = go()["underfitting"]
    assert risk.level in ("ok", "note")
    assert risk.evidence["against"]["p"] < 0.01
    assert risk.evidence["weights"]["still"] == []


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "word"), [(1e-7, "too low"), (1.0, "too high")])
@pytest.mark.slow
def test_a_wrong_learning_rate_is_underfitting_and_not_overfitting(
    go: Any, rate: float, word: str
) -> None:
    risks = go(learning_rate=rate, head_init="random")
    assert risks["underfitting"].level == "warn"
    assert word in risks["underfitting"].finding
    if "overfitting" in risks:
        assert risks["overfitting"].level in ("ok", "note", "not_run")


@pytest.mark.slow
def test_a_fitted_head_that_training_left_as_it_was_is_a_note(go: Any) -> None:
    low = go(learning_rate=1e-7, max_steps=8, eval_steps=4)["underfitting"]
    words = "training added nothing to the head that the run began with: held-out rows cost"
    assert low.level == "note" and low.finding.startswith(words)
    assert "a learning rate of 1e-07 is too low" in low.finding
    assert "--learning-rate" in low.advice[0] and "ftp run --plugins probe,sentiment" in low.advice[1]


@pytest.mark.slow
def test_a_frozen_head_is_told_before_training_and_at_the_end(go: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the new head"):
        go(full={"freeze": "classifier*"}, on_risk="stop")
    risk = go(full={"freeze": "classifier*"})["underfitting"]
    assert risk.level == "warn" and risk.stage == "end" and "classifier" in risk.finding
    assert risk.advice[0].endswith("run.toml --full.freeze ''")
    some = go(full={"freeze": "classifier*,*embeddings*"}, max_steps=1)["underfitting"]
    assert some.advice[0].endswith("run.toml --full.freeze '*embeddings*'")


@pytest.mark.slow
def test_a_text_run_is_measured_against_its_start(go: Any) -> None:
    clean = go(("full", "clm", "sentiment"), "gpt2")["underfitting"]
    assert (
        clean.level in ("ok", "note") and clean.evidence["against"]["baseline"] == "untuned model"
    )
    low = go(("full", "clm", "sentiment"), "gpt2", learning_rate=1e-7)["underfitting"]
    assert low.level == "warn" and "too low" in low.finding


@pytest.mark.slow
def test_a_range_test_leaves_no_trace(go: Any) -> None:
    plain = go(seed=3)["underfitting"]
    tested = go(seed=3, underfitting={"range_test": 80})["underfitting"]
    assert tested.evidence["against"] == plain.evidence["against"]
    assert 1e-5 < tested.evidence["range_test"]["learning_rate"] < 0.5


# --- the baselines ---


def beside(
    name: str, ahead: float, error: float, *, baseline: str = "words", split: str = "test"
) -> Comparison:
    """A comparison whose difference has this standard error."""
    sure = abs(ahead) / error
    p = float(2 * stats.norm.sf(sure))
    value = 0.5
    return Comparison(
        baseline, name, split, value, value - ahead, ahead, ahead - 2 * error, ahead + 2 * error, p
    )


LEARNT = history(FALLING)


def test_words_that_are_better_beyond_chance_are_a_warning() -> None:
    behind = [beside("macro_f1", -0.2, 0.02), beside("loss", -0.3, 0.05)]
    risk = judged(LEARNT, log(LEVEL), comparisons=behind)
    assert risk.level == "warn"
    words = ("'words' is better than the tuned model beyond chance", "macro_f1 on test 0.5 against 0.7")
    for part in (*words, "0.2 behind (95 % interval 0.16 to 0.24)"):
        assert part in risk.finding, risk.finding
    assert risk.evidence["baselines"]["macro_f1 ahead of words"] == [-0.2, -0.24, -0.16]
    assert any("--max-steps" in line for line in risk.advice)


@pytest.mark.parametrize("ahead", [0.2, 0.02, -0.02])
def test_a_run_that_is_ahead_or_cannot_be_told_from_words_is_not(ahead: float) -> None:
    beyond = [beside("macro_f1", ahead, 0.02), beside("loss", ahead, 0.03)]
    assert judged(LEARNT, log(LEVEL), comparisons=beyond).level == "ok"


def test_chance_is_shared_among_all_tests() -> None:
    """A difference that one test would call sure, and one of ten would not."""
    ahead = -0.04
    once = [beside("accuracy", ahead, 0.02)]
    assert judged(LEARNT, log(LEVEL), comparisons=once).level == "warn"
    others = [beside("accuracy", 0.1, 0.02, baseline=f"b{number}") for number in range(9)]
    assert judged(LEARNT, log(LEVEL), comparisons=[*once, *others]).level == "ok"


def test_the_test_rows_and_the_metric_of_the_run_decide() -> None:
    validation = beside("macro_f1", -0.2, 0.02, split="validation")
    on_test = beside("macro_f1", 0.1, 0.02)
    assert judged(LEARNT, log(LEVEL), comparisons=[validation, on_test]).level == "ok"
    assert judged(LEARNT, log(LEVEL), comparisons=[validation]).level == "warn"
    by_accuracy = a_run(metric_for_best_model="accuracy")
    both = [beside("macro_f1", -0.2, 0.02), beside("accuracy", 0.1, 0.02)]
    assert judged(LEARNT, log(LEVEL), comparisons=both, run=by_accuracy).level == "ok"
    assert judged(LEARNT, log(LEVEL), comparisons=both).level == "warn"


def test_a_worse_loss_alone_is_a_note_where_the_answers_are_better() -> None:
    sure_of_wrong = [beside("macro_f1", 0.1, 0.02), beside("loss", -0.3, 0.05)]
    risk = judged(LEARNT, log(LEVEL), comparisons=sure_of_wrong)
    assert risk.level == "note" and "its probabilities are not" in risk.finding
    worse = [beside("macro_f1", -0.01, 0.02), beside("loss", -0.3, 0.05)]
    assert judged(LEARNT, log(LEVEL), comparisons=worse).level == "warn"
    # baselines are scored without what a plugin adds to the loss
    wrapped: Any = SimpleNamespace(picked=(), who=lambda hook: [("smoothing", "wraps")])
    assert judged(LEARNT, log(LEVEL), comparisons=worse, run=a_run(hooks=wrapped)).level == "ok"


def written(folder: Path, texts: Callable[[np.random.Generator], tuple[str, int]]) -> str:
    """Rows of a planted task: 300 to train on, 60 to validate and 200 to test."""
    folder.mkdir()
    dice = np.random.default_rng(5)
    for split, count in (("train", 300), ("validation", 60), ("test", 200)):
        lines = []
        for _ in range(count):
            text, label = texts(dice)
            lines.append(json.dumps({"text": text, "label": label}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return str(folder)


COMMON = ["film", "soup", "the", "a", "was", "and", "of", "in", "on", "day", "new", "bank", "about", "four", "more"]


def with_word(dice: np.random.Generator) -> tuple[str, int]:
    """A long text; its class is whether one rare word is in it."""
    words = dice.choice(COMMON, 40).tolist()
    label = int(dice.integers(2))
    if label:
        words[int(dice.integers(40))] = "joy"
    return " ".join(words), label


def with_stops(dice: np.random.Generator) -> tuple[str, int]:
    """The class is whether the text ends in full stops, which are no words."""
    label = int(dice.integers(2))
    return " ".join([*dice.choice(COMMON, 8), *[".", ".", "."] * label]), label


def by_chance(dice: np.random.Generator) -> tuple[str, int]:
    return " ".join(dice.choice(COMMON, 8)), int(dice.integers(2))


@pytest.mark.slow
def test_a_run_below_words_says_so_and_a_run_above_them_does_not(go: Any, tmp_path: Path) -> None:
    words = {"baselines": True, "data": written(tmp_path / "words", with_word)}
    risk = go(**words, max_steps=4, eval_steps=4)["underfitting"]
    assert risk.level == "warn" and "'TF-IDF, linear model' is better than the tuned model" in risk.finding
    stops = {"baselines": True, "data": written(tmp_path / "stops", with_stops)}
    risk = go(**stops)["underfitting"]
    assert "beyond chance" not in risk.finding
    # by its score the run is held against the strongest baseline alone, by its loss against each
    ahead = risk.evidence["baselines"]["loss ahead of TF-IDF, linear model"]
    assert ahead[1] > 0, "the tuned model is ahead beyond chance"
    chance = {"baselines": True, "data": written(tmp_path / "chance", by_chance)}
    risk = go(**chance, max_steps=4, eval_steps=4)["underfitting"]
    assert "macro_f1 on test" not in risk.finding
