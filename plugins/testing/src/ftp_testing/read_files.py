"""What becomes of a file that is read, for tests of formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftp.data.read import read


def rows_of(path: Path, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """The rows of a file's first split, and the notes about it, one a line."""
    notes: list[str] = []
    splits = read(path, notes=notes, **options)
    return list(next(iter(splits.values()))), "\n".join(notes)


def error_of(path: Path, **options: Any) -> str:
    """The words in which a file is refused. They name it."""
    import pytest

    from ftp.errors import UserError

    with pytest.raises(UserError) as caught:
        rows_of(path, **options)
    assert path.name in str(caught.value)
    return str(caught.value)
