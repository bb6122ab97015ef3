"""What is computed from a run folder's files."""

from __future__ import annotations

from typing import Any

import pytest

from ftp.report import curves, story


def test_calibration_is_the_mean_distance_weighted_by_rows() -> None:
    sure_and_right = {"label": "a", "answer": "a", "scores": [0.95, 0.05]}
    sure_and_wrong = {"label": "b", "answer": "a", "scores": [0.95, 0.05]}
    unsure_and_right = {"label": "a", "answer": "a", "scores": [0.55, 0.45]}
    lines = [sure_and_right] * 3 + [sure_and_wrong] + [unsure_and_right] * 4
    calibration = story.calibration("test", lines)
    assert calibration is not None
    low, high = calibration.bins
    assert (round(low.confidence, 2), low.accuracy, low.num_rows) == (0.55, 1.0, 4)
    assert (round(high.confidence, 2), high.accuracy, high.num_rows) == (0.95, 0.75, 4)
    assert calibration.error == pytest.approx(0.5 * 0.45 + 0.5 * 0.2)
    assert story.calibration("test", [{"answer": "a"}]) is None


def test_confusion_counts_true_by_answer() -> None:
    pairs = ("aa", "aa", "ab", "ba", "bb", "ab")
    lines = [{"label": label, "answer": answer} for label, answer in pairs]
    confusion = story.confusion("test", lines, ["a", "b"])
    assert confusion is not None
    assert confusion.counts == [[2, 2], [1, 1]]
    assert confusion.mixed == [("a", "b", 2), ("b", "a", 1)]


@pytest.mark.parametrize(("evidence", "expected"), [
    ({"before": 1, "after": 2.5}, [("", 1, 2.5)]),
    (
        {"general": {"before": {"news": 1.0, "code": 2.0}, "after": {"news": 3.0, "code": 4.0}}},
        [("general news", 1, 3), ("general code", 2, 4)],
    ),
    ({"surprise_before": 3.0, "surprise_after": 4.0, "rank_before": 1.0}, [("surprise", 3, 4)]),
    ({"before": None, "after": 2.0}, []),
    ({"before": {"a": 1.0}, "after": {}}, []),
    ({"before": True, "after": False}, []),
    ({}, []),
])
def test_pairs_of_numbers_before_and_after(
    evidence: dict[str, object], expected: list[tuple[str, float, float]]
) -> None:
    assert list(story.changes(evidence)) == [story.Change(*values) for values in expected]


def test_lines_without_numbers_are_no_curve() -> None:
    log = [
        {"event": "step", "step": 1, "loss": None, "grad_norm": 1.0},
        {"event": "step", "step": 2, "loss": 0.5, "grad_norm": None},
    ]
    charts = {chart.title: chart for chart in curves.draw_charts(log)}
    assert list(charts) == ["Loss", "Gradient norm"]
    assert charts["Loss"].curves[0].points == [(2, 0.5)]


def test_sixteen_runs_look_different() -> None:
    assert len(set(curves.looks(16))) == 16


def test_a_long_curve_is_drawn_by_its_means() -> None:
    log: list[dict[str, Any]] = []
    for step in range(1, 1001):
        log.append({"event": "step", "step": step, "grad_norm": float(step % 2)})
    log.append({"event": "evaluation", "step": 1000, "perplexity": 12.0})
    evaluations, gradient_norm = curves.draw_charts(log)
    points = gradient_norm.curves[0].points
    assert len(points) == 200
    assert {value for _, value in points} == {0.4, 0.6}  # of five neighbours
    assert points[-1][0] == 1000
    assert "mean of 5 lines" in gradient_norm.note
    assert not evaluations.note  # few enough to be drawn as they are


@pytest.mark.parametrize(("value", "apart", "text"), [
    (-134.702, 0.002, "-134.702"),
    (-134.7, 0.002, "-134.7"),
    (0.0, 0.1, "0"),
    (1e-17, 0.1, "0"),
    (2.5e-05, 2.5e-05, "2.5e-5"),
    (0.65, 0.15, "0.65"),
    (2400.0, 800.0, "2400"),
    (16000.0, 4000.0, "16k"),
    (0.0005, 0.0005, "0.0005"),
    (1.025, 0.025, "1.025"),
])
def test_numbers_of_an_axis_can_be_told_apart(value: float, apart: float, text: str) -> None:
    from ftp.report.charts import _format_tick

    assert _format_tick(value, apart) == text
