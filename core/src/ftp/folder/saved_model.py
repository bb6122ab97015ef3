"""The model of a run: saved aside first, and model/ only once proven. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from ftp.errors import UserError
from ftp.folder import marker
from ftp.folder.paths import ASIDE, MODEL, REPLACED, SCRATCH_FILES
from ftp.folder.writing import free_name, sync_folder, sync_tree
from ftp.host.faults import disk


def prepare_aside(folder: Path) -> Path:
    """Give the folder to save the model in first.

    It is model/ only once it was verified, so that no other is ever used by mistake.

    Raises:
        UserError: ftp did not make what has that name.
    """
    aside = folder / ASIDE
    is_there = aside.is_symlink() or aside.exists()
    is_ours = not aside.is_symlink() and marker.lists(marker.read(folder), f"{ASIDE}/")
    if is_there and not is_ours:
        raise UserError(
            f"{aside}: nothing says that ftp made this, and the model is saved there first",
            "move it elsewhere",
            f"ftp run --resume {folder}",
        )
    with disk(aside):
        if is_there:  # of a run that was killed here
            shutil.rmtree(aside)
        for scratch in folder.glob(".verify-*"):  # likewise
            _remove_scratch(scratch)
        marker.add(folder, [f"{ASIDE}/"])
    return aside


def put_in_place(folder: Path) -> dict[str, int]:
    """Make what was saved aside model/, once all of it is on the disk.

    Gives its files and their sizes in bytes.
    """
    model = folder / MODEL
    aside = folder / ASIDE
    with disk(model):
        names = [name.replace(ASIDE, MODEL, 1) for name in marker.files_in(folder, ASIDE)]
        sync_tree(aside)
        mark = marker.read(folder)
        marker.add(folder, names)
        if model.exists():  # of a run that ended, by a verdict, and was resumed
            model.rename(free_name(folder / REPLACED))
        aside.rename(model)
        sync_folder(folder)
        # also those that a kill left behind, before the next model took the name
        for before in sorted(folder.glob(f"{REPLACED}*")):
            _keep_foreign(mark, before, model)
    return {name: (folder / name).stat().st_size for name in names}


def _remove_scratch(folder: Path) -> None:
    """Remove what a proof that was killed left behind (see `ftp.model.proof`).

    Files of other names stay, with the folder.
    """
    for name in SCRATCH_FILES:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    with contextlib.suppress(OSError):  # something of somebody else is in it
        folder.rmdir()


def _keep_foreign(mark: marker.Marker | None, before: Path, model: Path) -> None:
    """Remove a model that was replaced.

    Files that ftp did not put there move into the new one, or stay where its own have their names.
    Of a link only the link goes: what it points to was laid elsewhere on purpose.
    """
    if before.is_symlink():
        before.unlink()
        return
    for path in sorted(before.rglob("*"), reverse=True):  # files before the folders that hold them
        inside = path.relative_to(before)
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):  # something stays in it
                path.rmdir()
        elif marker.lists(mark, f"{MODEL}/{inside.as_posix()}"):
            path.unlink()
        elif not (model / inside).exists():
            (model / inside).parent.mkdir(parents=True, exist_ok=True)
            path.rename(model / inside)
    with contextlib.suppress(OSError):
        before.rmdir()
