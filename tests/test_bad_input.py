"""What goes wrong outside of ftp, through the whole command: exit status 2, a sentence that says what would be right, and no
traceback. (A disk that is full and two runs in one folder at once: test_resume.py, core/tests/test_record.py.)"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftp.cli.main import call

GOOD = [{"text": f"a warm room {n}", "label": n % 2} for n in range(24)]
RISKS = ",-leakage,-underfitting,-overfitting"
Told = Callable[..., str]


@pytest.fixture
def told(tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Run `ftp run` on rows (or on what lies at `data`) and give what it said, with its lines joined."""

    def run(rows: Any = GOOD, *more: Any, status: int = 2, data: Path | None = None, model: Path = tiny_bert,
            out: Path = tmp_path / "run", plugins: str = "full,sentiment") -> str:
        if data is None:
            data = tmp_path / "rows.jsonl"
            data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = ["run", f"--plugins={plugins}{RISKS}", "--data", data, "--model", model, "--out", out,
                 "--device", "cpu", "--precision", "fp32", "--max-steps", 2, "--no-baselines", "--no-verify", "--no-report",
                 "--cache-dir", tmp_path / "cache", *more]
        got = call([str(word) for word in given])
        said = capsys.readouterr()
        text = " ".join((said.out + said.err).split())
        assert got == status and "Traceback" not in text, text
        return text

    return run


def test_good_rows_run(told: Told) -> None:
    told(status=0)


def test_an_empty_file(told: Told, tmp_path: Path) -> None:
    for name in ("empty.csv", "empty.jsonl", "empty.txt"):
        (tmp_path / name).write_text("")
        assert "empty" in told(data=tmp_path / name) or "no rows" in told(data=tmp_path / name)


def test_a_missing_column(told: Told) -> None:
    said = told([{"written": row["text"], "label": row["label"]} for row in GOOD])
    assert "its columns are written, label" in said and "--columns text=written" in said


@pytest.mark.parametrize("plugins", ["full,sft,chat", "full,dpo,chat"])
def test_a_message_without_text(told: Told, plugins: str) -> None:
    asked, said, null = ([{"role": role, "content": text}] for role, text in
                         (("user", "Why?"), ("assistant", "So."), ("assistant", None)))
    rows = [{"messages": asked + said}] * 9 + [{"messages": asked + null}] if "sft" in plugins else [
        {"prompt": asked, "chosen": said, "rejected": asked}] * 9 + [{"prompt": asked, "chosen": said, "rejected": null}]
    assert "(train): row 9 has a message without a role or without text" in told(rows, plugins=plugins)


def test_one_class_only(told: Told) -> None:
    assert "same label" in told([{**row, "label": 1} for row in GOOD])


def test_labels_as_decimals_and_as_true_or_false_are_told(told: Told, tmp_path: Path) -> None:
    for number, kind in enumerate((float, bool)):
        said = told([{**row, "label": kind(row["label"])} for row in GOOD], status=0, out=tmp_path / f"run{number}")
        assert "decimal" in said or "true or false" in said


def test_labels_that_are_none(told: Told) -> None:
    said = told([{**row, "label": None if n == 7 else row["label"]} for n, row in enumerate(GOOD)])
    assert "1 rows have no usable label" in said and "7" in said


def test_a_file_that_is_not_utf_8(told: Told, tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("text,label\ncafé,1\nbar,0\n".encode("latin-1"))
    said = told(data=tmp_path / "latin.csv")
    assert "UTF-8" in said and "latin.csv" in said and "line 2" in said


def test_a_single_row_of_10_megabytes_runs_and_what_is_cut_is_told(told: Told) -> None:
    text = ("warm " + "w" * 1000 + " ") * 10_000  # long words: as many bytes in fewer tokens
    said = told([*GOOD, {"text": text, "label": 1}], "--batch-size", 8, status=0)
    assert "1 of " in said and "longer than the model takes and are cut" in said and "% of the tokens" in said


CONVERSATIONS = [{"prompt": f"What is {n}?", "completion": "It is a number." * (40 if n == 9 else 1)} for n in range(24)]
PREFERENCES = [{"prompt": f"What is {n}?", "chosen": "It is a number." * (40 if n == 9 else 1), "rejected": "No idea at all."}
               for n in range(24)]


@pytest.mark.parametrize(("objective", "form", "rows"), [
    ("sft", "conversation", CONVERSATIONS), ("dpo", "preference", PREFERENCES), ("reward", "preference", PREFERENCES),
])
def test_an_answer_that_is_cut_is_an_error_unless_it_is_allowed(
    told: Told, objective: str, form: str, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    from ftp_testing.models import tiny

    (tmp_path / "mine.py").write_text(
        f"import ftp\n\n@ftp.plugin(gives=('{form}',))\nclass Mine:\n    '''Rows of a file.'''\n\n    @ftp.hookimpl\n"
        f"    def load_data(self, run):\n        from ftp.data import load\n        return load(run, None, form='{form}')\n")
    common = ("--plugins-from", f"{tmp_path / 'mine.py'}:Mine", "--max-length", 64, "--validation-share", 0.2)

    def go(*more: Any, **expected: Any) -> str:
        return told(rows, *common, *more, model=model, plugins=f"full,{objective}", **expected)

    model = tiny("llama", tmp_path / "llama")
    for out in ("fresh", "cached"):
        said = go(out=tmp_path / out)
        assert "the answers of 1 of " in said and "--truncated-answers drop (or keep)" in said
    dropped = go("--truncated-answers", "drop", status=0, out=tmp_path / "drop")
    assert "these rows are left out" in dropped
    kept = go("--truncated-answers", "keep", status=0, out=tmp_path / "keep")
    assert "what is left of them is used" in kept
    said = go("--truncated-answers", "kep", out=tmp_path / "typo")
    assert "did you mean 'keep'" in said


def test_ids_that_are_given_twice(told: Told) -> None:
    assert "id" in told([{**row, "id": n // 2} for n, row in enumerate(GOOD)])


def broken(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder))


def test_a_folder_without_weights(told: Told, tiny_bert: Path, tmp_path: Path) -> None:
    model = broken(tiny_bert, tmp_path / "model")
    (model / "model.safetensors").unlink()
    assert "has no weights" in told(model=model)


def test_a_folder_that_lacks_only_its_tokenizer(told: Told, tiny_bert: Path, tmp_path: Path) -> None:
    model = broken(tiny_bert, tmp_path / "model")
    for file in model.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()
    said = told(model=model)
    assert "has no tokenizer" in said and "copy tokenizer.json" in said and "no weights" not in said


def test_weights_that_do_not_match_the_config(told: Told, tiny_bert: Path, tmp_path: Path) -> None:
    model = broken(tiny_bert, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "hidden_size": 2 * config["hidden_size"]}))
    assert "match" in told(model=model)


def test_an_output_that_cannot_be_written(told: Told, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--out" in told(out=tmp_path / "file" / "run")
    assert "cannot be" in told(out=Path("/proc/run"))


def test_a_mistake_does_not_take_the_output_folder(told: Told, tmp_path: Path) -> None:
    assert "there is no file" in told(data=tmp_path / "nope.jsonl")
    assert "stopped here before its first update is replaced" in told(status=0)  # the same --out
    assert "is finished" in told() and "--resume" not in told()


def test_an_output_folder_that_holds_a_run(told: Told, tmp_path: Path) -> None:
    told(status=0)
    assert "already holds a run" in told()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    assert "not empty" in told(out=tmp_path / "other")
