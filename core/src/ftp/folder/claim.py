"""The folder of a run is made, or taken up, and held for this process. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from ftp.errors import Problem, UserError
from ftp.folder import marker
from ftp.folder.checkpoints import checkpoints_in
from ftp.folder.files import Folder
from ftp.folder.paths import (
    ASIDE,
    CHECKPOINTS,
    CLAIM,
    MODEL,
    PREDICTIONS,
    RECIPE,
    REPORT,
    RUNS,
    TOKENIZER,
    WRITTEN,
)
from ftp.folder.state import came_to_nothing, damaged_model_files, damaged_results, holds_run
from ftp.folder.writing import require_no_link, sync_folder
from ftp.host.faults import disk

# open lock files: the system releases them when the process ends, however it ends
_held: dict[Path, IO[str]] = {}


def claim(
    out: Path | None,
    plugins: Sequence[str],
    *,
    resume: bool = False,
    notes: list[str] | None = None,
) -> Path:
    """Make (or with `resume` take up) the folder of a run, and lock it for this process.

    It is held until `release` or the end of the process. A run that stopped before its first update
    is replaced.

    Args:
        out: the folder; None: runs/<plugins>-<number>, the next number that is free.
        notes: gets a line for what was replaced or made again.

    Raises:
        UserError: the path cannot be written, is a file, holds any other run or something else
            already, or another process works in it.
    """
    if resume:
        return _claim_existing(out, notes)
    if out is not None:
        return _claim_named(out.expanduser(), notes)
    return _claim_numbered(plugins)


def _claim_named(path: Path, notes: list[str] | None) -> Path:
    """The folder that `--out` names: new, empty, or of a run that came to nothing."""
    _check_free(path)
    with disk(path):
        path.mkdir(parents=True, exist_ok=True)
    hold(path)
    try:
        _check_free(path)  # whoever held it a moment ago may have made a run of it
    except UserError:
        release(path)
        raise
    if came_to_nothing(path):
        with disk(path):
            removed = marker.clear(path)
        if notes is not None:
            notes.append(
                f"{path}: the run that stopped here before its first update is replaced; removed: "
                f"{', '.join(removed)}"
            )
    _mark(path)
    _remove_parts(path)
    return path


def _claim_numbered(plugins: Sequence[str]) -> Path:
    """A new folder, named by the plugins and the next number that is free."""
    names = "-".join(name for name in plugins if not name.startswith("-"))
    stem = re.sub(r"[^A-Za-z0-9._]+", "-", names)[:80] or "run"
    with disk(RUNS):
        RUNS.mkdir(parents=True, exist_ok=True)
    while True:
        taken = []
        for path in RUNS.iterdir():
            match = re.fullmatch(re.escape(stem) + r"-(\d+)", path.name)
            if match is not None:
                taken.append(int(match[1]))
        path = RUNS / f"{stem}-{max(taken, default=0) + 1}"
        with disk(path):
            try:
                path.mkdir()
            except FileExistsError:  # another process took the number
                continue
        hold(path)
        _mark(path)
        return path


def _mark(path: Path) -> None:
    """Say of a folder that is claimed that ftp fills it, and make it last."""
    with disk(path):
        if marker.read(path) is None:
            marker.create(path)
        sync_folder(path.parent)


def release(folder: Path) -> None:
    """Let go of a folder that `claim` or `hold` gave; harmless when it is not held."""
    held = _held.pop(folder.resolve(), None)
    if held is not None:
        with contextlib.suppress(OSError):
            (folder / CLAIM).unlink()
        held.close()


def _claim_existing(out: Path | None, notes: list[str] | None) -> Path:
    """The folder of a run to go on with."""
    if out is None:
        raise UserError("no folder to resume is named", command="ftp runs")
    path = out.expanduser()
    if not (path / RECIPE).is_file():
        reason = "there is no such folder"
        if path.exists():
            reason = f"there is no {RECIPE} in it, so it is not a run's folder"
        raise UserError(f"--resume {path}: {reason}", "name the folder of a run", "ftp runs")
    if Folder(path).read_facts().get("status") == "finished":
        _check_completable(path, notes)
    hold(path)
    run_id = Folder(path).read_facts().get("id")
    if marker.read(path) is None and run_id:
        marker.create(path, id=str(run_id))
        if notes is not None:
            notes.append(
                f"{marker.NAME} is missing or damaged: it is made again; "
                "what the run wrote before is not listed in it"
            )
    _remove_parts(path)
    return path


def _remove_parts(path: Path) -> None:
    """Remove what killed writes of ftp left half written in a marked folder (see `write_text`)."""
    mark = marker.read(path)
    if mark is None:
        return
    for name in (*mark.files, marker.NAME):
        target = path / name
        if name.endswith("/") or not marker.is_inside(path, target):
            continue
        for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
            if part.name.split(".")[-2].isdigit():  # the id of the process that wrote it
                with contextlib.suppress(OSError):
                    part.unlink()


def _check_completable(path: Path, notes: list[str] | None) -> None:
    """Let a finished run be resumed only where some of what it wrote is gone, and a checkpoint is
    there to make it from."""
    missing = [*damaged_model_files(path), *damaged_results(path)]
    # a finished run is made whole again, and never trained on
    if missing and checkpoints_in(path / CHECKPOINTS):
        if notes is not None:
            notes.append(
                f"this run was finished, but {', '.join(missing)} is missing or damaged: "
                "it is made again from the checkpoints"
            )
        return
    if missing:
        raise UserError(
            f"--resume {path}: this run is finished, but {', '.join(missing)} is missing or "
            "damaged, and no checkpoint is left to make it from",
            "repeat the run",
            f"ftp run {path / RECIPE} --out {path}-anew",
        )
    if Folder(path).read_recipe().get("report", True) and not (path / REPORT).is_file():
        raise UserError(
            f"--resume {path}: this run is finished, but its {REPORT} is missing",
            "write it",
            f"ftp report {path}",
        )
    raise UserError(
        f"--resume {path}: this run is finished",
        f"to train anew: ftp run {path / RECIPE}",
        f'ftp predict {path} "a text"',
    )


def _check_free(path: Path) -> None:
    """Refuse a folder that holds what a new run would write over, or that is not a run's."""
    if path.is_file():
        raise UserError(
            f"--out {path}: there is a file of that name", "name a folder that is new or empty"
        )
    if not path.is_dir():
        return
    with disk(path):
        inside = {entry.name for entry in path.iterdir()} - {CLAIM}
    # of a run that was killed at its first write
    half_marker = re.compile(rf"\.{re.escape(marker.NAME)}\.\d+\.part")
    if all(half_marker.fullmatch(name) for name in inside):
        return
    mark = marker.read(path)
    if not holds_run(path):
        if mark is None:
            raise UserError(
                f"--out {path}: the folder is not empty, and what it holds is not a run",
                "name a folder that is new or empty",
            )
        _check_foreign(path, mark)
        return
    if came_to_nothing(path):
        _check_replaceable(path, mark)
        return
    pid = holder(path)
    if pid is not None:
        raise in_use(path, pid)
    if Folder(path).read_facts().get("status") == "finished":
        raise UserError(
            f"--out {path}: the folder already holds a run, which is finished",
            "name another with --out",
        )
    raise UserError(
        f"--out {path}: the folder already holds a run",
        "name another with --out, or go on with that run",
        f"ftp run --resume {path}",
    )


