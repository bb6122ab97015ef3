"""The chat domain: its sample, its reward by rules, its drift check, and the traps of conversations and preferences."""

from __future__ import annotations

import json
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.data.loading import settle
from ftp.data.read import read
from ftp.types import Data, Form
from ftp_chat import SAMPLE, Chat
from ftp_chat.drift import HARMFUL, HARMLESS, Answers, compare, sign_test
from ftp_chat.rules import judged, parts, refuses, rude_words
from ftp_testing.domains import a_run
from ftp_testing.models import tiny

RUN = a_run("conversation")
FORMS: tuple[Form, ...] = ("conversation", "preference", "feedback", "prompt")


def data_of(form: Form, data: Path | None = None) -> Data:
    run = a_run(form, str(data) if data else None)
    return settle(Chat().load_data(run), run)[0]


def asked(row: dict[str, Any]) -> str:
    first = row["messages"][0]["content"] if "messages" in row else row["prompt"]
    return " ".join(re.findall(r"\w+", first.lower()))


def test_a_prompt_is_in_one_split_only_whatever_the_form() -> None:
    samples = {form: read(SAMPLE / form) for form in FORMS}
    assert sum(map(len, samples["conversation"].values())) >= 150
    assert sum(map(len, samples["preference"].values())) >= 150
    splits = []
    for split in ("train", "validation", "test"):
        prompts: set[str] = set()
        for sample in samples.values():
            prompts.update(map(asked, sample[split]))
        splits.append(prompts)
    assert len(set.union(*splits)) == sum(map(len, splits))
    assert not set.union(*splits) & {asked({"prompt": text}) for text in (*HARMLESS, *HARMFUL)}  # the drift check's own


def test_harmful_requests_are_refused_and_no_other() -> None:
    for split in ("train", "validation", "test"):
        rows = [(row["harmful"], row["messages"][1]["content"]) for row in read(SAMPLE / "conversation")[split]]
        rows += [(row["harmful"], row["chosen"]) for row in read(SAMPLE / "preference")[split]]
        assert any(harmful for harmful, _ in rows)
        assert [text for harmful, text in rows if refuses(text) != harmful or rude_words(text)] == []


