"""What a folder holds: a run or none, finished or damaged. Imports nothing heavy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ftp.errors import UserError
from ftp.folder import contents, marker
from ftp.folder.checkpoints import checkpoints_in
from ftp.folder.files import Folder
from ftp.folder.log import read_log
from ftp.folder.paths import (
    CARD,
    CHECKPOINTS,
    DATA,
    EXAMPLES,
    FACTS,
    LOG,
    MODEL,
    PREDICTIONS,
    RECIPE,
    RISKS,
    SCORES,
)


def holds_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return any((folder / name).exists() for name in (RECIPE, FACTS, LOG, SCORES))


def existing(path: Path) -> Path:
    """The folder of a run.

    Raises `UserError` where there is no such folder, or what it holds is no run.
    """
    if (path / RECIPE).is_file():
        return path
    reason = "there is no such folder"
    if path.exists():
        reason = f"there is no {RECIPE} in it, so it is not a run's folder"
    raise UserError(f"{path}: {reason}", "name the folder of a run", "ftp runs")


def came_to_nothing(path: Path) -> bool:
    """Whether a folder holds a run that stopped before its first update.

    By a mistake in its command, for example: there is nothing in it to go on with.
    """
    try:
        is_stopped = Folder(path).read_facts().get("status") in ("stopped", "failed")
    except UserError:
        return False
    # weights are worth going on from, whatever the log says
    has_weights = (path / MODEL).exists() or checkpoints_in(path / CHECKPOINTS)
    if not is_stopped or has_weights:
        return False
    return not any(line.get("event") == "step" for line in read_log(path / LOG))


def damaged_model_files(path: Path) -> list[str]:
    """The files of a finished run's model/ that are gone or cut off, or whose weights changed.

    Its card (README.md) is the user's to edit.
    """
    facts = Folder(path).read_facts()
    damaged = []
    for name, size in facts.get("model_files", {}).items():
        file = path / name
        if not file.is_file() or (file.stat().st_size != size and file.name != CARD):
            damaged.append(name)
    for name in contents.changed_weights(path, facts.get("weights", {})):
        if name not in damaged:
            damaged.append(name)
    return damaged


def damaged_results(path: Path) -> list[str]:
    """The results of a finished run (scores, verdicts, predictions) that are gone or damaged."""
    mark = marker.read(path)
    damaged = []
    for name in mark.files if mark is not None else ():
        # the report is none of them: `ftp report` writes it again from these
        is_prediction = name.startswith(f"{PREDICTIONS}/")
        is_result = is_prediction or name in (SCORES, RISKS, DATA, EXAMPLES)
        if is_result and not contents.is_json(path / name, lines=is_prediction):
            damaged.append(name)
    return damaged


def check_writable_over(target: Path, option: str) -> None:
    """Keep a command from writing over a run's own record.

    Raises:
        UserError: a run wrote the file.
    """
    path = target.expanduser().absolute()
    for folder in path.parents:
        if path.exists() and marker.lists(marker.read(folder), path.relative_to(folder).as_posix()):
            raise UserError(
                f"{option} {target}: this is a file of the run in {folder}", "name another file"
            )


@contextlib.contextmanager
def damage_in_words(folders: str) -> Iterator[None]:
    """Turn errors in the values of a run folder into a `UserError`: files may hold anything.

    Args:
        folders: the folder or folders, as the message calls them.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{folders}: the files hold what no run writes ({type(error).__name__}: {error})",
            "the run's folder is damaged",
        ) from error
