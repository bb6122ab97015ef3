"""The program `ftp` before its modules are imported: a request to end is answered in a word, with no traceback of Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

AS_PROGRAM = ["-c", "from ftp_command import main; main()"]
AS_MODULE = ["-m", "ftp"]
SLOW_IMPORT = """
import sys, time

class SlowImport:
    "Stands still where ftp.plugins is imported, after a line that says so."
    def find_spec(self, name, path=None, target=None):
        if name == "ftp.plugins":
            print("importing", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, SlowImport())
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which the import of ftp takes a minute."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_IMPORT)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def start(words: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """`python WORDS --help` as it stands while ftp is being imported."""
    process = subprocess.Popen([sys.executable, *words, "--help"], env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    return process


@pytest.mark.parametrize("words", [AS_PROGRAM, AS_MODULE], ids=["program", "module"])
@pytest.mark.parametrize(("number", "message"), [
    (signal.SIGINT, "ftp: stopped\n"),
    (signal.SIGTERM, "ftp: stopped by SIGTERM\n"),
    (signal.SIGHUP, "ftp: stopped by SIGHUP\n"),
])
@pytest.mark.slow
def test_a_request_to_end_while_ftp_is_imported_is_answered_in_a_word(environment, words, number, message):
    process = start(words, environment)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, message)


def test_a_request_that_is_ignored_stays_ignored(environment):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; what it starts inherits it
    try:
        process = start(AS_PROGRAM, environment)
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert errors == "ftp: stopped by SIGTERM\n"


def test_ctrl_c_in_a_command_is_answered_by_the_command():
    """It raises KeyboardInterrupt there, so that a run can save; the early answer is back afterwards."""
    import ftp_command
    from ftp.host import signals

    before = signal.signal(signal.SIGINT, ftp_command.end_at_once)
    try:
        with pytest.raises(KeyboardInterrupt), signals.interruptible():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is ftp_command.end_at_once
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_a_help_that_cannot_be_written_is_told(unbuffered):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([sys.executable, *AS_PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 2
    assert done.stderr.startswith("ftp: standard output cannot be written (No space left on device)\n")
