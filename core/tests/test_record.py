"""The run folder: who may write in it, the log, files written whole or not at all; and what is shown of it."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftp import UserError, report
from ftp.folder import claim, files, listing, marker, paths, state, writing
from ftp.folder.checkpoints import checkpoint_path
from ftp.folder.claim import release
from ftp.folder.files import Folder
from ftp.folder.log import Log
from ftp.folder.writing import plain
from ftp.host import terminal
from ftp.report import comparison, outcome, progress
from ftp.report.numbers import format_duration
from ftp.types import Baseline, Risk, Score

# --- the log ---


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / "log.jsonl").read_text().splitlines()]


def test_an_event_is_one_line_of_json_at_once(tmp_path: Path) -> None:
    log = Log(tmp_path, writer=True)
    log.event("step", step=3, loss=np.float32(0.5), count=np.int64(2), name="a\nb")
    log.event("saved", path=tmp_path)
    first, second = lines(tmp_path)
    assert (first["event"], first["step"], first["loss"], first["count"], first["name"]) == ("step", 3, 0.5, 2, "a\nb")
    assert second["step"] == 3 and second["path"] == str(tmp_path)  # the step of the event before
    assert log.lines == [first, second] and abs(first["time"] - time.time()) < 60


def test_tensors_become_numbers(tmp_path: Path) -> None:
    import torch

    log = Log(tmp_path, writer=True)
    log.event("step", step=1, loss=torch.tensor(0.25, requires_grad=True), norms=torch.ones(2, dtype=torch.bfloat16))
    assert lines(tmp_path)[0]["loss"] == 0.25 and lines(tmp_path)[0]["norms"] == [1.0, 1.0]


def test_numbers_that_are_not_finite_leave_valid_json(tmp_path: Path) -> None:
    Log(tmp_path, writer=True).event("step", step=1, loss=math.nan, grad_norm=np.float32("inf"), fine=1.0)
    line = lines(tmp_path)[0]
    assert line["loss"] is None and line["grad_norm"] is None and line["fine"] == 1.0
    assert line["not_finite"] == {"loss": "nan", "grad_norm": "inf"}


def test_the_same_word_is_told_once(tmp_path: Path) -> None:
    class Shown:
        messages: list[str] = []

        def event(self, name: str, values: Any) -> None: ...

        def tell(self, message: str) -> None:
            self.messages.append(message)

    log = Log(tmp_path, writer=True, display=Shown())
    log.tell("cut 3 rows")
    log.tell("cut 3 rows")
    assert Shown.messages == ["cut 3 rows"] and [line["message"] for line in lines(tmp_path)] == ["cut 3 rows"]


def test_only_the_writer_writes_and_all_remember(tmp_path: Path) -> None:
    log = Log(tmp_path, writer=False)
    log.event("step", step=1, loss=1.0)
    assert not (tmp_path / "log.jsonl").exists() and len(log.lines) == 1


def test_going_back_to_a_step_takes_up_what_was_before(tmp_path: Path) -> None:
    log = Log(tmp_path, writer=True)
    for step in range(1, 6):
        log.event("step", step=step, loss=float(step))
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "step", "st')  # a kill in the middle of a line
    again = Log(tmp_path, writer=True)
    again.truncate(3)
    again.event("step", step=4, loss=40.0)
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]
    assert again.lines == lines(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_in_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftp.folder.log.require_no_link", lambda path: None)  # a link is how a test gets a full file
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full"):
        Log(tmp_path, writer=True).event("step", step=1, loss=1.0)


# --- files ---


def test_a_limit_of_the_size_of_files_is_no_full_disk(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError) as caught:
            Folder(tmp_path).write_recipe("x" * 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "larger than this process may write" in str(caught.value) and "full" not in str(caught.value)


def test_a_write_that_fails_leaves_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing.write_json(tmp_path / "a.json", {"x": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        writing.write_json(tmp_path / "a.json", {"x": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    scores = [Score("accuracy", 0.75, "max", "test", 8)]
    baselines = [Baseline("majority class", "accuracy", 0.5, "test", 8)]
    risks = [Risk("gap", "warn", "found", {"steps": np.array([1, 2]), "worst": np.float64("nan")}, ("do this",), "end")]
    folder.write_scores(scores, baselines)
    folder.write_risks(risks)
    folder.write_facts(status="running", trained=np.int64(7))
    folder.write_facts(status="finished")
    assert folder.read_scores() == (scores, baselines)
    assert json.loads((tmp_path / "scores.json").read_text()) == {
        "scores": [{"name": "accuracy", "value": 0.75, "goal": "max", "split": "test", "n": 8}],
        "baselines": [{"baseline": "majority class", "name": "accuracy", "value": 0.5, "split": "test", "n": 8, "low": None,
                       "high": None}]}
    assert list(json.loads((tmp_path / "risks.json").read_text())[0]) == [
        "name", "level", "stage", "finding", "evidence", "advice"]
    assert folder.read_risks() == [Risk("gap", "warn", "found", {"steps": [1, 2], "worst": None}, ("do this",), "end")]
    assert folder.read_facts() == {"status": "finished", "trained": 7}


def test_a_score_that_is_not_finite_survives(tmp_path: Path) -> None:
    Folder(tmp_path).write_scores([Score("f1", math.nan)], [])
    assert math.isnan(Folder(tmp_path).read_scores()[0][0].value)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        Folder(tmp_path).read_scores()


def test_what_changed_since_a_run_was_started(tmp_path: Path) -> None:
    before = [{"name": "a", "distribution": "ftp-a", "version": "1", "sha256": "x"},
              {"name": "b", "distribution": "ftp-b", "version": "1", "sha256": "y"}]
    Folder(tmp_path).write_lock(before)
    assert Folder(tmp_path).changed(before) == []
    now = [{**before[0], "version": "2"}, {**before[1], "sha256": "z"}, {**before[1], "name": "c"}]
    assert Folder(tmp_path).changed(now) == ["plugin a changed: 1 -> 2", "plugin b 1: its source changed", "plugin c was added"]


def test_plain_says_what_json_can() -> None:
    assert plain({"a": (1, {2}), "b": np.bool_(True), "c": Path("x"), 3: [math.inf]}) == {
        "a": [1, [2]], "b": True, "c": "x", "3": [None]}


# --- claiming a folder ---


def refusal(*arguments: Any, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        claim.claim(*arguments, **more)
    return str(caught.value)


def test_without_a_name_the_next_number_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["lora", "sentiment", "-gap"]
    assert claim.claim(None, names) == Path("runs/lora-sentiment-1")
    assert claim.claim(None, names) == Path("runs/lora-sentiment-2")
    assert claim.claim(None, ["lora"]) == Path("runs/lora-1")
    for path in list(Path("runs").iterdir()):
        release(path)
        assert [entry.name for entry in path.iterdir()] == [marker.NAME]
        (path / marker.NAME).unlink()
        path.rmdir()
    (tmp_path / "runs").rmdir()
    (tmp_path / "runs").write_text("a file")
    assert "runs: cannot be made" in refusal(None, names)


def test_folders_that_cannot_be_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "there is a file of that name" in refusal(tmp_path / "file", [])
    assert "cannot be made" in refusal(tmp_path / "file" / "inner", [])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    assert "not empty, and what it holds is not a run" in refusal(tmp_path / "full", [])
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["thesis.txt"]  # untouched
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.toml").write_text("")
    text = refusal(tmp_path / "run", [])
    assert "already holds a run" in text and f"ftp run --resume {tmp_path / 'run'}" in text and "--out" in text


def test_a_run_that_stopped_before_its_first_update_is_replaced(tmp_path: Path) -> None:
    def stopped(name: str, status: str = "stopped") -> Path:
        path = claim.claim(tmp_path / name, [])
        (path / "tokenizer").mkdir()
        marker.add(path, ["tokenizer/vocab.json"])
        for file in ("tokenizer/vocab.json", "letter.txt"):
            (path / file).write_text("")
        Log(path, writer=True).event("told", step=0)
        Folder(path).write_recipe("")
        Folder(path).write_inputs({})
        Folder(path).write_facts(id=files.run_id(path), status=status)
        release(path)
        return path

    notes: list[str] = []
    path = stopped("mistaken")
    assert claim.claim(path, [], notes=notes) == path
    assert sorted(file.name for file in path.iterdir()) == [".ftp.json", ".lock", "letter.txt"]  # what is not the run's stays
    release(path)
    assert len(notes) == 1 and "before its first update is replaced" in notes[0]
    assert notes[0].endswith("removed: tokenizer/vocab.json, log.jsonl, run.toml, inputs.json, run.json")
    saved = checkpoint_path(Path("checkpoints"), 3) / "manifest.json"
    for name, left in (("updated", "log.jsonl"), ("saved", saved), ("done", "model/config.json")):
        path = stopped(name)
        (path / left).parent.mkdir(parents=True, exist_ok=True)
        (path / left).write_text('{"event": "step", "step": 5}\n')
        assert f"ftp run --resume {path}" in refusal(path, []) and (path / "run.toml").exists()
    assert "ftp run --resume" in refusal(stopped("broken-off", "running"), [])  # killed: perhaps by no mistake at all
    text = refusal(stopped("finished", "finished"), [])
    assert "is finished" in text and "--resume" not in text


def test_what_ftp_did_not_write_is_never_replaced(tmp_path: Path) -> None:
    """A status in a run.json makes no run, and a marker does not make another's files ftp's."""
    theirs = tmp_path / "theirs"
    for name in ("checkpoints/epoch-9.ckpt", "predictions/thesis.csv", "tokenizer/vocab.txt", "data.json", "run.json"):
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / name).write_text('{"status": "failed"}')
    before = marker.files_in(theirs, ".")
    assert "the folder is not empty, and what it holds is not a run" in refusal(theirs, [])
    assert marker.files_in(theirs, ".") == before

    ours = claim.claim(tmp_path / "ours", [])
    Folder(ours).write_facts(id="of another run", status="stopped")
    release(ours)
    assert "is missing or of another run" in refusal(ours, [])
    Folder(ours).write_facts(id=files.run_id(ours))
    for name in ("data.json", "tokenizer/vocab.txt", "predictions/thesis.csv"):
        (ours / name).parent.mkdir(exist_ok=True)
        (ours / name).write_text("theirs")
    text = refusal(ours, [])
    assert "write over data.json" in text and "write over tokenizer/vocab.txt" in text and "thesis" not in text
    (ours / "data.json").unlink()
    (ours / "tokenizer" / "vocab.txt").unlink()
    assert claim.claim(ours, []) == ours and (ours / "predictions" / "thesis.csv").read_text() == "theirs"
    release(ours)


def test_a_marker_never_leads_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    for name in ("letter.txt", "outside/letter.txt"):
        (tmp_path / name).write_text("theirs")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "predictions").symlink_to(tmp_path / "outside")
    marker.create(folder)
    marker.add(folder, ["../letter.txt", str(tmp_path / "letter.txt"), "predictions/letter.txt"])
    assert marker.clear(folder) == [] and (tmp_path / "letter.txt").exists() and (tmp_path / "outside/letter.txt").exists()


def test_a_model_that_is_replaced_keeps_what_others_put_into_it(tmp_path: Path) -> None:
    folder = Folder(claim.claim(tmp_path / "run", []))
    for content in ("first", "second"):
        aside = folder.model_aside()
        (aside / "inner").mkdir(parents=True)
        for name in ("weights", "inner/config", *(["old"] if content == "first" else ["taken"])):
            (aside / name).write_text(content)
        sizes = folder.put_model()
        assert sizes["model/weights"] == len(content) and state.damaged_model_files(folder.path) == []
        if content == "first":
            (folder.path / "model" / "mine.gguf").write_text("mine")
            (folder.path / "model" / "taken").write_text("mine")
    assert sorted(path.name for path in (folder.path / "model").iterdir()) == ["inner", "mine.gguf", "taken", "weights"]
    assert (folder.path / "model/weights").read_text() == (folder.path / "model/taken").read_text() == "second"
    assert marker.files_in(folder.path, "model-replaced") == ["model-replaced/taken"]  # a name that the new model needs
    release(folder.path)


def test_a_link_in_a_run_folder_never_leads_what_is_written_elsewhere(tmp_path: Path) -> None:
    """Run folders are sent around: what a link in one leads to is not the sender's."""
    path, outside = claim.claim(tmp_path / "run", []), tmp_path / "outside"
    (path / "run.toml").write_text("")
    claim.release(path)
    outside.mkdir()
    precious, new = outside / "precious", outside / "new"
    precious.write_text("precious, without a line's end")
    folder = Folder(path)

    (path / paths.CLAIM).symlink_to(precious)
    with pytest.raises(UserError, match=r"\.lock is a link to .*precious"):
        claim.claim(path, [], resume=True)
    for target in (precious, new):
        (path / "log.jsonl").symlink_to(target)
        with pytest.raises(UserError, match=r"log\.jsonl is a link to"):
            Log(path, writer=True).event("step", step=1)
        (path / "log.jsonl").unlink()
    (path / "predictions").symlink_to(outside)
    with pytest.raises(UserError, match="predictions is a link to"):
        folder.write_predictions("test", [])
    (path / "scores.json").symlink_to(precious)
    (path / f".risks.json.{os.getpid()}.part").symlink_to(precious)  # the name of a file on its way
    folder.write_scores([], [])
    writing.write_json(path / "risks.json", [])
    assert precious.read_text() == "precious, without a line's end"
    assert [file.name for file in outside.iterdir()] == ["precious"]


