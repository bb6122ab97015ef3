"""Files of a checkpoint, each made durable and hashed as it is written; values that load again without running code.

torch and safetensors are imported inside the functions.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ftp.host.faults import number_of

if TYPE_CHECKING:
    from torch import Tensor


class FileFacts(TypedDict):
    """What a manifest says of a file."""

    sha256: str
    bytes: int


def write_durably(path: Path, writer: Callable[[Path], object]) -> FileFacts:
    """Write a file, and hash it (from memory: it has just been written) while the disk makes it durable."""
    writer(path)
    digest: list[str] = []  # filled by the thread; still empty where it could not read the file
    hashing = threading.Thread(target=lambda: digest.append(digest_of(path)))
    hashing.start()
    try:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    finally:
        hashing.join()
    if not digest:
        raise OSError(errno.EIO, "cannot be read back", str(path))
    return {"sha256": digest[0], "bytes": path.stat().st_size}


def weights_writer(weights: Mapping[str, Tensor]) -> Callable[[Path], None]:
    """What writes tensors as safetensors, each once, with the further names of tied ones in the file's metadata."""

    def write(path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        stored, tied = _untie(weights)
        path.touch()
        mode = path.stat().st_mode  # as a new file has it here; safetensors writes for the owner alone
        try:
            save_file(stored, path, metadata={"tied": json.dumps(tied)})
            path.chmod(mode)
        except SafetensorError as error:  # it names the system's error only in its text
            raise OSError(number_of(error) or errno.EIO, str(error), str(path)) from error

    return write


def _untie(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors to store, and for each further name of one of them the name under which it is stored."""
    stored: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first_name: dict[tuple[object, ...], str] = {}
    storages: set[int] = set()
    for name, tensor in weights.items():
        tensor = tensor.detach()
        storage = tensor.untyped_storage().data_ptr()
        # the same memory, read in the same way: the tensor has another name already
        key = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and key in first_name:
            tied[name] = first_name[key]
            continue
        first_name[key] = name
        if storage in storages or not tensor.is_contiguous():
            # another view of memory that is stored already: as its own copy
            tensor = tensor.clone().contiguous()
        storages.add(storage)
        stored[name] = tensor
    return stored, tied


def state_writer(state: object) -> Callable[[Path], None]:
    """What writes plain values and tensors with torch, and raises the system's own error where the disk refuses."""

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


def only_plain(value: object, where: str) -> object:
    """`value` with NumPy's numbers as Python's.

    Args:
        where: where the value stands, as the message calls it.

    Raises:
        TypeError: `torch.load(weights_only=True)` would refuse it; raised at the first save, not when a run must be resumed.
    """
    import numpy as np
    import torch

    if isinstance(value, np.generic):
        return value.item()
    if value is None or type(value) in (bool, int, float, complex, str, bytes):  # no enumerations
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {only_plain(key, where): only_plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [only_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    raise TypeError(f"{where} is {type(value).__name__}: a checkpoint holds "
                    "numbers, texts, tensors, and lists, tuples and dictionaries of them")


def digest_of(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there; renames are journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
