"""No command imports a Python file of the working folder, whatever its name."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

FTP = [str(Path(sys.executable).with_name("ftp"))]
AS_MODULE = [sys.executable, "-m", "ftp"]
TOPICS = ("cheap", "clean", "cold", "loud")
QUICK = ("--max-steps", "1", "--device", "cpu", "--precision", "fp32", "--no-baselines", "--no-report",
         "--validation-share", "0.3", "--plugins", "full,classify,-leakage,-forgetting,-overfitting,-underfitting,-preflight")


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    """A folder with a file for every top-level module that could be imported: run, it leaves its name in `ran` and fails."""
    folder = tmp_path / "work"
    folder.mkdir()
    installed = [name for name in metadata.packages_distributions() if name.isidentifier()]
    for name in {*sys.stdlib_module_names, *installed, "ftp"}:
        (folder / f"{name}.py").write_text(
            f"with open({str(folder / 'ran')!r}, 'a') as file: file.write({name!r} + '\\n')\nraise SystemExit('poison')\n")
    rows = "".join(f"a {TOPICS[number % 4]} room number {number},{'good' if number % 2 else 'bad'}\n" for number in range(40))
    (folder / "rows.csv").write_text(f"text,label\n{rows}")
    return folder


def import_names(code: str) -> list[str]:
    """The top-level modules that Python has after `code`."""
    listing = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", listing], text=True, capture_output=True, check=True)
    return [name for name in done.stdout.split() if "." not in name]


def run_in(folder: Path, *words: str) -> str:
    """What `WORDS` writes in a process of its own that works in the folder; it has to end well, and import no file there."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run(words, cwd=folder, env={**environment, "OMP_NUM_THREADS": "1"}, text=True, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    imported = (folder / "ran").read_text() if (folder / "ran").exists() else ""
    assert (imported, done.returncode) == ("", 0), done.stdout
    return done.stdout


def test_run_verify_predict_and_export_import_nothing_of_the_working_folder(poisoned, tiny_bert):
    run_in(poisoned, *FTP, "run", *QUICK, "--data", "rows.csv", "--model", str(tiny_bert), "--out", "one")
    assert (poisoned / "one" / "model").is_dir()  # verified in a fresh process
    answer = run_in(poisoned, *FTP, "predict", "one", "a cold room")
    assert "good" in answer or "bad" in answer
    run_in(poisoned, *FTP, "export", "one", "--to", "safetensors", "--out", "whole")


def test_ranks_import_nothing_of_the_working_folder(poisoned, tiny_bert):
    run_in(poisoned, *FTP, "run", *QUICK, "--data", "rows.csv", "--model", str(tiny_bert), "--out", "two", "--processes", "2",
           "--no-verify")


def test_python_dash_m_imports_nothing_of_the_working_folder(poisoned):
    # Python itself looks there for the module that -m names, and for what looks that up
    for name in {"ftp", *import_names("import runpy")}:
        (poisoned / f"{name}.py").unlink(missing_ok=True)
    assert "sentiment" in run_in(poisoned, *AS_MODULE, "plugins")


def test_the_kit_imports_nothing_of_the_working_folder(poisoned):
    assert "0 failed" in run_in(poisoned, *FTP, "check", "sentiment", "--only", "imports-light", "--only", "needs-no-torch")
