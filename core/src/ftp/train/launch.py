"""More processes on this machine: one rank a process, started and watched by torch's elastic launcher.

`launch` runs `ftp <argv>` in every rank and gives one exit status. The ranks find one another on 127.0.0.1. Rank 0 writes
to the terminal; what the others write goes to files, and the end of it is shown where one of them failed first. A rank that
dies ends all; nothing is restarted (`ftp run --resume` goes on from a checkpoint). Ctrl-C (SIGTERM, SIGHUP, SIGUSR1) reaches
every rank, which saves and ends; a second Ctrl-C ends them at once. A signal that only one rank gets ends all in the same
way. Under `torchrun -m ftp run ...` or `accelerate launch -m ftp run ...` the ranks exist already and `inside` is true.

In each rank this file is the main program: it watches over the rank, and then runs the program itself.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import runpy
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from ftp.host import signals
from ftp.host.terminal import warn

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

GRACE = 10.0
"""Seconds that a rank has to end by itself after another has died; a wait for the dead one would never end."""
PATIENCE = 3600
"""Seconds that ranks have to save after Ctrl-C (a large model may take minutes)."""
LAST_WORDS = 40
"""Lines that are shown of what a failed rank wrote last."""
PARENT = "FTP_LAUNCHER"


def inside() -> bool:
    """Whether this process is a rank that somebody started (`launch`, torchrun, accelerate launch)."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(argv: Sequence[str], processes: int, *, log_dir: Path | None = None, program: str = "ftp") -> int:
    """Run `python -m <program> <argv>` in `processes` ranks and give the exit status of the whole.

    0: every rank ended well. Else that of the rank that failed first (2 where it printed a user's mistake, 128 + number for a
    signal), or 130 after Ctrl-C.

    Args:
        log_dir: where the other ranks' output is kept; None: in a temporary folder, which is removed when all goes well.
        program: the module that each rank runs.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    logger = logging.getLogger("torch.distributed.elastic")  # it would tell of every signal that it sends
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logs = Path(tempfile.mkdtemp(prefix="ftp-ranks-")) if log_dir is None else log_dir
    config = _launch_config(processes, logs)
    status = signals.STOPPED
    try:
        with _environment_of_ranks(processes), signals.answered(_pass_on()):
            # -P: the working folder is the user's data, not a place to import queue.py or xxhash.py from
            elastic_launch(config, sys.executable)("-P", "-u", "-m", "ftp.train.launch", program, *argv)
        status = 0
    except ChildFailedError as error:
        ends = [_end(rank, failure.exitcode, logs) for rank, failure in error.failures.items()]
        status = _tell(ends, processes, logs)
    except SignalException:
        pass  # rank 0 has printed what to do next
    finally:
        if log_dir is None and status in (0, 2, signals.STOPPED):
            shutil.rmtree(logs, ignore_errors=True)
    return status


def _launch_config(processes: int, logs: Path) -> LaunchConfig:
    """The settings of torch's launcher: one try on this machine alone."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.launcher.api import LaunchConfig

    settings = dict(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=uuid.uuid4().hex, max_restarts=0, monitor_interval=0.1,
        rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0", local_addr="127.0.0.1", signals_to_handle="SIGINT",
        shutdown_timeout=PATIENCE,
        logs_specs=DefaultLogsSpecs(str(logs), redirects=dict.fromkeys(range(1, processes), Std.ALL)),
    )  # fmt: skip
    # older versions of torch know fewer
    known = {item.name for item in dataclasses.fields(LaunchConfig)}
    return LaunchConfig(**{name: value for name, value in settings.items() if name in known})


