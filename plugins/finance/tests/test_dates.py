"""Look-ahead: dates are read, and training rows from after the evaluation rows are told."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from datasets import Dataset

import ftp
from ftp.types import Data
from ftp_finance.dates import mentioned, read, verdict
from ftp_testing.domains import a_run

RUN = a_run("labelled")


@pytest.mark.parametrize(("text", "dates"), [
    ("The trade was announced on 26 March 2008 .", [date(2008, 3, 26)]),
    ("On March 5th, 2011, and again in June 2012, sales fell.", [date(2011, 3, 5), date(2012, 6, 1)]),
    ("Statement of 2020-02-29; minutes 20200317", [date(2020, 2, 29), date(2020, 3, 17)]),
    ("the 3rd of Sept. 1999", [date(1999, 9, 3)]),
    ("31 June 2010 is no day; in 2008 or by 2031, 12 of 20081399, and 1 May be", []),
])
def test_dates_in_a_text(text: str, dates: list[date]) -> None:
    assert sorted(set(mentioned(text))) == dates


@pytest.mark.parametrize(("cell", "when"), [
    ("2019-03-04", date(2019, 3, 4)), ("4 March 2019", date(2019, 3, 4)), (datetime(2019, 3, 4, 12), date(2019, 3, 4)),
    (2019, date(2019, 1, 1)), ("2019", date(2019, 1, 1)), (20190304, date(2019, 3, 4)), ("soon", None), (None, None), (1.5, None),
    (True, None), ("", None)])
def test_dates_in_a_cell(cell: Any, when: date | None) -> None:
    assert read(cell) == when


def rows(start: date, count: int, step: int = 10, text: bool = False) -> list[dict[str, str]]:
    days = [start + timedelta(days=step * number) for number in range(count)]
    if text:
        return [{"text": f"Sales of {day.day} {day:%B} {day.year} rose."} for day in days]
    return [{"text": f"Sales rose, report {number}.", "date": str(day)} for number, day in enumerate(days)]


def data(train: list[dict[str, str]], held: list[dict[str, str]]) -> Data:
    return Data({"train": Dataset.from_list(train), "validation": Dataset.from_list(held)}, "text")


@pytest.mark.parametrize("text", [False, True])
def test_rows_in_the_order_of_time_are_ok_and_shuffled_ones_are_told(text: bool) -> None:
    every = rows(date(2010, 1, 1), 80, text=text)
    assert verdict(RUN, data(every[:60], every[60:]), None, 100, 0.02).level == "ok"
    random.Random(1).shuffle(every)
    mixed = verdict(RUN, data(every[:60], every[60:]), None, 100, 0.02)
    share = mixed.evidence["share_of_pairs_with_a_later_training_row"]["validation"]
    assert mixed.level == "warn" and 0.3 < share < 0.7  # by lot: about a half
    assert mixed.evidence["examples"]["validation"][0].startswith("train row ")
    assert "four fifths of dated rows are from before " in mixed.finding
    assert ("data clean run.toml --date-column date" in mixed.advice[0]) is not text
    reverse = sorted(every, key=lambda row: max(mentioned(row["text"] + " " + row.get("date", ""))), reverse=True)
    assert verdict(RUN, data(reverse[:60], reverse[60:]), None, 100, 0.02).evidence[
        "share_of_pairs_with_a_later_training_row"] == {"validation": 1.0}


def test_a_few_late_rows_are_a_note() -> None:
    every = rows(date(2010, 1, 1), 100)
    late = [{"text": "late", "date": "2030-01-01"}]
    assert verdict(RUN, data([*every[:70], *late], every[70:]), None, 1000, 0.02).level == "note"


def test_the_same_day_is_not_later() -> None:
    same = rows(date(2010, 1, 1), 20, step=0)
    assert verdict(RUN, data(same, same[:12]), None, 1000, 0.02).level == "ok"


def test_nothing_to_compare_is_not_run() -> None:
    plain = [{"text": f"Sales rose {number}."} for number in range(30)]
    assert verdict(RUN, data(plain, plain), None, 100, 0.02).level == "not_run"
    alone = Data({"train": Dataset.from_list(rows(date(2010, 1, 1), 30))}, "text")
    assert verdict(RUN, alone, None, 100, 0.02).level == "not_run"
    assert verdict(RUN, data(rows(date(2010, 1, 1), 30), rows(date(2012, 1, 1), 9)), None, 100, 0.02).level == "not_run"


def test_a_column_that_is_not_there_is_an_error_that_names_the_nearest() -> None:
    every = rows(date(2010, 1, 1), 40)
    with pytest.raises(ftp.UserError, match="date"):
        verdict(RUN, data(every, every), "dates", 100, 0.02)