def test_what_ftp_did_not_make_stays_where_a_model_is_saved(tmp_path: Path) -> None:
    folder, outside = Folder(claim.claim(tmp_path / "run", [])), tmp_path / "outside"
    outside.mkdir()
    (outside / "weights").write_text("precious")
    aside = folder.path / "model-unverified"

    for make in (aside.mkdir, lambda: aside.symlink_to(outside)):
        make()
        with pytest.raises(UserError, match="model-unverified: nothing says that ftp made this"):
            folder.model_aside()
        aside.unlink() if aside.is_symlink() else aside.rmdir()

    scratch = folder.path / ".verify-notes"
    scratch.mkdir()
    (scratch / "mine.txt").write_text("precious")
    (scratch / "logits.safetensors").write_text("of a proof that was killed")
    folder.model_aside().mkdir()
    assert [path.name for path in scratch.iterdir()] == ["mine.txt"]

    (folder.path / "model").symlink_to(outside)  # moved to a larger disk, for example
    marker.add(folder.path, ["model/weights"])
    folder.put_model()
    assert (outside / "weights").read_text() == "precious" and not (folder.path / "model").is_symlink()
    claim.release(folder.path)


def test_a_page_is_never_written_over_a_file_of_somebody_else(tmp_path: Path) -> None:
    path = claim.claim(tmp_path / "run", [])
    (path / "report.html").write_text("a thesis")
    with pytest.raises(UserError, match="ftp did not write this file"):
        Folder(path).write_report("a page")
    assert (path / "report.html").read_text() == "a thesis"
    (path / "report.html").unlink()
    Folder(path).write_report("a page")
    Folder(path).write_report("another page")
    with pytest.raises(UserError, match="that ftp did not write"):
        report.write_to(path / ".ftp.json", [path])
    release(path)


