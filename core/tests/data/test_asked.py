import datetime
import math
from typing import Any

import pytest
from datasets import Dataset

from ftp.data.asked import readable_rows
from ftp.data.target_form import shape
from ftp.errors import UserError


@pytest.mark.parametrize(("value", "text"), [
    ("a", "a"), ("", ""), (1000, "1000"), (2.5, "2.5"), (True, "true"), (datetime.date(2024, 5, 1), "2024-05-01"),
    (datetime.datetime(2024, 5, 1, 12, 30), "2024-05-01T12:30:00"),
])  # fmt: skip
def test_plain_values_are_read_as_text(value: Any, text: str) -> None:
    assert readable_rows([{"text": value, "id": 7}], "labelled") == [{"text": text, "id": 7}]
    assert readable_rows([{"question": value, "context": value}], "question") == [{"question": text, "context": text}]
    assert readable_rows([{"tokens": [value, "b"]}], "tagged") == [{"tokens": [text, "b"]}]
    assert readable_rows([{"prompt": value}], "prompt") == [{"prompt": text}]


@pytest.mark.parametrize("form", ["labelled", "text"])
@pytest.mark.parametrize(("value", "message"), [
    (None, "row 1 has no text"), (math.nan, "row 1 has no text"), (["a"], "row 1 holds a list in text, not text"),
    ({"a": 1}, "row 1 holds a dict in text, not text"), (b"a", "row 1 holds a bytes in text, not text"),
    ("gr\udcf6n", r"row 1 has no UTF-8 text in text \(gr\\xf6n\)"),  # as Python gives a word of a Latin-1 terminal
])  # fmt: skip
def test_what_is_no_text_is_told_by_row(form: Any, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        readable_rows([{"text": "a"}, {"text": value}], form)


@pytest.mark.parametrize(("form", "row", "message"), [
    ("labelled", {"text": "a", "text_pair": ["b"]}, "row 7 holds a list in text_pair, not text"),
    ("labelled", {"text": None, "text_pair": "b"}, "row 7 has no text"),
    ("question", {"question": "a", "context": None}, "row 7 has no context"),
    ("tagged", {"tokens": None}, "row 7 has no tokens"), ("tagged", {"tokens": "a b"}, "row 7 holds a str in tokens, not a list"),
    ("tagged", {"tokens": ["a", None]}, "row 7 has no word 1 in tokens"),
    ("conversation", {"messages": None}, "row 7 has no messages"), ("preference", {"prompt": None}, "row 7 has no prompt"),
])  # fmt: skip
def test_each_form_says_what_a_row_lacks(form: Any, row: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        readable_rows([row], form, start=7)


@pytest.mark.parametrize("empty", [None, math.nan])
def test_a_column_that_is_not_required_may_be_empty(empty: Any) -> None:
    assert readable_rows([{"text": "a", "text_pair": empty}, {"text": "b", "text_pair": 2}], "labelled") == [
        {"text": "a", "text_pair": None}, {"text": "b", "text_pair": "2"}]


def test_a_text_beside_a_question_in_its_own_columns_is_not_asked() -> None:
    """Alpaca's own file has such a column, which repeats the question with its answer."""
    row = {"instruction": "Name a day.", "input": "", "text": "Name a day. Monday."}
    assert readable_rows([row], "conversation") == [{"instruction": "Name a day.", "input": ""}]
    assert readable_rows([{"text": "Name a day."}], "conversation")[0]["messages"][0]["content"] == "Name a day."


def test_all_rows_are_counted() -> None:
    with pytest.raises(UserError, match=r"row 0 \(and 1, 2, 3, 4, \.\.\.; 9 rows in all\) has no text"):
        readable_rows([{"text": None}] * 9, "labelled")


def test_rows_that_are_scored_are_read_as_those_that_are_answered() -> None:
    rows = {"text": [1000, 1001], "text_pair": [True, False], "label": ["a", "b"]}
    splits, _, _ = shape({"test": Dataset.from_dict(rows)}, "labelled", ("a", "b"), plain_values=True)
    assert list(splits["test"]) == [{"text": "1000", "text_pair": "true", "label": 0},
                                    {"text": "1001", "text_pair": "false", "label": 1}]
    single = Dataset.from_dict({"text": ["a", "b"], "text_pair": ["c", None], "label": ["a", "b"]})
    splits, _, _ = shape({"test": single}, "labelled", ("a", "b"), plain_values=True)
    assert splits["test"]["text_pair"][:] == ["c", None]
    missing = Dataset.from_dict({"sentence": [2.5, None], "label": ["a", "b"]})  # a common other name of the column
    with pytest.raises(UserError, match=r"1 rows have no text; the first, counted from 0: \[1\]"):
        shape({"test": missing}, "labelled", ("a", "b"), plain_values=True)


def test_in_training_a_column_of_numbers_is_not_taken_for_texts() -> None:
    with pytest.raises(UserError, match="text holds int64, not text"):
        shape({"train": Dataset.from_dict({"text": [1000, 1001], "label": ["a", "b"]})}, "labelled")
