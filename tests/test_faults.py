"""Whole runs on machines that refuse something: nothing is lost, nothing ends in a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ftp.train import checkpoint


@pytest.fixture(scope="module")
def command(tiny_bert: Path, reviews: str) -> Callable[..., list[str]]:
    fixed = ["run", "--plugins=-leakage", "--plugins-from", reviews, "--reviews.rows", 24, "--model", tiny_bert, "--device",
             "cpu", "--precision", "fp32", "--batch-size", 8, "--max-steps", 2, "--eval-steps", 1, "--no-baselines"]
    return lambda *more: [str(word) for word in (*fixed, *more)]


@pytest.mark.parametrize("where", ["/model-unverified/", "scores.json", "predictions/test", "inputs.json"])
def test_a_disk_that_fills_up_ends_a_run_with_a_word_and_it_goes_on_later(live, command, tmp_path: Path, where: str) -> None:
    out = tmp_path / "run"
    life = live(command("--out", out, "--no-verify", "--cache-dir", tmp_path), out,
                {"action": "full", "where": where, "number": 1})
    assert life.end() == 2, life.text
    assert "the disk is full" in life.text and "ftp run --resume" in life.text and "Traceback" not in life.text
    assert json.loads((out / "run.json").read_text())["status"] == "stopped"
    if where == "/model-unverified/":  # half a model frees its space
        assert not (out / "model-unverified").exists()
    life = live(["run", "--resume", out], out)
    assert life.end() == 0, life.text
    assert (out / "model").is_dir()


def test_a_report_that_does_not_fit_costs_no_run(live, command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    life = live(command("--out", out, "--no-verify", "--cache-dir", tmp_path), out,
                {"action": "full", "where": "report.html", "number": 1})
    assert life.end() == 0, life.text
    assert f"ftp report {out}" in life.text and (out / "model").is_dir() and checkpoint.any_in(out / "checkpoints")


def test_no_place_for_temporary_files_and_no_cache(live, command, tmp_path: Path) -> None:
    """The proof of model/ needs neither, nor does anything else."""
    (tmp_path / "file").write_text("")
    out = tmp_path / "run"
    life = live(command("--out", out, "--cache-dir", tmp_path / "file" / "cache"), out, TMPDIR=str(tmp_path / "file" / "x"),
                HOME=str(tmp_path / "file" / "home"))
    assert life.end() == 0, life.text
    assert "matplotlib" not in life.text.lower(), life.text  # it warns of a home that it cannot write
    assert life.text.count("encoded rows are not kept for the next run") == 1
    assert json.loads((out / "run.json").read_text())["verified"] is True
    assert not list(out.glob(".verify-*"))


def test_names_of_all_kinds(live, command, tmp_path: Path) -> None:
    out = tmp_path / "[lr=1e-3] 'quote\" exp[/bold]x \x1b[31m"
    life = live(command("--out", out, "--cache-dir", tmp_path, "--no-verify"), out)
    assert life.end() == 0, life.text
    assert f"{tmp_path}/[lr=1e-3] 'quote\" exp[/bold]x \\x1b[31m/model" in life.text and "\x1b" not in life.text


@pytest.mark.parametrize(("name", "words"), [
    ("a" * 300, "File name too long"), ("caf\udce9", "caf\\xe9: this name is not UTF-8")])
def test_names_that_cannot_be(live, command, tmp_path: Path, name: str, words: str) -> None:
    life = live(command("--out", str(tmp_path / name)), tmp_path)
    assert life.end() == 2 and words in life.text and "Traceback" not in life.text, life.text


def test_a_terminal_that_knows_ascii_only(live, command, tmp_path: Path) -> None:
    out = tmp_path / "größe"
    life = live(command("--out", out, "--cache-dir", tmp_path, "--no-verify"), out, {"encoding": "ascii"})
    assert life.end() == 0, life.text
    assert "gr\\u00f6\\u00dfe/model" in life.text


def test_a_reader_that_goes_away_ends_no_run(live, command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    life = live(command("--out", out, "--cache-dir", tmp_path, "--no-verify"), out, {"reader": "gone"})
    assert life.end() == 0, life.text
    assert json.loads((out / "run.json").read_text())["status"] == "finished" and (out / "model").is_dir()
