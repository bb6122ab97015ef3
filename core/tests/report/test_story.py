"""What is computed from a run folder's files."""

from __future__ import annotations

import pytest

from ftp.report import story


def test_calibration_is_the_mean_distance_weighted_by_rows() -> None:
    lines = [{"label": "a", "answer": "a", "scores": [0.95, 0.05]}] * 3 + [{"label": "b", "answer": "a", "scores": [0.95, 0.05]}]
    lines += [{"label": "a", "answer": "a", "scores": [0.55, 0.45]}] * 4
    found = story.calibration("test", lines)
    assert found is not None
    assert [(round(said, 2), right, rows) for said, right, rows in found.bins] == [(0.55, 1.0, 4), (0.95, 0.75, 4)]
    assert found.error == pytest.approx(0.5 * 0.45 + 0.5 * 0.2)
    assert story.calibration("test", [{"answer": "a"}]) is None


def test_confusion_counts_true_by_given() -> None:
    lines = [{"label": label, "answer": answer} for label, answer in ("aa", "aa", "ab", "ba", "bb", "ab")]
    found = story.confusion("test", lines, ["a", "b"])
    assert found is not None
    assert found.counts == [[2, 2], [1, 1]]
    assert found.mixed == [("a", "b", 2), ("b", "a", 1)]


@pytest.mark.parametrize(("evidence", "expected"), [
    ({"before": 1, "after": 2.5}, [("", 1, 2.5)]),
    ({"general": {"before": {"news": 1.0, "code": 2.0}, "after": {"news": 3.0, "code": 4.0}}},
     [("general news", 1, 3), ("general code", 2, 4)]),
    ({"surprise_before": 3.0, "surprise_after": 4.0, "other_before": 1.0}, [("surprise", 3, 4)]),
    ({"before": None, "after": 2.0}, []),
    ({"before": {"a": 1.0}, "after": {}}, []),
    ({"before": True, "after": False}, []),
    ({}, []),
])
def test_pairs_of_numbers_before_and_after(evidence: dict[str, object], expected: list[tuple[str, float, float]]) -> None:
    assert [(one.name, one.before, one.after) for one in story.changes(evidence)] == expected


def test_lines_without_numbers_are_no_curve() -> None:
    log = [{"event": "step", "step": 1, "loss": None, "grad_norm": 1.0},
           {"event": "step", "step": 2, "loss": 0.5, "grad_norm": None}]
    charts = {one.title: one for one in story.charts(log)}
    assert list(charts) == ["Loss", "Gradient norm"]
    assert charts["Loss"].curves[0].points == [(2, 0.5)]


def test_sixteen_runs_look_different() -> None:
    assert len(set(story.looks(16))) == 16


def test_a_long_curve_is_drawn_by_its_means() -> None:
    log = [{"event": "step", "step": step, "grad_norm": float(step % 2)} for step in range(1, 1001)]
    chart, = story.charts(log)
    assert len(chart.curves[0].points) == 200
    assert {value for _, value in chart.curves[0].points} == {0.4, 0.6}  # of five neighbours
    assert chart.curves[0].points[-1][0] == 1000 and "mean of 5 lines" in chart.told


@pytest.mark.parametrize(("value", "apart", "shown"), [
    (-134.702, 0.002, "-134.702"), (-134.7, 0.002, "-134.7"), (0.0, 0.1, "0"), (1e-17, 0.1, "0"), (2.5e-05, 2.5e-05, "2.5e-5"),
    (0.65, 0.15, "0.65"), (2400.0, 800.0, "2400"), (16000.0, 4000.0, "16k"), (0.0005, 0.0005, "0.0005"), (1.025, 0.025, "1.025"),
])
def test_numbers_of_an_axis_can_be_told_apart(value: float, apart: float, shown: str) -> None:
    from ftp.report.charts import _short

    assert _short(value, apart) == shown
