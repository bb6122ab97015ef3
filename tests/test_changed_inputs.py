"""A run that is resumed goes on with the recipe, the rows and the base model that it began with, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import ftp
from ftp.cli.main import call
from ftp.folder.checkpoints import checkpoint_path, checkpoints_in
from ftp.folder.files import Folder
from ftp.folder.log import read_log
from ftp.train import checkpoint

HALT = '''
import os
from ftp import hookimpl, plugin

@plugin
class Halt:
    """Ctrl-C at the event that the file `when` names."""

    @hookimpl
    def on_event(self, event):
        if os.path.exists("when") and open("when").read() == f"{type(event).__name__} {event.step}":
            raise KeyboardInterrupt
'''
Resume = Callable[..., str]


def write(folder: Path, flipped: str = "") -> None:
    """Three splits; the labels of one of them may be the other way round."""
    folder.mkdir(exist_ok=True)
    for split, count in (("train", 24), ("validation", 6), ("test", 6)):
        rows = [{"text": f"{split} {number}: a warm room", "label": (number + (split == flipped)) % 2} for number in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def resume(tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Resume:
    """Begin a run that is interrupted after its second update, or (`early`) before its first; change something; resume it."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows")
    shutil.copytree(tiny_bert, tmp_path / "base")
    (tmp_path / "halt.py").write_text(HALT)

    def run(
        change: Callable[[], Any], *more: str, status: int = 2, early: bool = False, words: Sequence[str] = ()
    ) -> str:
        (tmp_path / "when").write_text("Started 0" if early else "Saved 2")
        command = [
            "run", "--plugins=full,sentiment,-leakage,-underfitting,-overfitting", "--plugins-from", "halt.py:Halt",
            "--data", "rows", "--model", "base", "--out", "run", "--cache-dir", "cache",
            "--device", "cpu", "--precision", "fp32", "--max-steps", "4", "--save-steps", "2", "--batch-size", "8",
            "--no-baselines", "--no-verify", "--no-report"]
        assert call([*command, *more]) == 130
        assert checkpoint.any_in(tmp_path / "run" / "checkpoints") is not early
        (tmp_path / "when").unlink()
        capsys.readouterr()
        change()
        ended_with = call(["run", "--resume", "run", *words])
        output = capsys.readouterr()
        assert ended_with == status, output.err
        return " ".join((output.out + output.err).split())

    return run


def other_weights() -> None:
    """One number of many, in place."""
    weights = load_file("base/model.safetensors")
    next(iter(weights.values())).view(-1)[7] += 1
    save_file(weights, "base/model.safetensors", metadata={"format": "pt"})


def test_what_is_the_same_goes_on(resume: Resume) -> None:
    message = resume(lambda: write(Path("rows")), status=0)  # written anew, with the same rows
    assert "going on after update 2 of 4" in message and "not checked" not in message


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_other_rows_are_refused(resume: Resume, split: str) -> None:
    message = resume(lambda: write(Path("rows"), flipped=split))
    assert f"the rows of {split} changed since this run began" in message and "--out" in message and "run.toml" in message


def test_another_base_model_is_refused(resume: Resume) -> None:
    assert "the base model (model.safetensors) changed since this run began" in resume(other_weights)


def test_the_command_that_is_told_starts_afresh(resume: Resume, tmp_path: Path) -> None:
    message = resume(other_weights)
    words = message.partition("try: ftp ")[2].split()
    assert call(words) == 0 and (tmp_path / "run-anew" / "scores.json").exists()


def test_nothing_was_learnt_from_what_changed_before_the_first_checkpoint(resume: Resume) -> None:
    def change() -> None:
        write(Path("rows"), flipped="train")
        other_weights()

    assert "training begins anew" in resume(change, early=True, status=0)


def test_a_stream_is_told_and_the_other_splits_are_compared(resume: Resume) -> None:
    message = resume(lambda: write(Path("rows"), flipped="test"), "--streaming")
    assert "train is a stream: whether its rows are those that the run began with is not checked" in message
    assert "the rows of test changed" in message


# --- the recipe ---


