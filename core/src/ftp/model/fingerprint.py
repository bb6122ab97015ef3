"""What a model's folder holds, as hashes, and whether that is still so. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path

from ftp.errors import UserError
from ftp.folder import contents
from ftp.model.source import Source

FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.py")
"""Files that decide what is trained: weights, configuration, tokenizer, code of its own."""
UNDER_ADAPTER = ("*.safetensors", "*.safetensors.index.json", "config.json", "*.py")
"""Those of a base that its adapter answers with; the tokenizer is saved with the adapter."""
HASHES, STATS, REVISION = "hashes", "stats", "revision"


def hashes(folder: Path, names: Iterable[str] | None = None) -> dict[str, str]:
    """A hash of the content of each file that decides what a model is, or of the files named."""
    if names is None:
        names = _names(folder, FILES)
    return {name: contents.digest(folder / name) for name in names}


def stats(folder: Path) -> dict[str, str]:
    """`contents.stat` of each of these files."""
    return {name: contents.stat(folder / name) for name in _names(folder, FILES)}


def check_base(adapter: Path, source: Source, known: Mapping[str, Mapping[str, str]]) -> None:
    """Compare the base of an adapter with what it was trained on.

    Args:
        adapter: the folder of the adapter, for the message.
        known: `hashes` and `stats` by file, or the `revision` of a hub model, as they were; empty where nothing was kept.

    Raises:
        UserError: with the names of the files that differ.
    """
    changed = []
    revision = known.get(REVISION, {}).get(REVISION)
    if source.folder is not None and HASHES in known:
        changed = _changed(source.folder, known[HASHES], known.get(STATS, {}))
    elif revision and source.revision not in (None, revision):
        changed = [f"revision {source.revision} instead of {revision}"]
    if changed:
        raise UserError(f"{adapter}: the base model that this was trained on has changed since ({', '.join(changed)} in "
                        f"{source.where}), so its answers would be another model's",
                        "put back what was there; predict, evaluate, chat, merge and export take it as it is now with "
                        "--allow-changed-base (in Python: allow_changed_base=True)")


def _changed(folder: Path, before: Mapping[str, str], stats_before: Mapping[str, str]) -> list[str]:
    """The files under an adapter that differ from what they were, in words."""
    present = _names(folder, UNDER_ADAPTER)
    expected = [name for name in before if any(fnmatch(name, pattern) for pattern in UNDER_ADAPTER)]
    changed = []
    for name in sorted({*present, *expected}):
        if name not in expected:
            changed.append(f"{name}, which was added")
        elif name not in present:
            changed.append(f"{name}, which is gone")
        # a file is read only where its size or time of change is another
        elif contents.stat(folder / name) != stats_before.get(name) and hashes(folder, [name])[name] != before[name]:
            changed.append(name)
    return changed


def _names(folder: Path, patterns: Iterable[str]) -> list[str]:
    """The files of a folder whose names match."""
    names = set[str]()
    for pattern in patterns:
        names.update(path.name for path in folder.glob(pattern))
    return sorted(names)