def test_everything_of_a_model_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, calls = Folder(claim.claim(tmp_path / "run", [])), []
    aside = folder.model_aside()
    (aside / "base_config").mkdir(parents=True)
    for name in ("weights", "base_config/config.json"):
        (aside / name).write_text("x")
    sync, rename = os.fsync, Path.rename

    def fsync(handle: int) -> None:
        calls.append(str(Path(f"/proc/self/fd/{handle}").readlink().relative_to(tmp_path)))
        sync(handle)

    def renamed(path: Path, target: Path) -> Path:
        calls.append(f"rename {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    folder.put_model()
    before, after = calls[: calls.index("rename model")], calls[calls.index("rename model"):]
    for name in ("weights", "base_config/config.json", "base_config", ""):
        assert f"run/model-unverified/{name}".rstrip("/") in before
    assert "run" in after
    release(folder.path)


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)
    text = refusal(tmp_path / "new", [])
    assert "cannot be written (Read-only file system)" in text and "--out" in text


def test_an_empty_folder_is_taken_and_let_go(tmp_path: Path) -> None:
    assert claim.claim(tmp_path, []) == tmp_path
    assert f"process {os.getpid()}" in refusal(tmp_path, [])
    release(tmp_path)
    assert claim.claim(tmp_path, []) == tmp_path
    release(tmp_path)


