"""Commands in processes of their own, in a second: one process has imported everything, and is forked for each.

`ends` is the caller's side; `python -m ftp_testing.forks` is the process that is forked. For systems that can fork (Linux, macOS).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TypedDict

GRACE = 20.0
"""Seconds that ranks have to end after one of them has failed."""


class Command(TypedDict):
    """What the forked process is told to do: a command of ftp, by so many ranks. `folder`: where each writes what it says."""

    words: list[str]
    ranks: int
    folder: str
    cwd: str
    path: list[str]


def ends(words: Sequence[str], ranks: int = 1, timeout: float = 300.0) -> tuple[int, str]:
    """Do `ftp WORDS` in a process of its own, or in several that train together, started as torchrun would.

    Gives the exit status (of the first that failed, negative by that signal; else 0) and what all of them wrote. Raises
    `TimeoutError` where they do not end, OSError on systems that cannot fork.
    """
    if not hasattr(os, "fork"):
        raise OSError("this system cannot fork processes")
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory(prefix="ftp-check-said-") as folder:
        command = Command(words=list(map(str, words)), ranks=ranks, folder=folder, cwd=str(Path.cwd()), path=sys.path)
        server.stdin.write(json.dumps(command) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], timeout)[0]:
            _stop(server)
            _server.cache_clear()
            raise TimeoutError(f"ftp {' '.join(command['words'])} did not end within {timeout:g} s:\n{_output(Path(folder))[-800:]}")
        answer = server.stdout.readline()
        if not answer:
            _server.cache_clear()
            raise OSError("the process that is forked has ended")
        return int(json.loads(answer)), _output(Path(folder))


@cache
def _server() -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environment = {**clean, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1",
                   "TOKENIZERS_PARALLELISM": "false"}  # else each fork is told that it was forked
    server = subprocess.Popen([sys.executable, "-P", "-m", "ftp_testing.forks"], env=environment, text=True, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, start_new_session=True)
    atexit.register(_stop, server)
    return server


def _stop(server: subprocess.Popen[str]) -> None:
    """End it with all that it forked."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _output(folder: Path) -> str:
    """What all ranks wrote."""
    return "".join(file.read_text(errors="replace") for file in sorted(folder.iterdir()))


# --- the process that is forked ---


def main() -> None:
    """Import everything; for each line of JSON fork, wait for all forks, and answer with the status."""
    from ftp.host import quiet

    quiet.before_imports()
    from ftp_testing import warm  # noqa: F401  heavy

    # A run waits for the disk about a hundred times, against the loss of power. The kit's runs are killed at most, which
    # loses nothing that the system has taken.
    os.fsync = lambda fd: None
    for line in sys.stdin:
        command: Command = json.loads(line)
        # the system gives a port that nobody uses
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        status = _wait([_fork(command, rank, port) for rank in range(command["ranks"])])
        print(json.dumps(status), flush=True)


def _fork(command: Command, rank: int, port: int) -> int:
    """Start one rank; gives its process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        output = os.open(Path(command["folder"]) / f"{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.chdir(command["cwd"])
        sys.path[:] = command["path"]
        if command["ranks"] > 1:
            size = str(command["ranks"])
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size,
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        from ftp.cli.main import call

        status = call(command["words"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(status)  # nothing of the forked process is to be tidied up here


def _wait(pids: list[int]) -> int:
    """The status of the first that failed, else 0. Those that still run `GRACE` seconds later are killed."""
    status = 0
    deadline = float("inf")
    running = set(pids)
    while running:
        for pid in sorted(running):
            ended, code = os.waitpid(pid, os.WNOHANG)
            if ended:
                running.discard(pid)
                if code and not status:
                    status = os.waitstatus_to_exitcode(code)
                    deadline = time.monotonic() + GRACE
        if time.monotonic() > deadline:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return status


if __name__ == "__main__":
    main()
