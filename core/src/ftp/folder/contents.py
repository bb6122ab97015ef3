"""Whether a file still has the content that it had. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

HASH, STAT = "hash", "stat"
WEIGHTS = ".safetensors"


def digest(path: Path) -> str:
    """A hash of the content of a file."""
    # comes with datasets; ten times as fast as sha256: hashing takes about as long as reading
    import xxhash

    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def stat(path: Path) -> str:
    """Size in bytes, time of the last change and inode of a file, as one text.

    The time is ctime, which no program can set back: where all are the same the content is too,
    and need not be read.
    """
    status = path.stat()
    return f"{status.st_size}:{status.st_ctime_ns}:{status.st_ino}"


def of_weights(folder: Path, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Hash and stat of each file of weights among these, by name, for `changed_weights`."""
    fingerprints = {}
    for name in names:
        if name.endswith(WEIGHTS):
            fingerprints[name] = {STAT: stat(folder / name), HASH: digest(folder / name)}
    return fingerprints


def changed_weights(folder: Path, known: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The files of weights whose content changed; one that is gone is not among them.

    Args:
        known: what `of_weights` gave before.
    """
    changed = []
    for name, was in known.items():
        path = folder / name
        # the stat first: it costs nothing, and where it is the same the content is too
        if path.is_file() and stat(path) != was[STAT] and digest(path) != was[HASH]:
            changed.append(name)
    return changed


def is_json(path: Path, *, lines: bool = False) -> bool:
    """Whether a file can be read as JSON, or with `lines` each of its lines."""
    try:
        text = path.read_text(encoding="utf-8")
        for part in text.splitlines() if lines else [text]:
            json.loads(part)
    except (OSError, ValueError):
        return False
    return True
