"""What a run was made with, so that it can be known again."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from ftp.plugin_info import Picked
from ftp.plugins.declare import kind_of, summary_of


def lock(picked: Sequence[Picked]) -> list[dict[str, str]]:
    """What a run was made with: name, distribution, version, a hash of the source, kind and summary of each plugin."""
    lines = []
    for plugin in picked:
        lines.append({
            "name": plugin.name,
            "distribution": plugin.found.distribution,
            "version": plugin.found.version,
            "sha256": source_hash(plugin.cls),
            "kind": kind_of(plugin.cls),
            "summary": summary_of(plugin.cls),
        })
    return lines


def source_hash(cls: type) -> str:
    """sha256 over the Python files of the package (or the file) that a plugin's class is defined in."""
    import hashlib

    file = Path(inspect.getfile(cls))
    is_in_package = (file.parent / "__init__.py").exists()
    sources = sorted(file.parent.rglob("*.py")) if is_in_package else [file]
    digest = hashlib.sha256()
    for source in sources:
        # with its name: a file that is renamed is another package
        digest.update(source.relative_to(file.parent).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()
