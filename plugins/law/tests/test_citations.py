"""Citations: read by their form, and told where two splits have them in common."""

from __future__ import annotations

import pytest
from datasets import Dataset

from ftp.types import Data
from ftp_law.citations import cases, statutes, verdict
from ftp_testing.domains import a_run

RUN = a_run("labelled")


@pytest.mark.parametrize(("text", "expected"), [
    ("as held in [2007] FCA 123 at 14", {"[2007]fca123"}),
    ("see [2015] EWCA Civ 45 and [1932] AC 562", {"[2015]ewcaciv45", "[1932]ac562"}),
    ("Roe v. Wade, 410 U.S. 113 (1973)", {"roe v wade", "410|us|113"}),
    ("123 F.3d 456; 45 F. Supp. 2d 12; 99 Cal.App.4th 1; (1985) 159 CLR 550",
     {"123|f3d|456", "45|fsupp2d|12", "99|calapp4th|1", "159|clr|550"}),
    ("overruled by 767 p.2d 1047 and 13 cal. app. 3d 641", {"767|p2d|1047", "13|calapp3d|641"}),
    ("See Smith v Jones. In Smith v Jones the court", {"smith v jones"}),
    ("Minister for Immigration v Li", {"minister for immigration v li"}),
    ("paid within 30 DAYS 12 months, 5 percent of 20 units, on 3 May 2011; the 12 members of 4 AND 13", set()),
])
def test_cases(text: str, expected: set[str]) -> None:
    assert cases(text) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ("section 52(1)(a) of the Trade Practices Act 1974 (Cth)", {"s 52 trade practices act 1974"}),
    ("under s 39B of the Judiciary Act 1903 or 15 U.S.C. § 78j", {"s 39b judiciary act 1903", "15uscs78j"}),
    ("§ 12 of the Sale of Goods Act 1979", {"s 12 sale of goods act 1979"}),
    ("section 7 of this contract; Act 3 of the play; sections of the road", set()),
])
def test_statutes(text: str, expected: set[str]) -> None:
    assert statutes(text) == expected


def splits(train: list[str], test: list[str]) -> Data:
    return Data({"train": Dataset.from_dict({"text": train}), "test": Dataset.from_dict({"text": test})}, "text")


def about(first: int, last: int, form: str) -> list[str]:
    return [f"The court said in {form.format(number)} that the claim fails." for number in range(first, last)]


@pytest.mark.parametrize(("form", "shared", "level"), [
    ("[2007] FCA {}", 0, "ok"), ("[2007] FCA {}", 1, "note"), ("[2007] FCA {}", 4, "warn"), ("410 U.S. 1{}", 10, "warn"),
    ("section {} of the Lands Act 1950", 4, "note"), ("section {} of the Lands Act 1950", 12, "warn")])
def test_levels_by_the_share_of_rows_that_share(form: str, shared: int, level: str) -> None:
    risk = verdict(RUN, splits(about(10, 110, form), about(110 - shared, 150 - shared, form)), 1000, 0.05)
    kind = "section" if "section" in form else "case"
    assert risk.level == level and risk.evidence["citations_in_two_splits"] == shared
    assert risk.evidence["share_of_rows_that_share"][f"test, {kind}"] == shared / 40
    if level == "warn":
        assert all(rows["train"] and rows["test"] for rows in risk.evidence["examples"].values()) and risk.advice


def test_what_the_whole_field_cites_binds_no_rows() -> None:
    train = [f"{text} See [1975] HCA 9." for text in about(100, 200, "[2007] FCA {}")]
    test = [f"{text} See [1975] HCA 9." for text in about(300, 340, "[2007] FCA {}")]
    assert verdict(RUN, splits(train, test), 1000, 0.05).level == "ok"


def test_nothing_to_compare_is_not_run() -> None:
    plain = ["The rent is due."] * 30
    assert verdict(RUN, splits(plain, about(1, 9, "[2007] FCA {}")), 100, 0.05).level == "not_run"
    assert verdict(RUN, splits(about(1, 9, "[2007] FCA {}"), plain), 100, 0.05).level == "not_run"
    alone = Data({"train": Dataset.from_dict({"text": plain})}, "text")
    assert verdict(RUN, alone, 100, 0.05).level == "not_run"