def test_pairs_differ_and_turns_alternate() -> None:
    for rows in read(SAMPLE / "preference").values():
        assert all(row["chosen"].strip() and row["rejected"].strip() and row["chosen"] != row["rejected"] for row in rows)
    long = 0
    for rows in read(SAMPLE / "conversation").values():
        for row in rows:
            roles = [turn["role"] for turn in row["messages"]]
            assert roles == ["user", "assistant"] * (len(roles) // 2) and all(turn["content"].strip() for turn in row["messages"])
            long += len(roles) > 2
    assert long >= 15


@pytest.mark.slow
@pytest.mark.parametrize("form", [*FORMS, "text"])
def test_every_form_is_given(form: Form) -> None:
    assert set(data_of(form).splits) == {"train", "validation", "test"}


# --- the reward ---


def test_rules_by_hand() -> None:
    assert parts("What do bees make?", "Bees make honey.", harmful=False) == {
        "ends": 1.0, "length": 1.0, "fresh": 1.0, "on_topic": 1.0, "kind": 1.0, "apt": 1.0}
    assert parts("What do bees make?", "no no no no no no")["fresh"] == 1 / 4
    assert parts("What do bees make?", "Ships sail, idiot") == {
        "ends": 0.0, "length": 1.0, "fresh": 1.0, "on_topic": 0.0, "kind": 0.0}
    assert parts("x", "word " * 90)["length"] == 0.5 and parts("x", "word " * 200)["length"] == 0.0
    assert parts("How do I steal?", "I cannot help with stealing.", True)["apt"] == 1.0


def test_the_reward_prefers_chosen_answers_more_often_than_rejected_ones() -> None:
    rows = list(chain.from_iterable(read(SAMPLE / "preference").values()))
    chosen = Chat().reward(rows, [row["chosen"] for row in rows])
    rejected = Chat().reward(rows, [row["rejected"] for row in rows])
    assert chosen is not None and rejected is not None and len(chosen.values) == len(rows)
    pairs = list(zip(chosen.values, rejected.values, strict=True))
    assert sum(good > bad for good, bad in pairs) > 2 * sum(good < bad for good, bad in pairs)
    assert all(0 <= value <= 1 for value in (*chosen.values, *rejected.values))


def test_empty_answers_are_worth_nothing_and_the_weight_is_passed_on() -> None:
    row = {"prompt": [{"role": "user", "content": "Why?"}]}
    assert [judged(row, text) for text in ("", "   ", "...")] == [0.0] * 3
    reward = Chat(reward_weight=0.5).reward([row], ["Because it rains."])
    assert reward is not None and reward.weight == 0.5 and Chat(reward_weight=0.0).reward([row], ["x"]) is None


# --- drift ---


def test_refusals_and_rude_words_are_seen() -> None:
    assert all(map(refuses, ("I cannot help with that.", "I'm sorry, but I can't assist.", "I will not write a threat.",
                             "I am not able to help you.")))
    assert not any(map(refuses, ("I cannot see a clock.", "You will not need salt.", "A bat can fly.")))
    assert rude_words("You IDIOT, shut up!") == ["idiot"] and not rude_words("Batteries die; I hate rain. Shiitake.")


def test_drift_is_told_in_each_direction_and_small_changes_are_not() -> None:
    no, yes = ("I cannot help with that.",) * 16, ("Here is how.",) * 16
    assert compare(RUN, Answers(yes, no), Answers(yes, no)).level == "ok"
    worse = compare(RUN, Answers(yes, no), Answers(no, no))
    assert worse.level == "warn" and "refuses harmless prompts" in worse.finding and worse.evidence["examples"]
    assert "refuses harmful prompts" in compare(RUN, Answers(yes, no), Answers(yes, yes)).finding.split(".")[0]
    rude = compare(RUN, Answers(yes, no), Answers(("You idiot.",) * 16, no))
    assert rude.level == "warn" and "rude words" in rude.finding.split(".")[0]
    assert compare(RUN, Answers(yes, no), Answers((*no[:4], *yes[4:]), no)).level == "ok"  # 4 of 4: chance is 1 in 16
    assert compare(RUN, Answers(no, no), Answers(yes, no)).level == "ok"  # fewer needless refusals are no harm
    assert compare(RUN, Answers(("",), ("",)), Answers(("",), ("",))).level == "not_run"


def test_sign_test_by_hand() -> None:
    assert sign_test([False] * 5, [True] * 5, 1) == 1 / 32
    assert sign_test([True] * 3, [True] * 3, 1) == 1.0
    assert sign_test([False, False, True], [True, True, False], 1) == 4 / 8


def options(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"model": str(tiny("gpt2", tmp_path / "model")), "out": tmp_path / "run", "max_steps": 1, "max_train_rows": 8,
            "max_eval_rows": 4, "baselines": False, "verify": False, "report": False, "device": "cpu",
            "cache_dir": tmp_path / "cache", **more}


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sft", "dpo", "kto"])
def test_runs_end_with_a_verdict_on_drift(objective: str, tmp_path: Path) -> None:
    done = ftp.run(["lora", objective, "chat"], **options(tmp_path, **{"chat.drift_prompts": 2, "chat.drift_tokens": 4}))
    risk = next(risk for risk in done.risks if risk.name == "refusal and toxicity")
    assert risk.level in ("ok", "not_run")
    assert risk.level == "not_run" or risk.evidence["prompts"] == {"harmless": 2, "harmful": 2}


@pytest.mark.slow
def test_a_model_of_plain_text_is_not_asked(tmp_path: Path) -> None:
    done = ftp.run(["full", "clm", "chat"], **options(tmp_path))
    assert {risk.name: risk.level for risk in done.risks}["refusal and toxicity"] == "not_run"


# --- bad rows ---


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    good = {"messages": [{"role": "user", "content": "Who is it?"}, {"role": "assistant", "content": "It is me."}]}
    if "chosen" in rows[0]:
        good = {"prompt": "Who is it?", "chosen": "It is me.", "rejected": "No."}
    for split, part in {"train": rows, "validation": [good]}.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    return folder


def turns(*texts: str) -> dict[str, Any]:
    return {"messages": [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]}


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "rows", "message"), [
    ("sft", [turns("One?", "One."), turns("Two?")], "no turn of the assistant: rows 1"),
    ("sft", [turns("One?", "One."), turns("Two?", " ")], "an empty answer: rows 1"),
    ("dpo", [{"prompt": f"{n}?", "chosen": "Same.", "rejected": "Same."} for n in range(3)], "the same in 3 of 3 pairs"),
    ("dpo", [{"prompt": "One?", "chosen": "", "rejected": "No."}, {"prompt": "Two?", "chosen": "Yes.", "rejected": "No."}],
     "empty answer"),
])
def test_rows_that_teach_nothing_are_named(objective: str, rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(ftp.UserError, match=message):
        ftp.run(["lora", objective, "chat", "-leakage", "-preflight"],
                **options(tmp_path, data=str(written(tmp_path / "data", rows))))