def edit(*pairs: tuple[str, str]) -> Callable[[], None]:
    """Change run.toml of the stopped run by hand."""

    def change() -> None:
        recipe = Path("run/run.toml")
        text = recipe.read_text()
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new, 1)
        recipe.write_text(text)

    return change


def facts() -> dict[str, Any]:
    return dict(json.loads(Path("run/run.json").read_text()))


def nothing() -> None:
    """Nobody touches the folder."""


EDITS = {
    "learning_rate = 5e-05": ("learning_rate = 0.5", "learning_rate: 5e-05 -> 0.5"),
    "batch_size = 8": ("batch_size = 4", "batch_size: 8 -> 4"),
    "# max_length =": ("max_length = 16", "max_length: none -> 16"),
    'lr_scheduler_type = "linear"': ('lr_scheduler_type = "cosine"', "lr_scheduler_type: linear -> cosine"),
    "seed = 0": ("seed = 1", "seed: 0 -> 1"),
    "max_steps = 4": ("max_steps = 3", "max_steps: 4 -> 3"),
    '"-leakage", ': ("", "plugins: full,sentiment,-leakage,-underfitting,-overfitting -> full,sentiment,"),
    '/rows"': ('/other"', "data: "),
    "save_steps = 2": ("save_steps = 1", "save_steps: 2 -> 1"),
}


def test_an_edited_recipe_is_refused_by_name(resume: Resume, capsys: pytest.CaptureFixture[str]) -> None:
    message = resume(edit(("seed = 0", "seed = 1"), ("batch_size = 8", "batch_size = 4")))
    assert "batch_size: 8 -> 4; seed: 0 -> 1" in message  # all at once
    for old, (new, difference) in EDITS.items():
        shutil.copy("run/began.toml", "run/run.toml")
        edit((old, new))()
        assert call(["run", "--resume", "run"]) == 2
        message = " ".join(capsys.readouterr().err.split())
        assert "run.toml was changed since this run began" in message and difference in message, message
        assert "cp run/began.toml run/run.toml" in message and "try: ftp run run/run.toml --out run-anew" in message
        assert ("taken with: ftp run --resume run --resume-with save_steps=1" in message) == difference.startswith("save_steps")
    shutil.copy("run/began.toml", "run/run.toml")
    assert call(["run", "--resume", "run"]) == 0


def test_comments_and_order_are_no_change(resume: Resume) -> None:
    def change() -> None:
        lines = Path("run/run.toml").read_text().splitlines()
        first_table = next(index for index, line in enumerate(lines) if line.startswith("["))
        top = [line for line in lines[:first_table] if line]
        rest = lines[len(top):]
        text = "\n".join(["# mine", *reversed(top), "", *rest])
        Path("run/run.toml").write_text(text.replace("seed = 0", "seed = 0x0"))  # the same number, spelt otherwise

    assert "going on after update 2 of 4" in resume(change, status=0)


@pytest.mark.parametrize("words", [("--resume-with", "save_steps=1", "--resume-with", "verify=true"),
                                   ("--save-steps", "1", "--verify")])
def test_harmless_changes_are_taken_and_written_down(resume: Resume, words: Sequence[str]) -> None:
    message = resume(nothing, status=0, words=words)
    assert "save_steps: 2 -> 1: changed at this resume" in message and "verify: false -> true: changed at this resume" in message
    assert [(change["key"], change["old"], change["new"]) for change in facts()["changes"]] == [
        ("save_steps", 2, 1), ("verify", False, True)]
    assert facts()["verified"] is True and "save_steps = 1" in Path("run/run.toml").read_text()
    assert "save_steps = 2" in Path("run/began.toml").read_text()
    lines = read_log(Path("run/log.jsonl"))
    assert [line["step"] for line in lines if line["event"] == "saved"] == [0, 2, 3, 4]
    (resumed,) = (line for line in lines if line["event"] == "resumed")
    assert {change["key"] for change in resumed["changes"]} == {"save_steps", "verify"}


