"""A situation as a run that has begun, so that plugins can be asked what they are asked in a run. Heavy: imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ftp.advise.types import Situation
from ftp.host.quiet import quiet_libraries
from ftp.plugins.call import Hooks
from ftp.types import StartedRun


@contextmanager
def started(situation: Situation) -> Iterator[StartedRun]:
    """A run of the situation's plugins that keeps its events in memory, in a folder that is removed.

    Its new head begins with random numbers: what is asked of it here does not need a fitted one.

    Args:
        situation: the rows and their plugins.
    """
    from ftp.train.device import accelerator, calm_threads

    calm_threads()
    quiet_libraries()
    settings = dataclasses.replace(situation.prepared.settings, head_init="random")
    hooks = Hooks(situation.prepared.picked, situation.prepared.values)
    with TemporaryDirectory(prefix="ftp-advise-") as folder:
        yield StartedRun(settings, situation.prepared.task, hooks, Path(folder), situation.log,
                         accelerator(settings, training=False))
