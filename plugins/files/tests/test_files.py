"""The domain `files`: rows of any form that needs no judge of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ftp
from ftp_testing.models import tiny

ROWS = {
    "clm": {"text": "The ferry leaves at {n}."},
    "sft": {"prompt": "When does ferry {n} leave?", "completion": "At {n}."},
    "dpo": {"prompt": "When does ferry {n} leave?", "chosen": "At {n}.", "rejected": "I do not care."},
}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("llama", tmp_path_factory.mktemp("models") / "llama")


@pytest.mark.slow
@pytest.mark.parametrize("objective", ROWS)
def test_own_rows_are_trained_on_in_the_form_of_the_objective(objective: str, decoder: Path, tmp_path: Path) -> None:
    rows = []
    for number in range(20):
        rows.append({name: value.format(n=number) for name, value in ROWS[objective].items()})
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = ftp.run(["files", "full", objective], data=str(tmp_path / "mine.jsonl"), model=str(decoder), max_steps=2,
                   out=tmp_path / "run", cache_dir=tmp_path / "cache", baselines=False, verify=False, report=False, device="cpu")
    assert done.score("loss") > 0


def test_without_data_it_says_what_to_give(decoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ftp.UserError, match="no data are named"):
        ftp.run(["files", "full", "clm"], model=str(decoder), out=tmp_path / "run", device="cpu")