HOLD = """
import sys, time
from pathlib import Path
from ftp.folder.claim import claim
claim(Path(sys.argv[1]), [])
Path(sys.argv[1], "run.toml").write_text("plugins = []")
print("held", flush=True)
time.sleep(60)
"""


def test_two_runs_in_one_folder_and_a_kill_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        for text in (refusal(folder, []), refusal(folder, [], resume=True)):
            assert "another run is working in this folder" in text and f"process {other.pid}" in text
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert claim.claim(folder, [], resume=True) == folder
    release(folder)


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    assert "there is no such folder" in refusal(tmp_path / "absent", [], resume=True)
    assert "not a run's folder" in refusal(tmp_path, [], resume=True)
    (tmp_path / "run.toml").write_text("plugins = []")
    Folder(tmp_path).write_facts(status="finished")
    message = refusal(tmp_path, [], resume=True)
    assert "but its report.html is missing" in message and "ftp report" in message
    Folder(tmp_path).write_report("a page")
    message = refusal(tmp_path, [], resume=True)
    assert "this run is finished" in message and "missing" not in message


# --- runs, and what is shown of them ---


def make_run(path: Path, accuracy: float) -> Path:
    path.mkdir(parents=True)
    folder = Folder(path)
    folder.write_recipe('plugins = ["lora", "poems"]\n')
    folder.write_facts(status="finished", seconds=61.0, trained=10, total=100)
    folder.write_scores([Score("accuracy", accuracy, "max", "test", 8), Score("accuracy", 0.1, "max", "validation", 8),
                         Score("loss", 0.5, "min", "test", 8)], [Baseline("majority class", "accuracy", 0.5, "test", 8)])
    folder.write_risks([Risk("gap", "warn", "x")])
    return path