@contextmanager
def _environment_of_ranks(processes: int) -> Iterator[None]:
    """The environment in which ranks are started; what was there before comes back."""
    before = {name: os.environ.get(name) for name in (PARENT, "OMP_NUM_THREADS", "TORCH_CPP_LOG_LEVEL")}
    os.environ[PARENT] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(threads(processes)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch's C++ warns every rank of weights that may be unused
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def threads(processes: int) -> int:
    """Threads for each of `processes` ranks, so that together they take the cores that this process may use."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = len(os.sched_getaffinity(0))
    return max(1, cores // processes)


# --- in the launcher: which rank failed first, and what it wrote ---


@dataclass(frozen=True)
class End:
    """How a rank ended.

    Args:
        code: its exit status; of a signal the number, negative.
        time: when it ended by itself, in seconds since the epoch; None where it was cut off.
        words: what it wrote.
    """

    rank: int
    code: int
    time: float | None
    words: str

    @property
    def killed(self) -> bool:
        """Whether it was (very likely) the launcher that ended it, because another rank had failed."""
        return self.time is None and self.code in (-signal.SIGTERM, 128 + signal.SIGTERM)

    def __str__(self) -> str:
        if self.code >= 0:
            return f"rank {self.rank} ended with status {self.code}"
        try:
            name = signal.Signals(-self.code).name
        except ValueError:
            name = f"signal {-self.code}"
        hint = " (often: out of memory)" if name == "SIGKILL" else ""
        return f"rank {self.rank} was ended by {name}{hint}"


def first(ends: Sequence[End]) -> End:
    """The rank that failed first. One that was cut off wrote down no time and comes before those that noticed, who did."""
    return min(ends, key=lambda end: (end.killed, end.time is not None, end.time or 0.0, end.rank))


def _end(rank: int, code: int, logs: Path) -> End:
    """How a rank ended, by its own note where it left one, and what it wrote."""
    when = None
    for path in logs.glob(f"*/attempt_0/{rank}/ended.json"):
        ended = json.loads(path.read_text())
        when = float(ended["time"])
        code = int(ended["status"])
    words = ""
    for name in ("stdout.log", "stderr.log"):
        for path in logs.glob(f"*/attempt_0/{rank}/{name}"):
            words = path.read_text(errors="replace").strip() or words
    return End(rank, code, when, words)


def _tell(ends: Sequence[End], processes: int, logs: Path) -> int:
    """Show the error of the rank that failed first, once, and give its exit status."""
    failed = first(ends)
    last_lines = failed.words.splitlines()[-LAST_WORDS:]
    if failed.code == signals.STOPPED:  # a rank that was asked to end; where rank 0 ended so too, it has said so
        if failed.rank and _end(0, 0, logs).code != signals.STOPPED:
            warn("\n".join(last_lines))
        return signals.STOPPED
    # every rank finds the same mistake of the user, and rank 0 has printed it
    is_printed = any(end.rank == 0 and end.code == 2 for end in ends)
    if failed.code == 2 and is_printed:
        return 2

    # what rank 0 wrote is on the terminal already
    lines = last_lines if failed.rank else []
    if failed.code != 2:
        lines.append(f"ftp: {failed}; the other {processes - 1} of {processes} were stopped")
        for end in ends:
            is_cut_off = end.time is None and not end.killed
            if end is not failed and is_cut_off:
                lines.append(f"  {end}")
        if failed.rank:
            lines.append(f"  all that it wrote: {logs}")
        lines.append("  to go on from the last checkpoint: ftp run --resume DIR")
    warn("\n".join(lines))
    return failed.code if failed.code > 0 else 128 - failed.code


def _pass_on() -> Callable[[int, FrameType | None], None]:
    """A handler that makes the first request a Ctrl-C, which torch's launcher passes on to every rank.

    Later ones change nothing: a second Ctrl-C would end the ranks before they have saved.
    """
    is_asked = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal is_asked
        if not is_asked:
            is_asked = True
            os.kill(os.getpid(), signal.SIGINT)

    return handler


# --- in each rank ---


def main() -> None:
    """Be one rank: watch over it, run the program, and write down when it ended."""
    program, *argv = sys.argv[1:]
    siblings = _siblings()
    watch(int(os.environ[PARENT]), siblings)
    sys.argv = [program, *argv]
    try:
        with signals.answered(signals.as_ctrl_c):
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt as error:  # before the program itself listened
        status = signals.STOPPED
        if one_is_gone(siblings):  # the launcher ends this rank, and prints why
            status = 128 + signal.SIGTERM
        else:
            warn(f"ftp: {error or 'stopped'}")
        note(os.environ, status)
        os._exit(status)
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        if code:  # a text means status 1
            note(os.environ, code if isinstance(code, int) else 1)
            raise
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all is done: threads of torch's process group now and then abort an interpreter that shuts down


def note(environment: Mapping[str, str], status: int) -> None:
    """Write down that this rank ends by itself now and how, where the launcher looks for it: it may be cut off on its way out."""
    error_file = environment.get("TORCHELASTIC_ERROR_FILE")
    if error_file:
        (Path(error_file).parent / "ended.json").write_text(json.dumps({"time": time.time(), "status": status}))


def _siblings() -> Path | None:
    """The folder that has one for each rank of this launch; writes this rank's process id into its own."""
    if "TORCHELASTIC_ERROR_FILE" not in os.environ:
        return None
    own = Path(os.environ["TORCHELASTIC_ERROR_FILE"]).parent
    own.mkdir(parents=True, exist_ok=True)
    (own / "pid").write_text(str(os.getpid()))
    return own.parent


def one_is_gone(siblings: Path | None) -> bool:
    """Whether a rank that began has ended. Where that cannot be known, yes."""
    if siblings is None:
        return True
    for path in siblings.glob("*/pid"):
        try:
            os.kill(int(path.read_text()), 0)
        except (ValueError, ProcessLookupError):
            return True
    return False


def watch(parent: int, siblings: Path | None = None) -> None:
    """End this process where its main thread cannot.

    That is when the launcher is gone, and `GRACE` seconds after a SIGTERM that came as another rank died (the launcher sends
    it then): a main thread that waits for the dead rank hears no signal. A SIGTERM while all ranks are there is somebody's
    wish to save and end, which may take longer.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)  # written to at once, also while the main thread waits

    def look() -> None:
        is_asked = False
        end: float | None = None  # when this process ends, on the clock of `time.monotonic`
        while end is None or time.monotonic() < end:
            if os.getppid() != parent:
                os._exit(1)
            if select.select([reading], [], [], 1.0)[0] and signal.SIGTERM in os.read(reading, 64):
                is_asked = True
            if is_asked and end is None and one_is_gone(siblings):
                end = time.monotonic() + GRACE
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=look, name="ftp-watch", daemon=True).start()


if __name__ == "__main__":
    main()
