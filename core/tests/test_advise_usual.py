"""`ftp advise`: what is usual, beside what rows show."""

from __future__ import annotations

import dataclasses

import pytest

from ftp.advise.comparison import NORMAL, NOT_COMPARED, Ahead
from ftp.advise.types import Entry, FirstStage, Metric
from ftp.advise.usual import ALIKE, FIRST_STAGE, OTHER_MODEL, TRAINING, Usual, expected_gain, has_usual, usual_difference


def seen(value: float, error: float, rows: int = 10_000) -> Ahead:
    """A difference with a standard error."""
    return Ahead(value, value - NORMAL * error, value + NORMAL * error, rows)


@pytest.mark.parametrize(("ahead", "left_undone", "expected"), [
    (seen(0.10, 0.0), 0.0, 0.10),  # rows that show all
    (seen(0.10, 1e6), 0.0, 0.04),  # rows that show nothing
    (NOT_COMPARED, 0.0, 0.04),
    (seen(0.10, 0.02), 0.0, 0.07),  # half and half, as the errors are alike
    (seen(0.10, 0.0), 0.02, 0.07),  # what was left undone is an error as well
    (seen(0.10, 0.0, rows=50), 0.0, 0.07),  # one row more of fifty is two points
    (seen(-0.02, 0.02), 0.0, 0.01),
])
def test_what_rows_show_is_moved_towards_what_is_usual(ahead: Ahead, left_undone: float, expected: float) -> None:
    assert expected_gain(ahead, Usual(0.04, 0.02), left_undone) == pytest.approx(expected, abs=1e-5)


def test_what_is_usual_of_two_entries() -> None:
    lora = Entry("lora", ("lora",))
    probe = Entry("probe", ("probe",), trains=False)
    other = dataclasses.replace(lora, model="other")
    staged = dataclasses.replace(lora, model="stages/mlm", first=FirstStage("mlm", "stages = []", "stages/mlm", 9.0))
    assert usual_difference(lora, dataclasses.replace(lora, name="full")) == ALIKE
    assert usual_difference(lora, probe) == TRAINING
    assert usual_difference(probe, lora) == Usual(-TRAINING.mean, TRAINING.spread)
    assert usual_difference(other, lora) == OTHER_MODEL
    assert usual_difference(staged, lora) == FIRST_STAGE
    assert usual_difference(other, probe) == Usual(TRAINING.mean, OTHER_MODEL.spread)


def test_nothing_is_usual_of_a_loss() -> None:
    assert has_usual(Metric("accuracy", "max"), 0.8)
    assert not has_usual(Metric("loss", "min"), 0.8) and not has_usual(Metric("bleu", "max"), 35.0)
