"""Being asked to stop: by signals, by plugins, by another rank. Heavy: imports torch."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from ftp.errors import UserError
from ftp.host import signals
from ftp.types import Event, StartedRun, Stop


class Interrupted(UserError):
    """Ctrl-C: everything is saved."""

    status = signals.STOPPED


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 set; a second Ctrl-C ends at once.

    The others may well come twice (from a terminal and its shell, a scheduler and the launcher) and mean the same then.
    """
    flag = threading.Event()
    presses = 0  # of Ctrl-C

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        flag.set()
        if number == signal.SIGINT:
            presses += 1
            if presses > 1:
                raise KeyboardInterrupt

    with signals.answered(ask, (signal.SIGINT, *signals.REQUESTS)):
        yield flag


def asked_to_stop(run: StartedRun, event: Event) -> str:
    """The reason of a plugin that wants to stop; the same on every rank."""
    answers = run.hooks.each("on_event", run=run, event=event)
    reasons = [f"{answer.plugin}: {answer.value.reason}" for answer in answers if isinstance(answer.value, Stop)]
    accelerator = run.accelerator
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        reasons = gather_object(reasons)
    return reasons[0] if reasons else ""


def agreed(run: StartedRun, is_interrupted: bool, now: bool) -> bool:
    """Whether any rank was interrupted. With several ranks they ask one another only where they wait anyhow.

    Args:
        is_interrupted: whether this rank was.
        now: whether ranks may wait for one another here.
    """
    accelerator = run.accelerator
    if accelerator.num_processes == 1:
        return is_interrupted
    if not now:
        return False
    num_interrupted = accelerator.reduce(torch.tensor(float(is_interrupted), device=accelerator.device), "sum")
    return bool(num_interrupted > 0)