def test_runs_are_found_and_compared_on_test_rows(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0.7)
    make_run(tmp_path / "b", 0.8)
    (tmp_path / "notes").mkdir()
    broken = make_run(tmp_path / "c", 0.9)
    (broken / "scores.json").write_text("{")
    runs = {run.path.name: run for run in listing.find(tmp_path)}
    assert set(runs) == {"a", "b", "c"}
    assert runs["b"].held_out["accuracy"].value == 0.8 and runs["b"].plugins == ("lora", "poems")
    assert runs["c"].status == "damaged" and runs["c"].broken
    assert listing.columns(list(runs.values())) == (["accuracy", "loss"], 0)
    assert json.loads(json.dumps(runs["a"].as_json()))["risks"] == {"gap": "warn"}


def test_a_run_whose_process_is_gone_is_told(tmp_path: Path) -> None:
    Folder(make_run(tmp_path / "a", 0.7)).write_facts(status="running")
    assert listing.read(tmp_path / "a").status == "broken off"


def test_the_end_of_a_run_reads_without_colour(tmp_path: Path) -> None:
    stream = io.StringIO()
    outcome.summary(
        terminal.console(stream), out=tmp_path, seconds=125.0, trained=10, total=1000, steps=7,
        scores=[Score("accuracy", 0.75, "max", "test", 8), Score("loss", 0.9, "min", "test", 8)],
        baselines=[Baseline("majority class", "accuracy", 0.5, "test", 8, 0.1, 0.4),
                   Baseline("untuned", "loss", 0.8, "test", 8, -0.15, -0.05)],
        risks=[Risk("fine", "ok", "nothing found"),
               Risk("gap", "warn", "the loss rose [by half]", {"rise": 0.5}, ("stop sooner",))])
    text = stream.getvalue()
    assert "\x1b" not in text
    assert text.index("WARN") < text.index("fine")  # the worst first
    for words in ("the loss rose [by half]", "rise: 0.5", "stop sooner", "accuracy", "majority class", "0.7500", "yes", "NO",
                  "trained  10 of 1,000 parameters (1.00%), 7 updates, 2:05",
                  f"{tmp_path}/model", f'ftp predict {tmp_path} "a text"'):
        assert words in text


