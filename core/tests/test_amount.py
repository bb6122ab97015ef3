"""How much a run trains where nobody says it: the rule, in numbers."""

from __future__ import annotations

import pytest

from ftp.train.amount import TrainingRows, batch_size, best_metric, epochs, patience, picks_best


@pytest.mark.parametrize(("rows", "batch", "passes"), [
    (50, 8, 10), (200, 8, 10), (300, 8, 8), (802, 8, 3), (1_000, 8, 3), (1_001, 16, 5), (8_000, 16, 3), (8_001, 32, 3),
    (1, 8, 10), (1_000_000, 32, 3),
])
def test_few_rows_are_learnt_in_smaller_batches_and_more_passes(rows: int, batch: int, passes: float) -> None:
    training = TrainingRows(rows, [rows // 2, rows - rows // 2] if rows > 1 else [1], 2)
    assert batch_size(training).value == batch
    assert epochs(training, batch).value == passes
    assert patience(training).value == 5 and best_metric(training).value == "accuracy"


def test_many_and_uneven_classes_take_twice_the_updates_of_half_the_rows() -> None:
    even = TrainingRows(2_448, [272] * 9, 9)
    uneven = TrainingRows(2_448, [2_200] + [31] * 8, 9)
    many = TrainingRows(2_448, [87] * 28, 28)
    assert (batch_size(even).value, epochs(even, 16).value) == (16, 3)
    for hard, why in ((uneven, "uneven classes"), (many, "28 classes")):
        assert batch_size(hard).value == 8 and why in batch_size(hard).reason
        assert epochs(hard, 8).value == 3 and why in epochs(hard, 8).reason
        assert epochs(hard, 16).value == 4  # 153 updates a pass, 600 are wanted
    assert best_metric(uneven).value == "macro_f1" and "31 rows" in best_metric(uneven).reason
    assert best_metric(many).value == "accuracy" and best_metric(TrainingRows(100)).value is None


@pytest.mark.parametrize(("rarest", "is_uneven"), [(9, True), (10, True), (11, True), (12, False), (50, False)])
def test_a_class_is_rare_below_a_fifth_of_its_fair_share(rarest: int, is_uneven: bool) -> None:
    # 100 + rarest rows in two classes: a fifth of the fair share is (100 + rarest) / 10
    assert TrainingRows(100 + rarest, [rarest, 100], 2).are_uneven is is_uneven


def test_the_batch_that_somebody_gives_counts_in_the_passes() -> None:
    assert epochs(TrainingRows(1_000), 64).value == 10
    assert epochs(TrainingRows(1_000), 4).value == 3


def test_what_writes_text_and_what_cannot_be_counted_keep_32_rows_and_3_passes() -> None:
    writes = TrainingRows(50, have_short_answers=False)
    stream = TrainingRows(None)
    for rows in (writes, stream):
        assert (batch_size(rows).value, epochs(rows, 32).value) == (32, 3)
    assert epochs(TrainingRows(50), None).value == 3  # tokens make an update
    assert patience(writes).value == 0


@pytest.mark.parametrize(("held", "picks"), [(5, False), (49, False), (50, True), (None, True)])
def test_few_validation_rows_pick_no_evaluation_of_classes(held: int | None, picks: bool) -> None:
    rows = TrainingRows(200, [100, 100], 2, validation_count=held)
    assert picks_best(rows).value is picks and patience(rows, picks).value == (5 if picks else 0)
    assert picks_best(TrainingRows(200, validation_count=held)).value  # tags, spans, numbers
    assert picks_best(rows, is_asked=True).value
