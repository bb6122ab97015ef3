"""How checkpoints are named in the folder of a run (`checkpoints/step-120`): the only place that spells it.

Imports nothing heavy. What is in a checkpoint is the business of `ftp.train.checkpoint`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAME = "step-{}"
_STEP = re.compile(_NAME.format(r"(\d+)"))
_ASIDE = re.compile(r"\.(?P<name>" + _NAME.format(r"\d+") + r")\.(?P<why>partial|removed|replaced)-.+")


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of an update is, or would be.

    Args:
        folder: that of the checkpoints of a run.
    """
    return folder / _NAME.format(step)


def step_of(path: Path) -> int | None:
    """The update that a checkpoint is of, by its name; None where it has no such name."""
    match = _STEP.fullmatch(path.name)
    return int(match[1]) if match else None


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a folder, whole or damaged, by step."""
    numbered = []
    for path in folder.glob(_NAME.format("*")):
        step = step_of(path)
        if step is not None:
            numbered.append((step, path))
    return [path for _, path in sorted(numbered)]


def aside(path: Path, why: str) -> Path:
    """A hidden name beside a checkpoint, for this process.

    Args:
        why: `partial` (it is being written), `removed` or `replaced` (another one takes its name).
    """
    return path.with_name(f".{path.name}.{why}-{os.getpid()}")


def set_aside(folder: Path) -> list[tuple[Path, Path, str]]:
    """What lies under such hidden names: its path, the path of the checkpoint that it belongs to, and why."""
    leftovers = []
    for path in folder.glob("." + _NAME.format("*")):
        match = _ASIDE.fullmatch(path.name)
        if match is not None:  # else it is somebody else's
            leftovers.append((path, folder / match["name"], match["why"]))
    return leftovers
