"""Writing a checkpoint: aside, made durable, then renamed, so that a half-written one is never chosen.

Only the main process calls it. torch is imported inside the functions.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.errors import UserError
from ftp.folder.checkpoints import aside, checkpoint_path, step_of
from ftp.host.faults import FULL, TOO_LARGE
from ftp.train.checkpoint import MANIFEST, STATE, WEIGHTS, is_foreign, newest, remove, tidy
from ftp.train.durable_files import only_plain, state_writer, sync_folder, weights_writer, write_durably

if TYPE_CHECKING:
    from torch import Tensor


def save(
    folder: Path, step: int, weights: Mapping[str, Tensor], state: Mapping[str, object], origin: Mapping[str, str] | None = None
) -> Path:
    """Write the checkpoint of an update atomically and durably, and give its path. Leftovers of killed saves are removed first.

    Args:
        weights: tensors by name on any device; a tensor that has two names (tied weights) is stored once.
        state: plain containers, numbers, strings and tensors, so that it loads without running code.
        origin: what the manifest says of where it comes from (the run's id, the hash of its recipe).

    Raises:
        UserError: the disk is full or cannot be written, and every earlier checkpoint is as it was; or another run's
            checkpoint has the name.
        TypeError: a value in `state` could not be loaded again.
    """
    plain = only_plain(state, "state")
    target = checkpoint_path(folder, step)
    partial = aside(target, "partial")
    if is_foreign(target, (origin or {}).get("run")):
        raise UserError(f"cannot save step {step}: {target} is a checkpoint of another run",
                        "move it elsewhere, then go on", f"ftp run --resume {folder.parent}")
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
            sync_folder(folder.parent)
        tidy(folder)
        partial.mkdir()
        writers = {WEIGHTS: weights_writer(weights), STATE: state_writer(plain)}
        files = {name: write_durably(partial / name, writer) for name, writer in writers.items()}
        manifest: dict[str, object] = {"step": step, "files": files}
        if origin:
            manifest["origin"] = dict(origin)
        # written last: a checkpoint with a manifest has all of its files
        write_durably(partial / MANIFEST, lambda path: path.write_text(json.dumps(manifest, indent=1)))
        sync_folder(partial)
        _put(partial, target)
    except OSError as error:
        remove(partial)
        raise _in_words(error, folder, step, weights, plain) from error
    except BaseException:
        remove(partial)
        raise
    return target


def _put(partial: Path, target: Path) -> None:
    """Give a finished checkpoint its name. One that has the name already is moved away first; `tidy` brings it back where
    a kill falls between the two renames."""
    replaced = None
    if target.exists():  # of a run that was resumed from before it
        replaced = target.rename(aside(target, "replaced"))
    try:
        partial.rename(target)
    except OSError:
        if replaced:
            replaced.rename(target)
        raise
    sync_folder(target.parent)
    if replaced:
        remove(replaced)


def _in_words(error: OSError, folder: Path, step: int, weights: Mapping[str, Tensor], state: object) -> UserError:
    """What the disk refused, which checkpoint is there to go on from, and what would help."""
    good = "no checkpoint was saved before"
    last = newest(folder)
    if last:
        good = f"last good checkpoint: step {step_of(last)}"
    command = f"ftp run --resume {folder.parent}"
    if error.errno in FULL:
        free = "?"
        with suppress(OSError):  # where the disk does not even say how much is free
            free = _size(shutil.disk_usage(folder if folder.exists() else folder.parent).free)
        needed = _size(_bytes(weights) + _bytes(state))
        return UserError(f"disk full while saving step {step}: {needed} needed, {free} free at {folder}; {good}",
                         "free space, then go on from there", command)
    if error.errno == errno.EFBIG:
        return UserError(f"cannot save step {step} at {folder}: {TOO_LARGE}; {good}", "allow larger files, then go on from there",
                         f"ulimit -f unlimited; {command}")
    reason = error.strerror or str(error)
    return UserError(f"cannot save step {step} at {folder}: {reason}; {good}",
                     "make the folder writable, then go on from there", command)


def _bytes(value: object) -> int:
    """Bytes of all tensors in plain containers: nearly all that a checkpoint takes on the disk."""
    import torch

    if isinstance(value, Mapping):
        return sum(_bytes(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_bytes(item) for item in value)
    return value.nbytes if isinstance(value, torch.Tensor) else 0


def _size(count: float) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
