"""Real public sets, where they are: read, converted to all they lead to where they are small, and settled."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftp.data import load, settle
from ftp.data.read import read
from ftp.forms import detect, get, offers, reachable

ROOT = Path(os.environ.get("FTP_DATA") or "no-public-sets")
SETS = {  # form and rows of train
    "ag_news": ("labelled", 4999), "banking77": ("labelled", 9942), "cola": ("labelled", 8511), "mrpc": ("labelled", 4076),
    "ner_wnut17": ("tagged", 3271), "squad": ("question", 3997), "subjqa": ("question", 4000),
    "medquad": ("conversation", 8000), "lima": ("conversation", 937), "t0_mix": ("conversation", 15699),
    "toolcall": ("conversation", 300), "hh_harmless": ("preference", 1308), "dpo_mix": ("preference", 300),
    "kto_mix": ("feedback", 300),
}  # fmt: skip

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="no real sets here (FTP_DATA names their folder)")


@pytest.mark.parametrize("name", SETS)
def test_real_set(name: str, make_run: Callable[..., Any]) -> None:
    form, count = SETS[name]
    rows = read(ROOT / name)["train"]
    assert (detect(rows.column_names or ()), len(rows)) == (form, count)  # type: ignore[arg-type]
    for target in sorted(reachable([form])) if count < 1500 else [form]:  # type: ignore[list-item]
        run = make_run(target, data=str(ROOT / name))
        data, _ = settle(load(run, form=form), run)  # type: ignore[arg-type]
        assert set(get(target).required) <= set(data.splits["train"].column_names)
        assert len(data.splits["validation"]) > 0


def test_classes_keep_the_numbers_of_the_set(make_run: Callable[..., Any]) -> None:
    run = make_run("labelled", data=str(ROOT / "cola"))
    data, _ = settle(load(run, form="labelled"), run)
    assert data.labels == ("unacceptable", "acceptable")
    raw = read(ROOT / "cola")["train"]
    assert data.splits["train"]["label"][:] == raw["label"][:]  # type: ignore[index]


def test_sets_of_unusual_columns_are_mapped(make_run: Callable[..., Any]) -> None:
    for name in ("pubmedqa", "mmlu", "lambada", "mt_bench"):
        rows = next(iter(read(ROOT / name).values()))
        assert offers(rows.column_names or ()) == ()
    run = make_run("labelled", data=str(ROOT / "pubmedqa"), columns=("text=question", "text_pair=context"))
    data, _ = settle(load(run, form="labelled", labels=()), run)
    assert sorted(data.labels) == ["maybe", "no", "yes"]
