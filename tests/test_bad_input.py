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
OutputOf = Callable[..., str]


@pytest.fixture
def output_of(tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> OutputOf:
    """Run `ftp run` on rows (or on the file at `data`) and give all that it prints, with its lines joined."""

    def run(rows: Any = GOOD, *more: Any, status: int = 2, data: Path | None = None, model: Path = tiny_bert,
            out: Path = tmp_path / "run", plugins: str = "full,sentiment") -> str:
        if data is None:
            data = tmp_path / "rows.jsonl"
            data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments = ["run", f"--plugins={plugins}{RISKS}", "--data", data, "--model", model, "--out", out,
                     "--device", "cpu", "--precision", "fp32", "--max-steps", 2, "--no-baselines", "--no-verify", "--no-report",
                     "--cache-dir", tmp_path / "cache", *more]
        ended_with = call([str(word) for word in arguments])
        output = capsys.readouterr()
        text = " ".join((output.out + output.err).split())
        assert ended_with == status and "Traceback" not in text, text
        return text

    return run


def test_good_rows_run(output_of: OutputOf) -> None:
    output_of(status=0)


def test_an_empty_file(output_of: OutputOf, tmp_path: Path) -> None:
    for name in ("empty.csv", "empty.jsonl", "empty.txt"):
        (tmp_path / name).write_text("")
        assert "empty" in output_of(data=tmp_path / name) or "no rows" in output_of(data=tmp_path / name)


def test_a_missing_column(output_of: OutputOf) -> None:
    message = output_of([{"written": row["text"], "label": row["label"]} for row in GOOD])
    assert "its columns are written, label" in message and "--columns text=written" in message


@pytest.mark.parametrize("plugins", ["full,sft,chat", "full,dpo,chat"])
def test_a_message_without_text(output_of: OutputOf, plugins: str) -> None:
    question: list[Any] = [{"role": "user", "content": "Why?"}]
    answer: list[Any] = [{"role": "assistant", "content": "So."}]
    null: list[Any] = [{"role": "assistant", "content": None}]
    if "sft" in plugins:
        rows = [{"messages": question + answer}] * 9
        rows.append({"messages": question + null})
    else:
        rows = [{"prompt": question, "chosen": answer, "rejected": question}] * 9
        rows.append({"prompt": question, "chosen": answer, "rejected": null})
    assert "(train): row 9 has a message without a role or without text" in output_of(rows, plugins=plugins)


def test_one_class_only(output_of: OutputOf) -> None:
    assert "same label" in output_of([{**row, "label": 1} for row in GOOD])


def test_labels_as_decimals_and_as_true_or_false_are_told(output_of: OutputOf, tmp_path: Path) -> None:
    for number, kind in enumerate((float, bool)):
        message = output_of([{**row, "label": kind(row["label"])} for row in GOOD], status=0, out=tmp_path / f"run{number}")
        assert "decimal" in message or "true or false" in message


def test_labels_that_are_none(output_of: OutputOf) -> None:
    message = output_of([{**row, "label": None if n == 7 else row["label"]} for n, row in enumerate(GOOD)])
    assert "1 rows have no usable label" in message and "7" in message


def test_a_file_that_is_not_utf_8(output_of: OutputOf, tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("text,label\ncafé,1\nbar,0\n".encode("latin-1"))
    message = output_of(data=tmp_path / "latin.csv")
    assert "UTF-8" in message and "latin.csv" in message and "line 2" in message


def test_a_single_row_of_10_megabytes_runs_and_what_is_cut_is_told(output_of: OutputOf) -> None:
    text = ("warm " + "w" * 1000 + " ") * 10_000  # long words: as many bytes in fewer tokens
    message = output_of([*GOOD, {"text": text, "label": 1}], "--batch-size", 8, status=0)
    assert "1 of " in message and "longer than the model takes and are cut" in message and "% of the tokens" in message


CONVERSATIONS = [{"prompt": f"What is {n}?", "completion": "It is a number." * (40 if n == 9 else 1)} for n in range(24)]
PREFERENCES = [{"prompt": f"What is {n}?", "chosen": "It is a number." * (40 if n == 9 else 1), "rejected": "No idea at all."}
               for n in range(24)]


@pytest.mark.parametrize(("objective", "form", "rows"), [
    ("sft", "conversation", CONVERSATIONS), ("dpo", "preference", PREFERENCES), ("reward", "preference", PREFERENCES),
])
def test_an_answer_that_is_cut_is_an_error_unless_it_is_allowed(
    output_of: OutputOf, objective: str, form: str, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    from ftp_testing.models import tiny

    (tmp_path / "mine.py").write_text(
        f"import ftp\n\n@ftp.plugin(gives=('{form}',))\nclass Mine:\n    '''Rows of a file.'''\n\n    @ftp.hookimpl\n"
        f"    def load_data(self, run):\n        from ftp.data import load\n        return load(run, None, form='{form}')\n")
    common = ("--plugins-from", f"{tmp_path / 'mine.py'}:Mine", "--max-length", 64, "--validation-share", 0.2)

    def go(*more: Any, **expected: Any) -> str:
        return output_of(rows, *common, *more, model=model, plugins=f"full,{objective}", **expected)

    model = tiny("llama", tmp_path / "llama")
    for out in ("fresh", "cached"):
        message = go(out=tmp_path / out)
        assert "the answers of 1 of " in message and "--truncated-answers drop (or keep)" in message
    dropped = go("--truncated-answers", "drop", status=0, out=tmp_path / "drop")
    assert "these rows are left out" in dropped
    kept = go("--truncated-answers", "keep", status=0, out=tmp_path / "keep")
    assert "what is left of them is used" in kept
    message = go("--truncated-answers", "kep", out=tmp_path / "typo")
    assert "did you mean 'keep'" in message


def test_ids_that_are_given_twice(output_of: OutputOf) -> None:
    assert "id" in output_of([{**row, "id": n // 2} for n, row in enumerate(GOOD)])


def broken(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder))


def test_a_folder_without_weights(output_of: OutputOf, tiny_bert: Path, tmp_path: Path) -> None:
    model = broken(tiny_bert, tmp_path / "model")
    (model / "model.safetensors").unlink()
    assert "has no weights" in output_of(model=model)


def test_a_folder_that_lacks_only_its_tokenizer(output_of: OutputOf, tiny_bert: Path, tmp_path: Path) -> None:
    model = broken(tiny_bert, tmp_path / "model")
    for file in model.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()
    message = output_of(model=model)
    assert "has no tokenizer" in message and "copy tokenizer.json" in message and "no weights" not in message


def test_weights_that_do_not_match_the_config(output_of: OutputOf, tiny_bert: Path, tmp_path: Path) -> None:
    model = broken(tiny_bert, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "hidden_size": 2 * config["hidden_size"]}))
    assert "match" in output_of(model=model)


def test_an_output_that_cannot_be_written(output_of: OutputOf, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--out" in output_of(out=tmp_path / "file" / "run")
    assert "cannot be" in output_of(out=Path("/proc/run"))


def test_a_mistake_does_not_take_the_output_folder(output_of: OutputOf, tmp_path: Path) -> None:
    assert "there is no file" in output_of(data=tmp_path / "nope.jsonl")
    assert "stopped here before its first update is replaced" in output_of(status=0)  # the same --out
    assert "is finished" in output_of() and "--resume" not in output_of()


def test_an_output_folder_that_holds_a_run(output_of: OutputOf, tmp_path: Path) -> None:
    output_of(status=0)
    assert "already holds a run" in output_of()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    assert "not empty" in output_of(out=tmp_path / "other")
