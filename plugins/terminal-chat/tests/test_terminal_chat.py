"""`ftp chat`: what was said is remembered, commands work, answers are the model's own, mistakes are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import ftp
from ftp_terminal_chat.command import command, talk
from ftp_testing.models import tiny


def test_what_was_said_goes_along_and_commands_change_it(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[list[tuple[str, str]]] = []

    def respond(messages: list[dict[str, str]], show: Any) -> str:
        asked.append([(turn["role"], turn["content"]) for turn in messages])
        show("fine")
        return "fine"

    lines = ["hello\n", "and now?\n", "/reset\n", "again\n", "/system Be kind.\n", "\n", "who?\n", "/exit\n", "never\n"]
    talk(iter(lines), respond)
    assert asked == [
        [("user", "hello")],
        [("user", "hello"), ("assistant", "fine"), ("user", "and now?")],
        [("user", "again")],
        [("system", "Be kind."), ("user", "who?")],
    ]
    output = capsys.readouterr()
    assert output.out == "fine\n" * 4 and "forgotten" in output.err and "Be kind." in output.err


def test_an_unknown_command_is_not_said_to_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    talk(iter(["/rest\n"]), lambda messages, show: pytest.fail("it was asked"))
    assert "/rest: no such command" in capsys.readouterr().err


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    rows = [{"prompt": f"Count to {n}.", "completion": "one two three"} for n in range(24)]
    (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ftp.run(["sft", "full", "files"], data=str(folder / "mine.jsonl"), model=str(tiny("llama", folder / "llama")), epochs=25,
            learning_rate=0.01, out=folder / "run", cache_dir=folder / "cache", baselines=False, verify=False, report=False,
            device="cpu")
    return folder / "run"


def test_the_run_answers_as_predict_does_and_streams(talker: Path) -> None:
    done = CliRunner().invoke(command, [str(talker)], input="Count to 3.\n")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == "one two three" == ftp.load(talker).predict(["Count to 3."])[0]["answer"]


def test_old_turns_that_no_longer_fit_are_left_out_and_told(talker: Path) -> None:
    limit = json.loads((talker / "model" / "config.json").read_text())["max_position_embeddings"]
    done = CliRunner().invoke(command, [str(talker), "--max-new-tokens", "8"], input="Count to 3.\n" * (limit // 8))
    assert done.exit_code == 0, done.output
    assert "no longer fit" in done.stderr


def test_a_line_that_is_too_long_is_a_clear_error(talker: Path) -> None:
    done = CliRunner().invoke(command, [str(talker)], input="again " * 2000 + "\n")
    assert isinstance(done.exception, ftp.UserError) and "more than the model takes" in str(done.exception)


def test_mistakes_are_told_before_anything_is_loaded(tmp_path: Path) -> None:
    gone = CliRunner().invoke(command, [str(tmp_path / "gone")])
    assert isinstance(gone.exception, ftp.UserError) and "no such folder" in str(gone.exception)
    both = CliRunner().invoke(command, [str(tmp_path), "--top-p", "0.5"])
    assert isinstance(both.exception, ftp.UserError) and "--temperature" in str(both.exception)
