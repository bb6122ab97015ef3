"""Looking at rows: some of a split, and all the text of one."""

from __future__ import annotations

from datasets import Dataset

from ftp.data.look import some, text_of


def test_some_rows_are_spread_evenly_and_keep_their_numbers() -> None:
    rows = Dataset.from_list([{"text": str(number)} for number in range(10)])
    assert [number for number, _ in some(rows, 20)] == list(range(10))
    sample = list(some(rows, 4))
    assert [number for number, _ in sample] == [0, 2, 5, 7] and all(row["text"] == str(number) for number, row in sample)
    assert [number for number, _ in some(rows.to_iterable_dataset(), 3)] == [0, 1, 2]


def test_text_of_a_row_is_what_it_says_in_any_form() -> None:
    assert text_of({"id": "a-1", "text": "one", "label_name": "x", "score": 3}) == "one"
    asked, answer = {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}
    assert text_of({"prompt": [asked], "chosen": [answer]}) == "one\ntwo"
    assert text_of({"context": "one", "answers": {"text": ["two"], "answer_start": [3]}, "none": None}) == "one\ntwo"
