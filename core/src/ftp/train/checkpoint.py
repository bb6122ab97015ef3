"""Checkpoints of a run: finding them, judging whether they are whole, loading and removing them.

    <checkpoint>/weights.safetensors   the trained weights, tied ones once
    <checkpoint>/state.pt              optimizer, schedule, random states, place in the data, history
    <checkpoint>/manifest.json         step, and sha256 and size of the other two; written last

`tidy` (when a run claims its folder), `newest`, `load` begin a resumed run; `checkpoint_saving.save` and `prune` go on from
there. Only the main process calls them. torch is imported inside the functions.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp.errors import UserError
from ftp.folder.checkpoints import aside, checkpoints_in, set_aside, step_of
from ftp.train.durable_files import FileFacts, digest_of

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "weights.safetensors"
STATE = "state.pt"
MANIFEST = "manifest.json"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What a manifest of any other content raises as it is read."""


def any_in(folder: Path) -> bool:
    """Whether a folder has a checkpoint, whole or damaged."""
    return bool(checkpoints_in(folder))


def origin(path: Path) -> dict[str, str]:
    """Where a checkpoint comes from, as it was saved with it; empty where that is not known."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        return {str(name): str(value) for name, value in manifest["origin"].items()}
    except UNREADABLE:
        return {}


def is_foreign(path: Path, run: str | None) -> bool:
    """Whether a checkpoint says that it is of another run than this one (an id; None: not known)."""
    return run is not None and origin(path).get("run", run) != run


def newest(folder: Path, notes: list[str] | None = None, run: str | None = None) -> Path | None:
    """The newest complete checkpoint of a folder: manifest present, sizes and digests right. None where there is none.

    Args:
        notes: gets a line for each that is skipped, which says why.
        run: the id of the run; a checkpoint of another is skipped as a damaged one is.
    """
    for path in reversed(checkpoints_in(folder)):
        fault = damage(path)
        if not fault and is_foreign(path, run):
            fault = "it is of another run"
        if not fault:
            return path
        if notes is not None:
            notes.append(f"checkpoint {path.name} is damaged ({fault}) and was skipped")
    return None


def damage(path: Path, digests: bool = True) -> str:
    """What is wrong with a checkpoint, or an empty string. Without `digests` only presence and sizes are compared."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files: Mapping[str, FileFacts] = manifest["files"]
        if manifest["step"] != step_of(path) or set(files) != {WEIGHTS, STATE}:
            return "its manifest is of another checkpoint"
        for name, written in files.items():
            if (path / name).stat().st_size != written["bytes"]:
                return f"{name} has not the size that was written"
            if digests and digest_of(path / name) != written["sha256"]:
                return f"{name} has not the content that was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except UNREADABLE as error:
        return f"it cannot be read: {error}"
    return ""


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights (on the CPU, by every name that was saved; tied names share one tensor) and state of a checkpoint.

    No code of the file is run.

    Raises:
        UserError: it is damaged.
    """
    import torch
    from safetensors import safe_open

    if fault := damage(path):
        raise UserError(f"checkpoint {path} is damaged: {fault}", "resume from the newest complete one",
                        f"ftp run --resume {path.parent.parent}")
    with safe_open(path / WEIGHTS, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        tied = json.loads((file.metadata() or {}).get("tied", "{}"))  # name -> the name that it is stored under
    for name, stored_name in tied.items():
        weights[name] = weights[stored_name]
    return weights, torch.load(path / STATE, map_location="cpu", weights_only=True)


def prune(folder: Path, keep: int, protect: Collection[Path] = (), run: str | None = None) -> list[Path]:
    """Remove all but the newest `keep` checkpoints and those in `protect` (the best), and give what was removed.

    Protected ones do not count; damaged ones and those of another run than `run` (an id) neither count nor are removed, so that
    a good one never goes for them. Files that ftp did not write stay.
    """
    protected = {path.resolve() for path in protect}
    good = []
    for path in checkpoints_in(folder):
        is_protected = path.resolve() in protected
        # sizes are enough here: digests of every checkpoint at every save would cost more than the save
        if not (is_protected or is_foreign(path, run) or damage(path, digests=False)):
            good.append(path)
    removed = good[: max(0, len(good) - keep)]
    for path in removed:
        # renamed first, so that it is never half there under its own name
        going = path.rename(aside(path, "removed"))
        if not remove(going):
            going.rename(path)
    return removed


def remove(path: Path) -> bool:
    """Remove the files of a checkpoint, and its folder where nothing else is in it. Gives whether the folder is gone."""
    # its manifest goes first: without it, what is left of a checkpoint is never taken for one
    for name in (MANIFEST, WEIGHTS, STATE):
        with suppress(OSError):
            (path / name).unlink(missing_ok=True)
    with suppress(OSError):  # not empty: somebody keeps notes there
        path.rmdir()
    return not path.exists()


def tidy(folder: Path) -> None:
    """Remove what killed saves left behind. Call it when a run claims its folder: no other run may be writing there."""
    for path, checkpoint, why in set_aside(folder):
        if why == "replaced" and not checkpoint.exists():
            path.rename(checkpoint)  # killed between the two renames of a replacement
        else:
            remove(path)