def test_plain_progress_is_not_one_line_a_step() -> None:
    stream = io.StringIO()
    log = Log(None, writer=True, display=progress.Live(device="cpu, bf16", stream=stream))
    log.event("stage", doing="training")
    log.event("started", step=0, total=1000)
    for step in range(1, 1001):
        log.event("step", step=step, loss=1 / step, learning_rate=1e-4, tokens_per_second=1234.5)
    log.event("evaluation", step=1000, validation_loss=0.25, accuracy=0.5)
    log.tell("a word")
    printed = stream.getvalue().splitlines()
    assert printed[0] == "training" and printed[-1] == "a word"
    assert "evaluation after update 1000  validation loss 0.2500  accuracy 0.5000" in printed
    steps = [line for line in printed if line.startswith("update")]
    assert 2 <= len(steps) < 20 and "update 1000 of 1000" in steps[-1]
    assert "loss 1.0000  lr 1.0e-04  1,234 tokens/s" in steps[0] and steps[0].endswith("cpu, bf16")


def test_live_progress_on_a_terminal_ends_cleanly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with progress.Live(device="cpu", stream=stream) as live:
        live.event("stage", {"doing": "reading"})
        live.event("started", {"step": 0, "total": 4})
        live.event("step", {"step": 2, "loss": 0.5})
        live.tell("a word [not markup]")
    assert "a word [not markup]" in stream.getvalue() and "update 2 of 4" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in stream.getvalue()[-40:]  # the cursor is back
    assert not progress._open


@pytest.mark.parametrize(("seconds", "text"), [(8.26, "8.3 s"), (125, "2:05"), (3725, "1:02:05")])
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


