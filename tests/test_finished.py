"""What a run that did not end well leaves behind is never taken for its result."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftp
from ftp.cli.main import call
from ftp.errors import VerifyError

KILLED = '''
import os
import signal

import ftp.runs.run
from ftp import plugin

if "KILLED" in os.environ:
    ftp.runs.run.verify = lambda *_: os.kill(os.getpid(), signal.SIGKILL)

@plugin
class Killed:
    """Ends the process while model/ is verified."""
'''
Line = Callable[..., list[str]]


@pytest.fixture
def line(tiny_bert: Path, tmp_path: Path) -> Line:
    rows = [{"text": f"a warm room {number}", "label": ["bad", "good"][number % 2]} for number in range(24)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def words(*more: Any) -> list[str]:
        arguments = ["run", "--plugins=full,classify,-leakage,-underfitting,-overfitting", "--data", tmp_path / "rows.jsonl",
                     "--model", tiny_bert, "--out", tmp_path / "run", "--device", "cpu", "--precision", "fp32", "--max-steps", 1,
                     "--no-baselines", "--no-report", "--cache-dir", tmp_path / "cache", *more]
        return [str(word) for word in arguments]

    return words


def refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every way in says what to do."""
    for words in (["predict", run, "a text"], ["evaluate", run, "--data", run.with_name("rows.jsonl")]):
        assert call([str(word) for word in words]) == 2
        message = capsys.readouterr().err
        assert "no model that was verified" in message and f"try: ftp run --resume {run}" in message
    with pytest.raises(ftp.UserError, match="did not finish"):
        ftp.load(run)
    assert call(["merge", str(run)]) == 2


