"""Checkpoints: written aside, made durable, then renamed, so that a half-written one is never chosen.

    <folder>/step-120/weights.safetensors   the trained weights, tied ones once
    <folder>/step-120/state.pt              optimizer, schedule, random states, place in the data, history
    <folder>/step-120/manifest.json         step, and sha256 and size of the other two; written last

`tidy` (when a run claims its folder), `newest`, `load` begin a resumed run; `save` and `prune` go on from there.
Only the main process calls them. torch is imported inside the functions.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftp.errors import UserError
from ftp.host.faults import FULL, TOO_LARGE, number_of

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, STATE, MANIFEST = "weights.safetensors", "state.pt", "manifest.json"
_STEP = re.compile(r"step-(\d+)")
_ASIDE = re.compile(r"\.(step-\d+)\.(partial|removed|replaced)-.+")


def save(
    folder: Path, step: int, weights: Mapping[str, Tensor], state: Mapping[str, Any], origin: Mapping[str, str] | None = None
) -> Path:
    """Write `<folder>/step-<step>` atomically and durably, and give its path.

    `weights`: tensors by name on any device; a tensor that has two names (tied weights) is stored once. `state`: plain
    containers, numbers, strings and tensors, so that it loads without running code. `origin`: what the manifest says of
    where it comes from (the run's id, the hash of its recipe). Leftovers of killed saves are
    removed first. Raises `UserError` when the disk is full or cannot be written, in which case every earlier checkpoint
    is as it was, or where another run's checkpoint has the name, and `TypeError` for a value in `state` that could not be loaded
    again.
    """
    plain = _plain(state, "state")
    if is_foreign(folder / f"step-{step}", (origin or {}).get("run")):
        raise UserError(f"cannot save step {step}: {folder / f'step-{step}'} is a checkpoint of another run",
                        "move it elsewhere, then go on", f"ftp run --resume {folder.parent}")
    target, aside = folder / f"step-{step}", folder / f".step-{step}.partial-{os.getpid()}"
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
            _sync_folder(folder.parent)
        tidy(folder)
        aside.mkdir()
        writers = {WEIGHTS: _weights_writer(weights), STATE: _state_writer(plain)}
        files = {name: _write(aside / name, writer) for name, writer in writers.items()}
        _write(aside / MANIFEST, lambda path: path.write_text(json.dumps(
            {"step": step, "files": files, **({"origin": dict(origin)} if origin else {})}, indent=1)))
        _sync_folder(aside)
        _put(aside, target)
    except OSError as error:
        _remove(aside)
        raise _told(error, folder, step, weights, plain) from error
    except BaseException:
        _remove(aside)
        raise
    return target


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
            if digests and _digest(path / name) != wanted["sha256"]:
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
        if not _remove(aside):
            aside.rename(path)
    return removed


def _remove(path: Path) -> bool:
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
                _remove(path)


def random_state() -> dict[str, Any]:
    """The state of every random generator of this process (Python, NumPy, torch on CPU and on its accelerator), as plain
    containers and tensors. With several processes each has its own."""
    import random

    import numpy as np
    import torch

    name, keys, position, has_gauss, gauss = np.random.get_state()
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()  # of this process's device; asking all would occupy them all
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put every random generator back as `random_state` found it; one that this machine has not is left out."""
    import random

    import numpy as np
    import torch

    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def _steps(folder: Path) -> list[Path]:
    found = [(int(match[1]), path) for path in folder.glob("step-*") if (match := _STEP.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def _write(path: Path, writer: Callable[[Path], object]) -> dict[str, Any]:
    """Write a file, and hash it (from memory: it has just been written) while the disk makes it durable."""
    writer(path)
    digest: list[str] = []
    hashing = threading.Thread(target=lambda: digest.append(_digest(path)))
    hashing.start()
    try:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    finally:
        hashing.join()
    if not digest:
        raise OSError(errno.EIO, "cannot be read back", str(path))
    return {"sha256": digest[0], "bytes": path.stat().st_size}


def _weights_writer(weights: Mapping[str, Tensor]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        stored, tied = _untie(weights)
        path.touch()
        mode = path.stat().st_mode  # as a new file has it here; safetensors writes for the owner alone
        try:
            save_file(stored, path, metadata={"tied": json.dumps(tied)})
            path.chmod(mode)
        except SafetensorError as error:  # it speaks of the system's error in words only
            raise OSError(number_of(error) or errno.EIO, str(error), str(path)) from error

    return write


def _untie(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors to store, and for each further name of one of them the name under which it is stored."""
    stored: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    seen: dict[Any, str] = {}
    storages: set[int] = set()
    for name, tensor in weights.items():
        tensor = tensor.detach()
        storage = tensor.untyped_storage().data_ptr()
        key = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and key in seen:
            tied[name] = seen[key]
            continue
        seen[key] = name
        if storage in storages or not tensor.is_contiguous():
            tensor = tensor.clone().contiguous()  # another view of memory that is stored already: as its own copy
        storages.add(storage)
        stored[name] = tensor
    return stored, tied


def _state_writer(state: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import torch

        with path.open("wb") as file:
            sink = _Sink(file.write)
            try:
                torch.save(state, sink)
            except Exception:
                if sink.error:  # torch's writer hides it behind one of its own
                    raise sink.error from None
                raise

    return write


class _Sink:
    """Something to write to that remembers which error of the system ended the writing."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Nothing is held back here."""


def _plain(value: Any, where: str) -> Any:
    """`value` with NumPy's numbers as Python's. Raises `TypeError` for what `torch.load(weights_only=True)` refuses: at
    the first save, not when a run must be resumed."""
    import numpy as np
    import torch

    if isinstance(value, np.generic):
        return value.item()
    if value is None or type(value) in (bool, int, float, complex, str, bytes):  # no enumerations
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {_plain(key, where): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    raise TypeError(f"{where} is {type(value).__name__}: a checkpoint holds plain containers, numbers, text and tensors")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put(aside: Path, target: Path) -> None:
    """Give a finished checkpoint its name. One that has the name already is moved away first; `tidy` brings it back where
    a kill falls between the two renames."""
    replaced = None
    if target.exists():
        replaced = target.rename(target.with_name(f".{target.name}.replaced-{os.getpid()}"))
    try:
        aside.rename(target)
    except OSError:
        if replaced:
            replaced.rename(target)
        raise
    _sync_folder(target.parent)
    if replaced:
        _remove(replaced)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there; renames are journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _told(error: OSError, folder: Path, step: int, weights: Mapping[str, Tensor], state: Any) -> UserError:
    last = newest(folder)
    good = f"last good checkpoint: step {last.name.removeprefix('step-')}" if last else "no checkpoint was saved before"
    command = f"ftp run --resume {folder.parent}"
    if error.errno in FULL:
        free = "?"
        with suppress(OSError):
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


def _bytes(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(_bytes(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_bytes(item) for item in value)
    return value.numel() * value.element_size() if hasattr(value, "element_size") else 0


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
