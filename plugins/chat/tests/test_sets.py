"""Public sets of conversations, preferences and prompts, read as they are."""

from __future__ import annotations

import json
import lzma
import os
from itertools import chain, islice
from pathlib import Path

import pytest

from ftp.data.loading import settle
from ftp.types import Form
from ftp_chat import Chat
from ftp_testing.domains import a_run

SETS = Path(os.environ.get("FTP_DATA") or "no-public-sets")


@pytest.mark.parametrize(("name", "form"), [
    ("alpaca/train", "conversation"), ("lima/train", "conversation"), ("self_instruct/train", "conversation"),
    ("gpteacher_roleplay/train", "conversation"), ("sgd_chat/train", "conversation"), ("toolcall/train", "conversation"),
    ("hh_harmless/train", "preference"), ("dpo_mix/train", "preference"), ("alpaca_eval_pairs/train", "preference"),
    ("hh_harmless/train", "conversation"), ("kto_mix/train", "feedback"), ("kto_mix/train", "conversation"),
    ("mt_bench/prompts", "prompt"), ("alpaca/train", "prompt"), ("alpaca/train", "text")])
def test_public_sets_are_read_as_they_are(name: str, form: Form, tmp_path: Path) -> None:
    if not (SETS / f"{name}.jsonl.xz").exists():
        pytest.skip(f"{name}: the public sets are not here")
    with lzma.open(SETS / f"{name}.jsonl.xz", "rt", encoding="utf-8") as file:
        lines = list(islice(file, 60))
    (tmp_path / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    run = a_run(form, str(tmp_path))
    data, _ = settle(Chat().load_data(run), run)
    rows_read = list(chain.from_iterable(data.splits.values()))
    rows = {row["id"]: row for row in map(json.loads, lines)}
    good = sum(row["label"] for row in rows.values()) if (name, form) == ("kto_mix/train", "conversation") else len(rows)
    assert len(rows_read) == good  # what was rated bad is no conversation to learn
    for row in rows_read:
        source = rows[row["id"]]
        if name == "alpaca/train" and form == "conversation":
            assert row["messages"][-1]["content"] == source["output"]
            assert not row["messages"][0]["content"].lower().endswith(("no input", "no input.", "<noinput>"))
        if form == "preference" and isinstance(source["chosen"], str):
            assert row["chosen"][-1]["content"].strip() == source["chosen"].strip()
        if form == "feedback":
            assert row["label"] == source["label"]
        if name == "mt_bench/prompts":
            assert row["prompt"] == [{"role": "user", "content": source["turns"][0]}]


def test_turns_and_blank_inputs_by_hand(tmp_path: Path) -> None:
    def load(form: Form, rows: list[dict[str, object]]) -> list[dict[str, object]]:
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return list(Chat().load_data(a_run(form, str(tmp_path)))["train"])

    assert load("prompt", [{"turns": ["One?", "Two?"], "reference": []}])[0]["prompt"] == [{"role": "user", "content": "One?"}]
    (tmp_path / "train.jsonl").unlink()
    rows = load("conversation", [{"instruction": "Say hi.", "input": "No input.", "output": "Hi."},
                                 {"instruction": "Add.", "input": "2 and 3", "output": "5"}])
    assert [row["messages"][0]["content"] for row in rows] == ["Say hi.", "Add.\n\n2 and 3"]  # type: ignore[index]
