"""Python files outside of packages: only the content that was hashed runs.

`expected_files` and `expected_sha256` note what the user is asked about; `files_to_run` and
`load_module` refuse what is another by then. Bytecode beside a file (`__pycache__`) is never used:
nobody reads that.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
from pathlib import Path
from types import CodeType, ModuleType

from ftp.errors import UserError

_expected_files: dict[str, list[Path]] = {}
_expected_sha256: dict[str, str] = {}
_sha256_of_run: dict[str, str] = {}


def split(where: str) -> tuple[Path, str]:
    """`path.py:name`, `path.py` or a folder as its path and the name after the colon."""
    drive, rest = (where[:2], where[2:]) if where[1:3] in (":\\", ":/") else ("", where)
    path, _, name = rest.partition(":")
    return Path(drive + path).expanduser(), name


def expected_files(where: str) -> list[Path]:
    """The files that `path.py`, `path.py:name` or a folder of such files means; of a folder every
    one is imported."""
    path, _ = split(where)
    files = _list(path)
    _expected_files[_key(path)] = files
    return files


def expected_sha256(path: Path) -> str:
    """The hash of a file that may run, as `sha256sum` gives it."""
    digest = _sha256(path.read_bytes())
    _expected_sha256[_key(path)] = digest
    return digest


def files_to_run(where: str) -> list[Path]:
    """The files that `where` means now.

    Raises `UserError` where they are not those that the user was asked about.
    """
    path, _ = split(where)
    files = _list(path)
    if _expected_files.get(_key(path), files) != files:
        raise UserError(
            f"{path}: files came or went after their sha256 was taken",
            "look at them, then give the command again",
        )
    return files


def load_module(name: str, path: Path) -> ModuleType:
    """A module whose code has not run yet: `run_module` does that.

    Raises:
        UserError: the file is another than the one that the user was asked about, or is no Python
            file.
    """
    if path.suffix != ".py":
        raise UserError(f"{path} is not a Python file", "its name ends in .py")
    content = path.read_bytes()
    digest = _sha256(content)
    if _expected_sha256.get(_key(path), digest) != digest:
        raise UserError(
            f"{path}: the file was changed after its sha256 was taken",
            "look at it, then give the command again",
        )
    _sha256_of_run[_key(path)] = digest
    spec = importlib.util.spec_from_file_location(
        name, path, loader=_SourceLoader(name, str(path), content)
    )
    assert spec is not None
    return importlib.util.module_from_spec(spec)


def run_module(module: ModuleType) -> None:
    """Run the code of a module of `load_module`. Raises whatever that raises."""
    assert module.__spec__ is not None and module.__spec__.loader is not None
    module.__spec__.loader.exec_module(module)


def forget_expected() -> None:
    """Forget the files of earlier commands: the next one asks about its own."""
    _expected_files.clear()
    _expected_sha256.clear()


def has_run_otherwise(path: Path, digest: str) -> bool:
    """Whether this process ran the file with another content than that of the hash."""
    return _sha256_of_run.get(_key(path), digest) != digest


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Runs the bytes that it was given, and looks neither at the file again nor at bytecode."""

    def __init__(self, name: str, path: str, content: bytes) -> None:
        super().__init__(name, path)
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._content, self.path)


def _sha256(content: bytes) -> str:
    import hashlib  # slow to import, and rarely needed

    return hashlib.sha256(content).hexdigest()


def _list(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.py"))
    return [path] if path.is_file() else []


def _key(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links are not followed, as they may lead elsewhere later