def _check_replaceable(path: Path, mark: marker.Marker | None) -> None:
    """Refuse to replace a run that came to nothing, where it is not ftp's to remove."""
    if mark is None or mark.id != Folder(path).read_facts().get("id"):
        raise UserError(
            f"--out {path}: the folder is not empty, and what it holds is not a run that ftp "
            f"marked as its own ({marker.NAME} is missing or of another run), so nothing in it "
            "is replaced",
            "name a folder that is new or empty",
        )
    _check_foreign(path, mark)


def _check_foreign(path: Path, mark: marker.Marker) -> None:
    """Refuse a folder where something that ftp did not write stands where a run would write.

    Anything else may stay.
    """
    names = [name for name in WRITTEN if (path / name).is_file()]
    for folder in (TOKENIZER, MODEL, ASIDE):  # written as a whole
        names += marker.files_in(path, folder)
    names += [name for name in marker.files_in(path, PREDICTIONS) if name.endswith(".jsonl")]
    problems = []
    for name in names:
        if not marker.lists(mark, name):
            problems.append(
                Problem(
                    f"--out {path}: a run would write over {name}, which ftp did not write",
                    "move it elsewhere, or name another folder with --out",
                )
            )
    if problems:
        raise UserError(problems)


def hold(path: Path, who: str = "run") -> None:
    """Lock the folder for this process, until `release` or its end.

    Where the file system knows no locks, the folder is used without one.

    Args:
        path: the folder.
        who: works in it, for the message of whoever comes next.

    Raises:
        UserError: another process holds it.
    """
    require_no_link(path / CLAIM)
    while True:
        with disk(path):
            file = (path / CLAIM).open("a+", encoding="utf-8")
        if not _lock(file):
            pid = _read_pid(file)
            file.close()
            raise in_use(path, pid, who)
        try:
            is_same_file = os.path.samestat(os.fstat(file.fileno()), (path / CLAIM).stat())
        except OSError:
            is_same_file = False
        if is_same_file:
            break
        file.close()  # the one before us removed the file in between: take the new one
    with disk(path):
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
    _held[path.resolve()] = file


def holder(path: Path) -> str | None:
    """The process id of whoever holds a folder, `?` when that cannot be read; None: nobody."""
    try:
        file = (path / CLAIM).open("r+", encoding="utf-8")
    except OSError:
        return None
    with file:
        return None if _lock(file) else _read_pid(file)


def _read_pid(file: IO[str]) -> str:
    """The process id that a lock file holds, `?` where it cannot be read."""
    try:
        file.seek(0)
        return file.read(20).strip() or "?"
    except OSError:
        return "?"


def in_use(path: Path, pid: str, who: str = "run") -> UserError:
    """The error of whoever comes to a folder that another process holds."""
    return UserError(f"{path}: another {who} is working in this folder (process {pid})",
                     "wait for it, or name another folder with --out")


def _lock(file: IO[str]) -> bool:
    """Whether this process now holds the file's lock; True also where there are no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(1000)  # beyond the text, which stays readable
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True
