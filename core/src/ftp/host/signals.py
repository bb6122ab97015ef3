"""Signals that ask a command to save and end: Ctrl-C, and what systems, schedulers and closing
terminals send."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGTERM", "SIGHUP", "SIGUSR1")
REQUESTS: tuple[int, ...] = tuple(
    int(getattr(signal, name)) for name in NAMES if hasattr(signal, name)
)
"""Beside Ctrl-C: `kill` and schedulers (SIGTERM), a terminal that closes (SIGHUP), Slurm before its
time limit (SIGUSR1)."""

STOPPED = 130
"""Exit status of a command that was asked to end, by whichever of them: one number, as they all
mean the same."""


@contextmanager
def answered(
    handler: Callable[[int, FrameType | None], None], numbers: Sequence[int] = REQUESTS
) -> Iterator[None]:
    """Answer signals by `handler`. One that is ignored already stays ignored, as `nohup` asks for.

    SIGINT is the exception: shells start background jobs with it ignored, and `kill -INT` is how
    such a job is asked to stop. Only a main thread can answer signals; elsewhere nothing is
    changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in numbers:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            # None: C code had set it, which Python cannot put back
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, where the program answers it otherwise (`ftp_command`).

    Only whoever catches KeyboardInterrupt calls this; before and after, the program ends in a word
    of its own.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or before in (signal.SIG_IGN, signal.default_int_handler):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does.

    Further requests change nothing: a closing terminal, for one, sends SIGHUP twice.
    """
    ignore()
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")


def ignore() -> None:
    """From now on, requests to end change nothing: this process is ending."""
    for number in REQUESTS:
        signal.signal(number, lambda *_: None)