def test_a_change_that_was_taken_holds_at_the_next_resume(resume: Resume, tmp_path: Path) -> None:
    resume(lambda: Path("when").write_text("Saved 3"), status=130, words=("--save-steps", "1"))
    Path("when").unlink()
    assert call(["run", "--resume", "run"]) == 0
    assert len(facts()["changes"]) == 1 and len(facts()["resumes"]) == 2
    origins = [checkpoint.origin(path) for path in checkpoints_in(Path("run/checkpoints"))]
    assert {origin["run"] for origin in origins} == {facts()["id"]}
    assert origins[-1]["recipe"] == facts()["recipe"] != facts()["began"]


def test_an_edit_that_is_asked_for_is_taken(resume: Resume) -> None:
    resume(edit(("save_steps = 2", "save_steps = 1")), status=0, words=("--resume-with", "save_steps=1"))


REFUSED = {
    ("--learning-rate", "0.5"): "--learning_rate cannot be given with it",
    ("--resume-with", "seed=3"): "--seed cannot be given with it",
    ("--resume-with", "full.nothing=3"): "--full.nothing cannot be given with it",
    ("--plugins", "lora,sentiment"): "--plugins cannot be given with it",
    ("--resume-with", "save_steps"): "--resume-with save_steps: not KEY=VALUE",
    ("--max-steps", "3"): "max_steps: 4 -> 3 cannot be changed: it may only grow (it is 4)",
    ("--epochs", "1", "--save-steps", "1"): "epochs: 10.0 -> 1.0 cannot be changed: it may only grow (it is 10.0)",
}


def test_what_would_make_another_run_is_refused_by_name(resume: Resume, capsys: pytest.CaptureFixture[str]) -> None:
    resume(nothing, words=("--seed", "1"))
    before = Path("run/run.toml").read_text()
    for words, refusal in REFUSED.items():
        assert call(["run", "--resume", "run", *words]) == 2
        message = " ".join(capsys.readouterr().err.split())
        assert refusal in message and "Traceback" not in message, message
        assert "--save-steps" in message or "KEY=VALUE" in message  # what may be given is listed
    assert Path("run/run.toml").read_text() == before


def test_a_longer_run_is_taken(resume: Resume) -> None:
    message = resume(nothing, status=0, words=("--max-steps", "6"))
    assert "max_steps: 4 -> 6: changed at this resume; the learning rate of what is left follows the new end" in message
    assert facts()["steps"] == 6


def test_a_run_that_learnt_nothing_yet_takes_any_edit_and_says_so(resume: Resume) -> None:
    message = resume(edit(("batch_size = 8", "batch_size = 4")), status=0, early=True)
    assert "batch_size: 8 -> 4: changed at this resume" in message
    assert "batch_size = 4" in Path("run/began.toml").read_text()


def test_a_recipe_whose_record_is_lost_is_known_by_the_checkpoints(resume: Resume) -> None:
    def change() -> None:
        edit(("learning_rate = 5e-05", "learning_rate = 0.5"))()
        Path("run/began.toml").unlink()
        Path("run/run.json").unlink()

    message = resume(change)
    assert "began.toml is missing or damaged, and run.toml is not the recipe that the run was made with" in message
    edit(("learning_rate = 0.5", "learning_rate = 5e-05"))()
    assert call(["run", "--resume", "run"]) == 0


DAMAGED_RECORDS = {
    "began.toml": (b"plugins = 5\n", b"seed = 5\n", b"[[[", b"\xff\xfe\x00"),
    "run.json": (b"null", b"3", b"[]", b'{"changes": null}', b'{"status": [1]}'),
}