DAMAGES: dict[str, dict[str, bytes]] = {
    "empty": {"run.json": b""},
    "binary": {"run.json": bytes(range(256)), "scores.json": b"\xff\xfe\x00"},
    "list": {"run.json": b"[1, 2]"},
    "number": {"run.json": b"5", "scores.json": b"7"},
    "deep": {"run.json": b"[" * 100_000},
    "status": {"run.json": b'{"status": {"a": 1}, "seconds": "long", "trained": [1]}'},
    "value": {"scores.json": b'{"scores": [{"name": "f1", "value": "high"}], "baselines": []}'},
    "name": {"scores.json": b'{"scores": [{"name": ["f1"], "value": 1.0}], "baselines": []}'},
    "split": {"scores.json": b'{"scores": [{"name": "f1", "value": 1.0, "split": 3}], "baselines": []}'},
    "goal": {"scores.json": b'{"scores": [{"name": "f1", "value": 1.0, "split": "test", "goal": ["max"]}], "baselines": []}'},
    "field": {"scores.json": b'{"scores": [{"name": "f1", "colour": 1.0}], "baselines": []}'},
    "level": {"risks.json": b'[{"name": "gap", "level": ["stop"], "finding": "x", "advice": []}]'},
    "risk": {"risks.json": b'["gap"]'},
    "plugins": {"run.toml": b"plugins = [1, 2]\n"},
    "toml": {"run.toml": b"plugins = [\x00"},
    "latin": {"run.toml": "plugins = ['é']".encode("latin-1")},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_never_keeps_other_runs_from_the_list(tmp_path: Path, damage: str) -> None:
    from click.testing import CliRunner

    from ftp.cli.runs import command

    for name in ("whole", "hurt"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "run.toml").write_text('plugins = ["lora"]\n')
        (folder / "run.json").write_text('{"status": "finished", "seconds": 1.5, "trained": 7}')
        (folder / "scores.json").write_text(
            '{"scores": [{"name": "accuracy", "value": 0.75, "goal": "max", "split": "test", "n": 4}], "baselines": []}')
    for name, content in DAMAGES[damage].items():
        (tmp_path / "hurt" / name).write_bytes(content)
    output = CliRunner().invoke(command, [str(tmp_path)], catch_exceptions=False, env={"COLUMNS": "200"}).output
    assert "0.75" in output and "finished" in output and "damaged" in output and str(tmp_path / "hurt") in output
    listed = json.loads(CliRunner().invoke(command, [str(tmp_path), "--json"], catch_exceptions=False).output)
    assert {Path(run["run"]).name: run["status"] for run in listed} == {"whole": "finished", "hurt": "damaged"}
    assert "hurt" not in (listed[0] if listed[0]["status"] == "finished" else listed[1])


def test_a_level_of_another_version_is_no_damage(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 0.75)
    (run / "risks.json").write_text('[{"name": "gap", "level": "grave", "finding": "x", "advice": []}]')
    assert [risk.level for risk in listing.read(run).risks] == ["grave"]


def test_files_that_are_folders_or_unreadable_are_told_in_the_list(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "run.json").mkdir(parents=True)
    assert [run.status for run in listing.find(tmp_path)] == ["damaged", "damaged"]


@pytest.mark.parametrize(("value", "baselines", "word"), [
    (0.75, [(0.5, 0.1, 0.4)], "yes"),
    (0.75, [(0.74, -0.05, 0.07)], "no difference"),
    (0.75, [(0.75, 0.0, 0.0)], "no difference"),
    (0.75, [(0.9, -0.2, -0.1), (0.5, 0.1, 0.4)], "no"),
    (0.75, [(0.7, 0.01, 0.09), (0.5, None, None)], "yes"),  # the strongest was tested
    (0.75, [(0.9, -0.2, 0.1), (0.5, 0.1, 0.4)], "no difference"),
    (0.75, [(0.5, None, None)], "ahead"),  # a run of before, or a score that took too long
    (0.75, [(0.5, None, None), (0.8, None, None)], "behind"),
])
def test_beats_them_only_beyond_chance(
    value: float, baselines: list[tuple[float, float | None, float | None]], word: str
) -> None:
    others = []
    for number, (other, low, high) in enumerate(baselines):
        others.append(Baseline(f"b{number}", "accuracy", other, "test", 8, low, high))
    (line,) = comparison.compare([Score("accuracy", value, "max", "test", 8)], others)
    assert line.beats == word
    # the same where lower is better
    lower = [Baseline(other.baseline, "loss", -other.value, "test", 8, other.low, other.high) for other in others]
    (line,) = comparison.compare([Score("loss", -value, "min", "test", 8)], lower)
    assert line.beats == word
