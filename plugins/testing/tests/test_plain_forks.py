"""A fork of plain Python does what a process of its own does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftp_testing.plain_forks import PlainPython

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def python() -> Iterator[PlainPython]:
    started = PlainPython(preloaded=["wave"])  # quicker than Transformers
    yield started
    started.stop()


@pytest.fixture
def run(python: PlainPython, tmp_path: Path) -> Run:
    def run_code(code: str, *arguments: str, timeout: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
        return python.run_code(code, arguments, folder=tmp_path, environment={**os.environ, **variables}, timeout=timeout)

    return run_code


def test_code_sees_its_arguments_folder_and_environment_and_no_ftp(run: Run, tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['COLOUR'], 'ftp' in sys.modules, 'wave' in sys.modules)"
    ended = run(code, "one", "two", COLOUR="blue")
    assert ended.stdout == f"['one', 'two'] {tmp_path} blue False True\n" and ended.returncode == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("code", "status", "last"), [
    ("assert 1 > 2, 'no'", 1, "AssertionError: no"),
    ("import sys; sys.exit(3)", 3, ""),
    ("import os; os.kill(os.getpid(), 9)", -9, ""),
])
def test_a_failure_is_that_of_the_call_alone(run: Run, code: str, status: int, last: str) -> None:
    ended = run(code)
    assert ended.returncode == status and ended.stderr.strip().endswith(last)
    assert run("print('alive')").stdout == "alive\n"


def test_what_does_not_end_is_killed_and_the_next_call_runs(run: Run) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run("import time; time.sleep(60)", timeout=0.5)
    assert run("print('alive')").stdout == "alive\n"


def test_what_keeps_libraries_quiet_needs_no_process_of_its_own(run: Run) -> None:
    assert run("import sys; print('wave' in sys.modules)", TRANSFORMERS_NO_ADVISORY_WARNINGS="1").stdout == "True\n"


def test_what_python_reads_once_starts_a_process_of_its_own(run: Run) -> None:
    arguments: dict[str, Any] = {"PYTHONHASHSEED": "7"}
    code = "import sys; print(hash('a'), 'wave' in sys.modules)"
    first, second = run(code, **arguments).stdout, run(code, **arguments).stdout
    assert first == second and first.endswith("False\n")