def test_a_damaged_record_is_told_or_not_needed(resume: Resume, capsys: pytest.CaptureFixture[str]) -> None:
    """began.toml is needed only where run.toml is not what its hash says; run.json is named where it cannot be read."""
    resume(edit(("seed = 0", "seed = 1")))
    for content in DAMAGED_RECORDS["began.toml"]:
        Path("run/began.toml").write_bytes(content)
        assert call(["run", "--resume", "run"]) == 2
        message = " ".join(capsys.readouterr().err.split())
        assert "began.toml is missing or damaged, and run.toml is not the recipe that the run was made with" in message, message
    edit(("seed = 1", "seed = 0"))()
    shutil.copy("run/run.toml", "run/began.toml")
    whole = json.loads(Path("run/run.json").read_text())
    for damaged in (*DAMAGED_RECORDS["run.json"], json.dumps({**whole, "recipe": "?", "changes": [{"key": 1}]}).encode()):
        Path("run/run.json").write_bytes(damaged)
        assert call(["run", "--resume", "run"]) == 2
        assert "run/run.json" in capsys.readouterr().err
    Path("run/run.json").write_text(json.dumps(whole))
    assert call(["run", "--resume", "run"]) == 0


@pytest.mark.parametrize("text", ["[[[", None])
def test_a_damaged_recipe_is_told_with_how_to_put_it_back(resume: Resume, text: str | None) -> None:
    def change() -> None:
        Path("run/run.toml").unlink()
        if text is not None:
            Path("run/run.toml").write_text(text)

    assert "try: cp run/began.toml run/run.toml" in resume(change)


def test_a_checkpoint_of_another_run_is_not_taken(resume: Resume, tiny_bert: Path) -> None:
    def change() -> None:
        copied = checkpoint_path(Path("run/checkpoints"), 3)
        shutil.copytree(checkpoint_path(copied.parent, 2), copied)
        manifest = copied / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"step": 2', '"step": 3').replace(facts()["id"], "0" * 32))

    message = resume(change, status=0)
    assert f"checkpoint {checkpoint_path(Path(), 3)} is damaged (it is of another run) and was skipped" in message
    assert "going on after update 2 of 4" in message


def test_another_machine_is_told(resume: Resume) -> None:
    def change() -> None:
        Folder(Path("run")).write_facts(threads=64, device_kind="cuda", precision="bf16", processes=4)

    message = resume(change, status=0)
    for words in ("the number of threads was 64 before this resume, and is", "the kind of device was cuda",
                  "the precision was bf16 before this resume, and is fp32 now", "the number of processes was 4"):
        assert words in message
    assert len(facts()["resumes"][0]["differences"]) == 4


# --- the base under an adapter ---


def test_a_base_that_changed_under_an_adapter_is_refused_by_every_command(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows")
    shutil.copytree(tiny_bert, tmp_path / "base")
    command = [
        "run", "--plugins=lora,sentiment,-leakage,-underfitting,-overfitting", "--data", "rows", "--model", "base",
        "--out", "run", "--cache-dir", "cache", "--device", "cpu", "--precision", "fp32", "--max-steps", "1",
        "--no-baselines", "--no-verify", "--no-report"]
    assert call(command) == 0
    commands = [
        ["predict", "run", "a warm room"],
        ["evaluate", "run", "--data", "rows"],
        ["merge", "run", "--out", "merged"],
        ["export", "run", "--to", "safetensors", "--out", "exported"],
    ]

    shutil.copytree("base", "moved")  # the same content under another time and place on the disk is the same base
    shutil.rmtree("base")
    shutil.move("moved", "base")
    (tmp_path / "base" / "tokenizer_config.json").touch()
    assert call(commands[0]) == 0
    capsys.readouterr()

    before = Path("base/model.safetensors").stat()
    other_weights()
    os.utime("base/model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))  # a time that was set back fools nobody
    for words in commands:
        assert call(words) == 2, words
        message = " ".join(capsys.readouterr().err.split())
        assert "the base model that this was trained on has changed since (model.safetensors in" in message
        assert "--allow-changed-base" in message
    with pytest.raises(ftp.UserError, match="has changed since"):
        ftp.load("run")
    assert not Path("merged").exists() and not Path("exported").exists()
    for words in commands:
        assert call([*words, "--allow-changed-base"]) == 0, words
    assert ftp.load("run", allow_changed_base=True).predict("a warm room")

    Path("base/extra.safetensors").write_bytes(Path("base/model.safetensors").read_bytes())
    capsys.readouterr()
    assert call(commands[0]) == 2 and "extra.safetensors, which was added" in " ".join(capsys.readouterr().err.split())