def test_a_model_that_fails_its_proof_is_not_used(
    line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise VerifyError("it gives other logits than the trained network")

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("ftp.model.verify", fail)
        assert call(line()) == 1
    message = capsys.readouterr().err
    assert "gives other logits" in message and "--debug" in message and "Traceback" not in message
    assert json.loads((run / "run.json").read_text())["status"] == "failed" and not (run / "model").exists()
    refused(run, capsys)
    assert call(["run", "--resume", str(run)]) == 0  # proven for good this time
    assert ftp.load(run).predict(["a warm room"])[0]["answer"] in ("bad", "good")
    assert not list(run.glob("model-*"))


def test_a_model_whose_proof_was_killed_is_not_used(
    line: Line, live: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    run = tmp_path / "run"
    life = live(line("--plugins-from", tmp_path / "killed.py:Killed"), run, KILLED="yes")
    assert life.end() == -signal.SIGKILL, life.text
    assert json.loads((run / "run.json").read_text())["status"] == "running"
    refused(run, capsys)


def test_what_is_no_run_is_told_as_the_commands_do(tmp_path: Path) -> None:
    for target, word in ((tmp_path / "nosuch", "there is no such folder"), (tmp_path, "not a run's folder")):
        with pytest.raises(ftp.UserError) as error:
            ftp.load(target)
        assert word in str(error.value) and str(error.value).endswith("try: ftp runs")


def test_a_verdict_at_the_end_leaves_a_model_that_can_be_asked(line: Line, tmp_path: Path) -> None:
    (tmp_path / "strict.py").write_text('''
from ftp import hookimpl, plugin
from ftp.types import Risk

@plugin(kind="risk")
class Strict:
    """Finds fault at the end."""

    @hookimpl
    def check_risks(self, stage):
        return [Risk("strict", "warn", "it could be better")] if stage == "end" else []
''')
    run = tmp_path / "run"
    assert call(line("--plugins-from", tmp_path / "strict.py:Strict", "--on-risk", "fail", "--no-verify")) == 2
    assert json.loads((run / "run.json").read_text())["status"] == "stopped"
    finished = ftp.load(run)
    answers = finished.predict(["a warm room"])
    assert len(answers) == 1 and answers[0]["answer"] in ("bad", "good")
    assert finished.predict("a warm room") == answers == finished.predict({"text": "a warm room"})  # one text, not its letters


def test_the_end_says_when_nothing_was_proven(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(line("--no-verify")) == 0
    assert "model, not verified: --no-verify was given" in capsys.readouterr().out


def test_a_finished_run_that_lost_files_is_completed(line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As after a power cut: what is missing is named with the command that makes it again, and that ends in the same bits."""
    run = tmp_path / "run"
    assert call([word for word in line("--no-verify") if word != "--no-report"]) == 0
    weights, scores = (run / "model" / "model.safetensors").read_bytes(), (run / "scores.json").read_text()

    (run / "report.html").unlink()
    assert call(["run", "--resume", str(run)]) == 2
    assert f"its report.html is missing\n  write it\n  try: ftp report {run}" in capsys.readouterr().err
    assert call(["report", str(run)]) == 0 and (run / "report.html").stat().st_size > 1000

    (run / "model" / "model.safetensors").write_bytes(weights[:100])
    (run / "scores.json").unlink()
    capsys.readouterr()
    assert call(["predict", str(run), "a text"]) == 2
    message = capsys.readouterr().err
    assert "model/model.safetensors is missing or damaged" in message and f"ftp run --resume {run}" in message
    assert call(["run", "--resume", str(run)]) == 0
    message = capsys.readouterr()
    assert "model/model.safetensors, scores.json is missing or damaged" in " ".join((message.out + message.err).split())
    assert (run / "model" / "model.safetensors").read_bytes() == weights and (run / "scores.json").read_text() == scores
    assert sorted(path.name for path in run.glob("model*")) == ["model"]

    shutil.rmtree(run / "model")
    shutil.rmtree(run / "checkpoints")
    assert call(["run", "--resume", str(run)]) == 2
    message = capsys.readouterr().err
    assert "no checkpoint is left" in message and f"ftp run {run / 'run.toml'} --out {run}-anew" in message
    assert (run / "log.jsonl").read_text().count('"event": "step"') == 1  # nothing else of it is lost


def test_weights_and_results_are_never_written_over_and_damaged_ones_made_again(
    line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same size, or still there, is not whole. The card of a model is the user's to edit."""
    run = tmp_path / "run"
    assert call(line("--no-verify")) == 0
    whole = (run / "model" / "model.safetensors").read_bytes()
    scores = (run / "scores.json").read_text()

    (run / "model" / "README.md").write_text("# Mine\n")
    os.utime(run / "model" / "model.safetensors")  # another time, the same content
    assert call(["predict", str(run), "a text"]) == 0

    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "test.jsonl").write_text('{"text": "a warm room"}\n')
    read = ["--input", str(folder)]
    for target, words, message in (
        (folder / "test.jsonl", read, "is a file of the folder that --input names"),
        (run / "predictions" / "validation.jsonl", read, "this is a file of the run"),
        (folder / "test.jsonl" / "x.csv", ["a text"], "name another place with --output"),
    ):
        capsys.readouterr()
        before = target.read_bytes() if target.is_file() else None
        assert call(["predict", str(run), *words, "--output", str(target)]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
        assert before is None or target.read_bytes() == before

    (run / "model" / "model.safetensors").write_bytes(whole[:-64] + bytes(64))
    (run / "scores.json").write_text(scores[: len(scores) // 2])
    capsys.readouterr()
    assert call(["predict", str(run), "a text"]) == 2
    assert "model/model.safetensors is missing or damaged" in capsys.readouterr().err
    assert call(["run", "--resume", str(run)]) == 0
    output = capsys.readouterr()
    assert "model/model.safetensors, scores.json is missing or damaged" in " ".join((output.out + output.err).split())
    assert (run / "model" / "model.safetensors").read_bytes() == whole and (run / "scores.json").read_text() == scores


def test_a_file_of_any_column_type_is_answered_or_told(line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(line("--no-verify")) == 0
    files = {"null.jsonl": '{"text": "a warm room"}\n{"text": null}\n', "list.jsonl": '{"text": ["a"]}\n',
             "digits.csv": "text\n1000\n1001\n", "flags.jsonl": '{"text": true}\n', "empty.jsonl": '{"text": ""}\n'}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    words = ["predict", str(tmp_path / "run"), "--output", str(tmp_path / "out.csv")]
    status = {name: call([*words, "--input", str(tmp_path / name)]) for name in files}
    assert status == {"null.jsonl": 2, "list.jsonl": 2, "digits.csv": 0, "flags.jsonl": 0, "empty.jsonl": 0}
    message = capsys.readouterr().err
    assert "row 1 has no text" in message and "row 0 holds a list in text" in message and "Traceback" not in message
    for row in ({"text": 1000}, {"text": "1000"}):
        assert ftp.load(tmp_path / "run").predict([row])[0]["answer"] in ("good", "bad")
    (tmp_path / "scored.csv").write_text("text,label\n1000,good\n1001,bad\n")
    assert call(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "scored.csv")]) == 0


def test_joined_labels_are_the_classes_of_all_that_follows(line: Line, tmp_path: Path) -> None:
    rows = [{"text": f"a warm room {number}", "label": ["bad", "good", "Good", "bad "][number % 4]} for number in range(24)]
    rows += [{"text": "a room", "label": "good"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call(line("--no-verify", "--join-labels")) == 0
    run = tmp_path / "run"
    config = json.loads((run / "model" / "config.json").read_text())
    assert set(config["id2label"].values()) == {"bad", "good"}
    assert ftp.load(run).predict(["a cold room"])[0]["answer"] in ("bad", "good")
    (tmp_path / "other.csv").write_text("text,label\na room,GOOD\na warm room,bad\n")
    assert call(["evaluate", str(run), "--data", str(tmp_path / "other.csv")]) == 0


def test_evaluate_joins_labels_where_it_is_asked_to(line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(line("--no-verify")) == 0
    (tmp_path / "other.csv").write_text("text,label\na room,GOOD\na warm room,bad\n")
    words = ["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "other.csv")]
    assert call(words) == 2 and "try: --join-labels" in capsys.readouterr().err
    assert call([*words, "--join-labels"]) == 0
