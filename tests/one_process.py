"""One `ftp` command in a process of its own, which may be made to fall into a trap at a chosen moment.

Run by the fork server of conftest.py with `ARGUMENTS`, `OUT` (the run folder), `SAYS` (where its output goes), `TRAP` and
`ENVIRONMENT` among its globals. A moment is a write in the run folder (a file opened, synced or renamed) or what the test's
domain says by `sys.audit("moment", ...)` (an update begins, an event is told).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any

ARGUMENTS: list[str] = globals()["ARGUMENTS"]
OUT: str = globals()["OUT"]
SAYS: str = globals()["SAYS"]
TRAP: dict[str, Any] = globals()["TRAP"]
ENVIRONMENT: dict[str, str] = globals()["ENVIRONMENT"]


LASTING = {"stays full": errno.ENOSPC, "stays read-only": errno.EROFS}
"""What a disk refuses from a moment on, and to the end."""


def moment(label: str) -> None:
    """Count the moments whose label holds TRAP["where"]; at number TRAP["number"] do TRAP["action"]."""
    TRAP.setdefault("seen", []).append(label)
    if TRAP.get("where", "\0") not in label:
        return
    TRAP["number"] -= 1
    if TRAP["action"] in LASTING and TRAP["number"] <= 0:
        raise OSError(LASTING[TRAP["action"]], os.strerror(LASTING[TRAP["action"]]))
    if TRAP["number"] != 0:
        return
    if TRAP["action"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif TRAP["action"] == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    elif isinstance(TRAP["action"], int):  # a signal, twice at once, as a closing terminal and its shell send it
        os.kill(os.getpid(), TRAP["action"])
        os.kill(os.getpid(), TRAP["action"])
    elif TRAP["action"] == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "moment":
        moment(str(arguments[0]))
    elif event == "os.rename" and OUT in str(arguments[0]):
        moment(f"rename {arguments[0]} -> {arguments[1]}")
    elif event == "open" and OUT in str(arguments[0]) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        moment(f"open {arguments[0]}")


def fsync(handle: int) -> None:
    moment(f"fsync {Path(f'/proc/self/fd/{handle}').readlink()}")
    sync(handle)


with Path(SAYS).open("a") as file:
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
os.environ.update(ENVIRONMENT)
if "largest" in TRAP:  # bytes of a file: a limit of this process alone (ulimit -f)
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (TRAP["largest"], resource.RLIM_INFINITY))
for number in TRAP.get("ignored", ()):  # as under nohup
    signal.signal(number, signal.SIG_IGN)
if "encoding" in TRAP:  # of the terminal
    sys.stdout.reconfigure(encoding=TRAP["encoding"], errors="strict")
if TRAP.get("reader") == "gone":
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.close(reading)
    os.close(writing)
sync, os.fsync = os.fsync, fsync
sys.addaudithook(listen)

from ftp.cli.main import call  # noqa: E402

status = call(ARGUMENTS)
if "moments" in TRAP:
    Path(TRAP["moments"]).write_text("\n".join(TRAP.get("seen", [])))
sys.exit(status)
