"""Checkpoints of a run: finding them, judging whether they are whole, loading and removing them.

    <folder>/step-120/weights.safetensors   the trained weights, tied ones once
    <folder>/step-120/state.pt              optimizer, schedule, random states, place in the data, history
    <folder>/step-120/manifest.json         step, and sha256 and size of the other two; written last

`tidy` (when a run claims its folder), `newest`, `load` begin a resumed run; `checkpoint_saving.save` and `prune` go on from
there. Only the main process calls them. torch is imported inside the functions.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp.errors import UserError
from ftp.train.durable_files import digest_of

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, STATE, MANIFEST = "weights.safetensors", "state.pt", "manifest.json"
_STEP = re.compile(r"step-(\d+)")
_ASIDE = re.compile(r"\.(step-\d+)\.(partial|removed|replaced)-.+")


def any_in(folder: Path) -> bool:
    """Whether a folder has a checkpoint, whole or damaged."""
    return bool(_steps(folder))


def origin(path: Path) -> dict[str, str]:
    """What `save` was told of where a checkpoint comes from; empty where that is not known."""
    try:
        return {str(name): str(value) for name, value in json.loads((path / MANIFEST).read_text())["origin"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def is_foreign(path: Path, run: str | None) -> bool:
    """Whether a checkpoint says that it is of another run than this one (an id; None: not known)."""
    return run is not None and origin(path).get("run", run) != run


def newest(folder: Path, notes: list[str] | None = None, run: str | None = None) -> Path | None:
    """The newest complete checkpoint of a folder: manifest present, sizes and digests right. None where there is none.

    A damaged one is skipped, and so is one of another run than `run` (an id); a line that says which and why is appended to
    `notes`.
    """
    for path in reversed(_steps(folder)):
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
        files: Mapping[str, Mapping[str, Any]] = manifest["files"]
        if f"step-{manifest['step']}" != path.name or set(files) != {WEIGHTS, STATE}:
            return "its manifest is of another checkpoint"
        for name, wanted in files.items():
            if (path / name).stat().st_size != wanted["bytes"]:
                return f"{name} has not the size that was written"
            if digests and digest_of(path / name) != wanted["sha256"]:
                return f"{name} has not the content that was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it cannot be read: {error}"
    return ""


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights (on the CPU, by every name that was saved; tied names share one tensor) and state of a checkpoint.

    Raises `UserError` where it is damaged. No code of the file is run.
    """
    import torch
    from safetensors import safe_open

    if fault := damage(path):
        raise UserError(f"checkpoint {path} is damaged: {fault}", "resume from the newest complete one",
                        f"ftp run --resume {path.parent.parent}")
    with safe_open(path / WEIGHTS, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        for name, same in json.loads((file.metadata() or {}).get("tied", "{}")).items():
            weights[name] = weights[same]
    return weights, torch.load(path / STATE, map_location="cpu", weights_only=True)


def prune(folder: Path, keep: int, protect: Collection[Path] = (), run: str | None = None) -> list[Path]:
    """Remove all but the newest `keep` checkpoints and those in `protect` (the best), and give what was removed.

    Protected ones do not count; damaged ones and those of another run than `run` (an id) neither count nor are removed, so that
    a good one never goes for them. Files that ftp did not write stay.
    """
    kept = {path.resolve() for path in protect}
    good = [path for path in _steps(folder)
            if not (path.resolve() in kept or is_foreign(path, run) or damage(path, digests=False))]
    removed = good[: max(0, len(good) - keep)]
    for path in removed:
        aside = path.rename(folder / f".{path.name}.removed-{os.getpid()}")  # never half there under its own name
        if not remove(aside):
            aside.rename(path)
    return removed


def remove(path: Path) -> bool:
    """Remove the files of a checkpoint, and its folder where nothing else is in it. Gives whether the folder is gone."""
    for name in (MANIFEST, WEIGHTS, STATE):  # without its manifest, what is left of one is never taken for a checkpoint
        with suppress(OSError):
            (path / name).unlink(missing_ok=True)
    with suppress(OSError):  # not empty: somebody keeps notes there
        path.rmdir()
    return not path.exists()


def tidy(folder: Path) -> None:
    """Remove what killed saves left behind. Call it when a run claims its folder: no other run may be writing there."""
    for path in folder.glob(".step-*"):
        if match := _ASIDE.fullmatch(path.name):
            if match[2] == "replaced" and not (folder / match[1]).exists():
                path.rename(folder / match[1])  # killed between the two renames of `_put`
            else:
                remove(path)


def _steps(folder: Path) -> list[Path]:
    found = [(int(match[1]), path) for path in folder.glob("step-*") if (match := _STEP.fullmatch(path.name))]
    return [path for _, path in sorted(found)]
