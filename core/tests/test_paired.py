"""Whether a run is ahead of its baselines beyond chance."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from scipy import stats

from ftp.evaluate import paired
from ftp.metrics import classification
from ftp.plugin_info import Answer
from ftp.settings import Settings
from ftp.types import Baseline, Comparison, Data, Prediction, Predictions, Score

LABELS = ("a", "b", "c")
ROWS = 300


def quick_accuracy(data: Data, predictions: Mapping[str, Predictions]) -> list[Score]:
    """The share of right answers, without scikit-learn."""
    scores = []
    for split, of_split in predictions.items():
        answers = [prediction.answer for prediction in of_split.answers]
        is_right = np.array(answers) == np.array(of_split.rows["label"][:])
        scores.append(Score("accuracy", float(np.mean(is_right)), split=split))
    return scores


class Plugins:
    """Answers `evaluate` as a plugin of classes does; `calls`: how often it was asked."""

    def __init__(self, measure: Any = classification) -> None:
        self.measure = measure
        self.calls = 0
        self.picked = ()

    def each(self, hook: str, *, data: Data, predictions: Mapping[str, Predictions], **_: Any) -> list[Answer]:
        self.calls += 1
        scores = self.measure(data, predictions)
        for split, of_split in predictions.items():
            scores.append(Score("loss", of_split.loss, "min", split))
        return [Answer("plugin", "package", scores)]


def a_run(hooks: Plugins) -> Any:
    return SimpleNamespace(hooks=hooks, settings=Settings(), accelerator=SimpleNamespace(num_processes=1))


def answered(rows: Dataset, share_right: float, seed: int) -> Predictions:
    """Answers of which a share is right, each as sure as that."""
    dice = np.random.default_rng(seed)
    answers, losses = [], []
    for label in rows["label"][:]:
        is_right = dice.random() < share_right
        answers.append(Prediction(label if is_right else (label + 1 + int(dice.integers(2))) % 3))
        losses.append(-np.log(0.8 if is_right else 0.1))
    return Predictions.of_rows("test", rows, answers, np.array(losses))


def compared(
    share: float, others: Mapping[str, float], rows: int = ROWS, seed: int = 0, measure: Any = classification
) -> tuple[list[Comparison], Plugins]:
    """A run that is right in a share of rows beside baselines that are."""
    hooks = Plugins(measure)
    run = a_run(hooks)
    test = Dataset.from_dict({"label": np.random.default_rng(seed).integers(3, size=rows).tolist()})
    data = Data({"train": test, "test": test}, "labelled", LABELS)
    own = {"test": answered(test, share, 10 + seed)}
    baselines: dict[str, dict[str, Predictions]] = {}
    for number, (name, share_of_other) in enumerate(others.items()):
        baselines[name] = {"test": answered(test, share_of_other, 100 + number + seed)}
    scores = [score for answer in hooks.each("evaluate", data=data, predictions=own) for score in answer.value]
    of_baselines = []
    for name, predictions in baselines.items():
        for answer in hooks.each("evaluate", data=data, predictions=predictions):
            of_baselines += [Baseline(name, score.name, score.value, score.split) for score in answer.value]
    hooks.calls = 0
    comparisons = paired.compare(run, data, None, own, scores, baselines, of_baselines)  # type: ignore[arg-type]
    return comparisons, hooks


def of(comparisons: list[Comparison], name: str, baseline: str) -> Comparison:
    return next(made for made in comparisons if (made.name, made.baseline) == (name, baseline))


def test_the_loss_is_tested_as_scipy_tests_pairs() -> None:
    dice = np.random.default_rng(1)
    own = dice.gamma(1.0, size=80)
    others = own + dice.normal(0.1, 0.5, size=80)
    ahead, error, num_rows = paired.paired_means(others, own)  # type: ignore[misc]
    expected = stats.ttest_rel(others, own)
    assert num_rows == 80 and ahead == pytest.approx((others - own).mean())
    assert ahead / error == pytest.approx(expected.statistic)
    made = paired._comparison(Score("loss", 1.0, "min", "test"), "x", 1.1, ahead, error, num_rows)
    assert made.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (made.low, made.high) == pytest.approx((interval.low, interval.high))


def test_it_agrees_with_a_permutation_test_and_the_bootstrap() -> None:
    dice = np.random.default_rng(2)
    own = dice.gamma(1.0, size=150)
    others = own + 0.12 + dice.standard_t(4, size=150) * 0.6
    ahead, error, num_rows = paired.paired_means(others, own)  # type: ignore[misc]
    made = paired._comparison(Score("loss", 1.0, "min", "test"), "x", 1.1, ahead, error, num_rows)
    permuted = stats.permutation_test((others, own), lambda a, b, axis: (a - b).mean(axis=axis), permutation_type="samples",
                                      vectorized=True, n_resamples=4000, rng=np.random.default_rng(0))
    assert made.p == pytest.approx(permuted.pvalue, abs=0.02)
    drawn = stats.bootstrap((others - own,), np.mean, n_resamples=2000, rng=np.random.default_rng(0), method="percentile")
    assert made.low == pytest.approx(drawn.confidence_interval.low, abs=0.02)
    assert made.high == pytest.approx(drawn.confidence_interval.high, abs=0.02)


def test_rows_of_many_terms_count_more_and_rows_without_a_loss_not() -> None:
    own = np.array([0.0] * 10 + [np.nan, 1.0])
    others = np.array([1.0] * 10 + [1.0, 5.0])
    counts = np.array([1.0] * 11 + [10.0])
    ahead, _, num_rows = paired.paired_means(others, own, counts)  # type: ignore[misc]
    assert num_rows == 11 and ahead == pytest.approx((10 * 1 + 10 * 4) / 20)
    # one term as often as its row says is one row with as many terms
    alike = paired.paired_means(np.full(12, 2.0), np.full(12, 1.5), np.arange(1.0, 13.0))
    assert alike == (pytest.approx(0.5), pytest.approx(0.0), 12)
    assert paired.paired_means(others[:9], own[:9]) is None, "too few rows to compare"


@pytest.mark.parametrize(("share", "word"), [(0.6, "behind"), (0.97, "ahead")])
def test_a_clear_difference_is_sure_in_every_score(share: float, word: str) -> None:
    comparisons, hooks = compared(share, {"words": 0.85, "majority": 0.34})
    for name in ("loss", "accuracy", "macro_f1", "mcc"):
        made = of(comparisons, name, "words")
        assert made.p < 0.001, name
        is_sure = made.high < 0 if word == "behind" else made.low > 0
        assert is_sure and made.low < made.ahead < made.high, made
    # the weaker baseline is behind the run as well: only its loss is tested, which costs nothing
    assert {made.name for made in comparisons if made.baseline == "majority"} == {"loss"}
    assert hooks.calls == 2 * paired.DRAWS_AT_ONCE, "clear after the first draws"


def test_where_rows_cannot_tell_nothing_is_sure_in_19_of_20() -> None:
    sure = {"loss": 0, "accuracy": 0}
    for seed in range(20):
        comparisons, hooks = compared(0.8, {"words": 0.8}, rows=60, seed=seed, measure=quick_accuracy)
        assert hooks.calls <= 2 * paired.DRAWS_AT_MOST
        for name in sure:
            made = of(comparisons, name, "words")
            sure[name] += made.low > 0 or made.high < 0
    assert max(sure.values()) <= 3, sure  # of 20, 1 expected


def test_the_interval_of_a_score_is_that_of_many_draws() -> None:
    comparisons, _ = compared(0.8, {"words": 0.83}, measure=quick_accuracy)
    made = of(comparisons, "accuracy", "words")
    # the difference of two shares, whose rows are independent here
    error = np.sqrt((0.8 * 0.2 + 0.83 * 0.17) / ROWS)
    assert (made.high - made.low) / 2 == pytest.approx(2 * error, rel=0.35)


def test_answers_that_are_all_alike_differ_in_nothing() -> None:
    hooks = Plugins()
    test = Dataset.from_dict({"label": [0, 1, 2] * 20})
    data = Data({"train": test, "test": test}, "labelled", LABELS)
    own = {"test": answered(test, 0.5, 1)}
    scores = hooks.each("evaluate", data=data, predictions=own)[0].value
    same = [Baseline("twin", score.name, score.value, score.split) for score in scores]
    comparisons = paired.compare(a_run(hooks), data, None, own, scores, {"twin": own}, same)  # type: ignore[arg-type]
    assert {made.name for made in comparisons} == {"loss", "accuracy", "macro_f1", "mcc"}
    assert all((made.ahead, made.low, made.high, made.p) == (0, 0, 0, 1) for made in comparisons)


def test_scores_that_take_long_are_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "SECONDS", 1e-6)
    comparisons, hooks = compared(0.6, {"words": 0.9})
    assert {made.name for made in comparisons} == {"loss"}
    assert hooks.calls == 4, "the first draw may import what scores, the second says what all would cost"


def test_intervals_stand_beside_the_baselines_that_were_tested() -> None:
    baselines = [Baseline("words", "accuracy", 0.8, "test"), Baseline("majority", "accuracy", 0.3, "test")]
    made = Comparison("words", "accuracy", "test", 0.9, 0.8, 0.1, 0.05, 0.15, 0.001)
    first, second = paired.with_intervals(baselines, [made])
    assert (first.low, first.high) == (0.05, 0.15) and (second.low, second.high) == (None, None)
