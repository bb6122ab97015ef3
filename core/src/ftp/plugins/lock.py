"""What a run was made with, so that it can be known again."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from ftp.plugin_info import Picked
from ftp.plugins.declare import kind_of, summary_of


def lock(picked: Sequence[Picked]) -> list[dict[str, str]]:
    """What a run was made with: name, distribution, version, a hash of the source, kind and summary of each plugin."""
    return [
        {"name": one.name, "distribution": one.found.distribution, "version": one.found.version, "sha256": source_hash(one.cls),
         "kind": kind_of(one.cls), "summary": summary_of(one.cls)}
        for one in picked
    ]


def source_hash(cls: type) -> str:
    """sha256 over the Python files of the package (or the file) that a plugin's class is defined in."""
    import hashlib

    file = Path(inspect.getfile(cls))
    files = sorted(file.parent.rglob("*.py")) if (file.parent / "__init__.py").exists() else [file]
    digest = hashlib.sha256()
    for one in files:
        digest.update(one.relative_to(file.parent).as_posix().encode())
        digest.update(one.read_bytes())
    return digest.hexdigest()
