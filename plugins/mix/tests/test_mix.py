"""General rows come into train, in the share asked for, the same each time, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftp.data import tables
from ftp.data.collect import collect
from ftp.errors import UserError
from ftp.folder.log import Log
from ftp.plugins.call import Hooks
from ftp.plugins.plan import prepare
from ftp.types import Data, Run

QUIET = ("-forgetting", "-preflight", "-leakage", "-underfitting", "-overfitting")


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def texts(path: Path, word: str, count: int, **more: Any) -> str:
    return write(path, [{"text": f"{word} number {n} of many", **more} for n in range(count)])


def collected(plugins: list[str], **options: Any) -> tuple[Data, list[str]]:
    prepared = prepare([*plugins, *QUIET], given=[("options", options)])
    log = Log(None, writer=False)
    run = Run(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), None, log)
    data = collect(run)
    return data, [json.dumps(line) for line in log.lines]


def test_text_is_mixed_into_train_alone(tmp_path: Path) -> None:
    own, general = texts(tmp_path / "own.jsonl", "own", 200), texts(tmp_path / "others.jsonl", "general", 100)
    options = {"data": own, "mix.data": general, "mix.share": 0.2}
    data, log_lines = collected(["mlm", "files", "mix"], **options)
    without, _ = collected(["mlm", "files"], data=own)
    kinds = [text.split()[0] for text in data.splits["train"]["text"]]
    own_rows = len(without.splits["train"])
    assert kinds.count("own") == own_rows and kinds.count("general") == round(own_rows * 0.2 / 0.8)
    assert data.splits["validation"]["text"][:] == without.splits["validation"]["text"][:], "held-out rows stay what they were"
    assert any("(20.0%) are general rows" in line for line in log_lines)
    again, _ = collected(["mlm", "files", "mix"], **options)
    assert again.splits["train"]["text"][:] == data.splits["train"]["text"][:]
    other, _ = collected(["mlm", "files", "mix"], **options, seed=1)
    assert set(other.splits["train"]["text"]) != set(data.splits["train"]["text"])


def test_conversations_are_mixed_whatever_their_spelling(tmp_path: Path) -> None:
    own = write(tmp_path / "own.jsonl", [{"messages": [{"role": "user", "content": f"own {n}?"},
                                                       {"role": "assistant", "content": f"yes {n}"}]} for n in range(40)])
    general = write(tmp_path / "others.jsonl", [{"instruction": f"general {n}", "output": f"well {n}"} for n in range(40)])
    data, _ = collected(["sft", "files", "mix"], data=own, **{"mix.data": general, "mix.share": 0.25})
    train = data.splits["train"]["messages"][:]
    general_rows = [row for row in train if row[0]["content"].startswith("general")]
    assert len(general_rows) / len(train) == pytest.approx(0.25, abs=0.02) and general_rows[0][1]["role"] == "assistant"
    assert not any(row[0]["content"].startswith("general") for row in data.splits["validation"]["messages"])


@pytest.mark.parametrize("objective", ["sft", "dpo"])
@pytest.mark.parametrize("own_tools", [False, True])
def test_tools_and_calls_of_general_rows_are_kept(tmp_path: Path, objective: str, own_tools: bool) -> None:
    def row(word: str, number: int, name: str) -> dict[str, Any]:
        call = {"type": "function", "function": {"name": name, "arguments": {f"{word}{number}": 2**64 + number}}}
        asked, answer = {"role": "user", "content": f"{word} {number}?"}, {"role": "assistant", "tool_calls": [call]}
        talk = {"messages": [asked, answer]} if objective == "sft" else {
            "prompt": [asked], "chosen": [answer], "rejected": [{"role": "assistant", "content": "no"}]}
        tools = {"tools": [{"type": "function", "function": {"name": name}}]}
        return {**talk, **(tools if own_tools or word == "general" else {})}

    own = write(tmp_path / "own.jsonl", [row("own", number, "mine") for number in range(40)])
    general = write(tmp_path / "others.jsonl", [row("general", number, "theirs") for number in range(40)])
    data, _ = collected([objective, "files", "mix"], data=own, **{"mix.data": general, "mix.share": 0.25})
    names = set()
    for found in tables.to_rows(data.splits["train"]):
        asked, answer = (found["messages"] if objective == "sft" else [*found["prompt"], *found["chosen"]])
        word, number = asked["content"].rstrip("?").split()
        assert answer["tool_calls"][0]["function"]["arguments"] == {f"{word}{number}": 2**64 + int(number)}
        names |= {(word, tool["function"]["name"]) for tool in found["tools"] or ()}
    assert names == {("general", "theirs"), *([("own", "mine")] if own_tools else [])}


def test_a_share_holds_under_max_train_rows(tmp_path: Path) -> None:
    own, general = texts(tmp_path / "own.jsonl", "own", 300), texts(tmp_path / "others.jsonl", "general", 300)
    data, _ = collected(["mlm", "files", "mix"], data=own, max_train_rows=50, **{"mix.data": general, "mix.share": 0.2})
    kinds = [text.split()[0] for text in data.splits["train"]["text"]]
    assert len(kinds) == 50 and kinds.count("general") == 10


@pytest.mark.parametrize(("plugins", "form"), [(["clm", "files"], "text"), (["sft", "files"], "conversation")])
def test_without_a_file_rows_of_ours_are_mixed_in(tmp_path: Path, plugins: list[str], form: str) -> None:
    file = write(tmp_path / "own.jsonl", [{"prompt": f"zz {n}", "completion": f"answer {n}"} for n in range(200)])
    if form == "text":
        file = texts(tmp_path / "t.jsonl", "zz", 200)
    data, log_lines = collected([*plugins, "mix"], data=file)
    assert any("(10.0%) are general rows of ours (English)" in line for line in log_lines), log_lines
    general = [row for row in data.splits["train"].to_list() if "zz" not in json.dumps(row)]
    assert len(general) == 20 and len({json.dumps(row) for row in general}) == 20


def test_too_few_general_rows_are_told(tmp_path: Path) -> None:
    own, general = texts(tmp_path / "own.jsonl", "own", 200), texts(tmp_path / "others.jsonl", "general", 5)
    data, log_lines = collected(["mlm", "files", "mix"], data=own, **{"mix.data": general, "mix.share": 0.5})
    assert sum(text.startswith("general") for text in data.splits["train"]["text"]) == 5
    assert any("has 5 rows, and a share of 0.5 asks for" in line for line in log_lines)


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    general = texts(tmp_path / "others.jsonl", "general", 20)
    with pytest.raises(UserError, match=r"rows of the form 'labelled' have labels of this task.*\n.*clm, mlm, sft"):
        collected(["sentiment", "lora", "mix"], **{"mix.data": general})
    pairs = write(tmp_path / "pairs.jsonl", [{"prompt": f"ask {n}", "chosen": "yes", "rejected": "no"} for n in range(30)])
    with pytest.raises(UserError, match="there are no general rows of the form 'preference'"):
        collected(["dpo", "files", "mix"], data=pairs)
    with pytest.raises(UserError, match="no file or folder"):
        collected(["mlm", "files", "mix"], data=general, **{"mix.data": str(tmp_path / "none.jsonl")})
    turns = [[{"role": "user", "content": f"ask {n}"}, {"role": "assistant", "content": "b"}] for n in range(30)]
    rows = write(tmp_path / "rows.jsonl", [{"messages": turn} for turn in turns])
    with pytest.raises(UserError, match="cannot be read as 'conversation'"):
        collected(["sft", "files", "mix"], data=rows, **{"mix.data": general})
    with pytest.raises(UserError, match="out of range"):
        collected(["mlm", "files", "mix"], data=general, **{"mix.data": general, "mix.share": 1.5})
