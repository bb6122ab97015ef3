"""Processes for pilots: each in one of its own, so that one that crashes, or takes too much memory, ends nothing but itself.

A helper process imports torch once, and forks for each pilot (where a system cannot fork safely, a pilot is a process from the
start). They talk in lines of JSON; what a pilot did lies in a file. `main` is the helper.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TypedDict

from ftp.advise import kept
from ftp.advise.pilot import Job, measure, read_job, write_job
from ftp.advise.types import Outcome

LAST_LINES = 3
"""Of what a pilot wrote before it crashed, for the message."""
KILL_GRACE = 5.0
"""Seconds until a helper that was asked to end is killed."""


class End(TypedDict):
    """How a pilot's process ended: its exit status (of a signal the number, negative), and its peak of memory in bytes."""

    status: int
    memory: int


class Worker:
    """Does pilots one after the other, each in a process of its own. Use it in a `with` block."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: where jobs and results are handed over."""
        self.folder = folder
        self.helper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def do(self, job: Job, seconds: float) -> Outcome:
        """Do a job and give its outcome: what went wrong in its `error`.

        Args:
            job: what is to be done.
            seconds: after which the pilot is ended.
        """
        import numpy as np

        folder = self.folder / "job"
        result = self.folder / "result.json"
        words = self.folder / "words.txt"
        # of an advice that was killed in its pilot
        shutil.rmtree(folder, ignore_errors=True)
        result.unlink(missing_ok=True)
        write_job(job, folder)
        began = time.perf_counter()
        end = self._ended({"job": str(folder), "result": str(result), "words": str(words)}, seconds)
        passed = time.perf_counter() - began
        try:
            outcome = kept.load(result) if end["status"] == 0 else None
            if outcome is not None:
                return _with(outcome, seconds=passed, memory=end["memory"])
            nothing = Outcome(job.entry, np.zeros(0, dtype=np.int64), np.zeros(0), seconds=passed, memory=end["memory"])
            return _with(nothing, error=_reason(end["status"], words, passed >= seconds))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            for path in (result, words):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """End the helper."""
        helper = self.helper
        self.helper = None
        if helper is None:
            return
        with contextlib.suppress(OSError):
            if helper.stdin is not None:
                helper.stdin.close()
        try:
            helper.wait(KILL_GRACE)
        except subprocess.TimeoutExpired:
            helper.kill()
            helper.wait()

    def _ended(self, order: Mapping[str, str], seconds: float) -> End:
        """Give the helper an order and wait until the pilot ends, or is ended after some seconds."""
        helper = self._started()
        assert helper.stdin is not None and helper.stdout is not None
        try:
            helper.stdin.write(json.dumps(order).encode() + b"\n")
            pilot = int(json.loads(_line(helper.stdout, None))["pid"])
            try:
                answer = _line(helper.stdout, seconds)
                if not answer:
                    os.kill(pilot, signal.SIGKILL)
                    answer = _line(helper.stdout, None)
            except BaseException:  # Ctrl-C: the pilot is in no group that hears it
                with contextlib.suppress(OSError):
                    os.kill(pilot, signal.SIGKILL)
                raise
            end: End = json.loads(answer)
        except (OSError, ValueError):  # the helper itself is gone
            helper.kill()
            status = helper.wait()
            self.helper = None
            return {"status": status or 1, "memory": 0}
        return end

    def _started(self) -> subprocess.Popen[bytes]:
        """The helper, started where there is none."""
        if self.helper is None or self.helper.poll() is not None:
            # pilots find the packages that this process finds
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            self.helper = subprocess.Popen(
                [sys.executable, "-P", "-m", "ftp.advise.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, bufsize=0, env=environment, start_new_session=True)
        return self.helper


def _line(stream: IO[bytes], seconds: float | None) -> bytes:
    """The next line of an unbuffered stream (of which `select` sees all); empty where there is none within some seconds.

    Raises:
        OSError: the other side is gone.
    """
    if seconds is not None and not select.select([stream], [], [], seconds)[0]:
        return b""
    line = stream.readline()
    if not line:
        raise BrokenPipeError("the helper ended")
    return line


def _with(outcome: Outcome, **changes: object) -> Outcome:
    import dataclasses

    return dataclasses.replace(outcome, **changes)  # type: ignore[arg-type]


def _reason(status: int, words: Path, is_late: bool) -> str:
    """Why a process gave no result, in words."""
    if is_late:
        return "it took too long and was ended"
    # a signal: nobody wrote down why
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (often: out of memory)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    last_words = ""
    if words.exists():
        lines = [line for line in words.read_text(errors="replace").splitlines() if line.strip()]
        last_words = " | ".join(lines[-LAST_LINES:])
    return f"its process ended with status {status}" + (f": {last_words}" if last_words else "")


# --- in the helper ---


def main() -> None:
    """Be the helper: a pilot for each line, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from ftp.train.device import calm_threads

    calm_threads()
    protocol = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    if _can_fork():
        _import_heavy()
    for line in sys.stdin:
        order = json.loads(line)
        if _can_fork():
            _fork(order, protocol)
        else:
            _start(order, protocol)


def _can_fork() -> bool:
    """On macOS a process that has imported torch is not safe to fork; Windows cannot."""
    return sys.platform == "linux"


def _import_heavy() -> None:
    """What each pilot needs, imported once. None of it starts a thread."""
    import sklearn.linear_model  # noqa: F401
    import transformers  # noqa: F401

    import ftp.advise.pilot
    import ftp.model
    import ftp.train.loop  # noqa: F401


def _fork(order: Mapping[str, str], protocol: IO[str]) -> None:
    """A pilot in a fork of this process."""
    pilot = os.fork()
    if not pilot:
        with _status_of_process():
            _be_pilot(order)
    protocol.write(json.dumps({"pid": pilot}) + "\n")
    _, status, usage = os.wait4(pilot, 0)
    unit = 1024  # Linux counts in kilobytes
    protocol.write(json.dumps({"status": os.waitstatus_to_exitcode(status), "memory": usage.ru_maxrss * unit}) + "\n")


def _start(order: Mapping[str, str], protocol: IO[str]) -> None:
    """A pilot in a process from the start."""
    pilot = subprocess.Popen([sys.executable, "-P", "-m", "ftp.advise.worker", json.dumps(order)], stdin=subprocess.DEVNULL)
    protocol.write(json.dumps({"pid": pilot.pid}) + "\n")
    protocol.write(json.dumps({"status": pilot.wait(), "memory": 0}) + "\n")


@contextlib.contextmanager
def _status_of_process() -> Iterator[None]:
    """End this process at the end of the block, with its exit status; nothing else of it runs."""
    status = 1
    try:
        yield
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _be_pilot(order: Mapping[str, str]) -> None:
    """Do a job and write down what came of it."""
    words = os.open(order["words"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(words, 1)
    os.dup2(words, 2)
    folder = Path(order["job"])
    outcome = measure(read_job(folder), folder.parent)
    kept.save(outcome, Path(order["result"]))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with _status_of_process():
            _be_pilot(json.loads(sys.argv[1]))
    main()
