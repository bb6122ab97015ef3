"""Faults of the machine in words: a full disk, a folder that cannot be written, no home, no room
for temporary files.

`disk(path)` guards a write to a known path. `in_words(error)` looks at any exception, for whoever
runs a command as a whole. Libraries often hide the system's error: safetensors, tokenizers, torch
and pyarrow speak of it in their own words only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ftp.errors import UserError
from ftp.host.terminal import is_unicode, visible

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
MISPLACED = frozenset(
    {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.ENOENT}
)
"""The path itself cannot be: a file where a folder is needed, a name that is too long."""
OF_THE_DISK = frozenset({*FULL, errno.EFBIG, errno.EROFS, errno.EIO})
"""Never a mistake of a program: they count wherever in a chain of exceptions they stand."""
TOO_LARGE = (
    "the file is larger than this process may write, or than the file system takes (see ulimit -f)"
)

_NUMBER = re.compile(r"\b(?:os error|errno:?) (\d+)", re.IGNORECASE)
_WORDS = {
    "no space left on device": errno.ENOSPC,
    "not enough disk space": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "read-only file system": errno.EROFS,
}


@contextlib.contextmanager
def disk(path: Path, option: str = "--out") -> Iterator[None]:
    """Turn what a disk refuses into a `UserError` that says what to do.

    Args:
        path: what is written.
        option: the option that names another place.
    """
    try:
        yield
    except Exception as error:
        number = number_of(error)
        if number is None:
            raise
        problem = _written(path, number, option)
        if problem is None:
            raise
        raise problem from error


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[None]:
    """`disk`, for a folder of many files: removed where it could not be written whole, which also
    frees its space."""
    try:
        with disk(path):
            yield
    except UserError:
        shutil.rmtree(path, ignore_errors=True)
        raise


def number_of(error: BaseException | str) -> int | None:
    """The system's error number behind an exception (or in what a program wrote), or None.

    The exception itself may be any `OSError`; further down its chain only faults of the disk count,
    as others may have been handled there.
    """
    if isinstance(error, UserError):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    match = _NUMBER.search(text)
    if match and int(match[1]) in OF_THE_DISK:
        return int(match[1])
    for words, number in _WORDS.items():
        if words in text.lower():
            return number
    if isinstance(error, str):
        return None
    behind = error.__cause__ or error.__context__
    below = number_of(behind) if behind is not None else None
    return below if below in OF_THE_DISK else None


def is_of_the_machine(error: BaseException) -> bool:
    """Whether the system refused a write, for whatever reason: another way may still work."""
    return number_of(error) in FULL | REFUSED | MISPLACED | OF_THE_DISK


def in_words(error: BaseException) -> UserError | None:
    """Words for a fault of the machine that has none yet; None for any other exception."""
    if isinstance(error, UserError):
        return None
    return _words_for_python(error) or _words_for_system(error)


def _words_for_python(error: BaseException) -> UserError | None:
    """Words for what Python's own library says of the machine, without an error number."""
    text = str(error)
    if "Could not determine home directory" in text:
        return UserError(
            "this user has no home folder: HOME is not set, and the system knows none",
            "set HOME to a folder that can be written",
            "export HOME=/path/to/a/folder",
        )
    if "No usable temporary directory" in text:
        folders = text.partition("found in ")[2] or "none can be written"
        return UserError(
            f"there is no room for temporary files: {folders}",
            "free some space there, or name another folder by TMPDIR",
            "export TMPDIR=/path/to/a/folder",
        )
    if isinstance(error, UnicodeEncodeError) and not is_unicode(error.object):
        return UserError(
            f"a name or text is not UTF-8, and cannot be written down: {_around(error)}",
            "rename the file or folder, or correct the row; or work in a folder whose whole name "
            "is UTF-8",
        )
    return None


def _words_for_system(error: BaseException) -> UserError | None:
    """Words for an error number of the system."""
    number = number_of(error)
    path = getattr(error, "filename", None)
    if number == errno.ENAMETOOLONG and isinstance(path, (str, bytes)):
        return UserError(
            f"{os.fsdecode(path)}: {os.strerror(number)}",
            "a shorter name: most systems allow 255 bytes",
        )
    if number in FULL and path is None:
        return UserError(f"the disk is full ({error})", _free_space())
    if number in OF_THE_DISK or number in REFUSED:
        assert number is not None
        name = os.fsdecode(path) if isinstance(path, (str, bytes)) else ""
        if number in FULL or number == errno.EFBIG:
            return _written(Path(name or "a file"), number, "--out")
        reason = os.strerror(number)
        return UserError(
            f"{name}: {reason}" if name else f"{reason} ({error})",
            "check that the folder is there, is yours to read and write, and that its disk works",
        )
    return None


def _around(error: UnicodeEncodeError) -> str:
    """Some letters on each side of what cannot be encoded."""
    return visible(error.object[max(0, error.start - 40):error.end + 20])


def _written(path: Path, number: int, option: str) -> UserError | None:
    """The words for a write to `path` that ended with an error number of the system."""
    reason = os.strerror(number)
    if number in FULL:
        return UserError(f"the disk is full: {path} could not be written", _free_space())
    if number == errno.EFBIG:
        return UserError(f"{path}: {TOO_LARGE}", "allow larger files", "ulimit -f unlimited")
    if number in REFUSED:
        return UserError(
            f"{path}: cannot be written ({reason})",
            f"name a place that you may write to with {option}",
        )
    if number in MISPLACED:
        return UserError(f"{path}: cannot be made ({reason})", f"name another place with {option}")
    if number == errno.EIO:
        return UserError(
            f"{path}: cannot be written ({reason})",
            f"check the disk, or name another with {option}",
        )
    return None


def _free_space() -> str:
    return (
        "free some space, then give the command again; "
        "a run that has a checkpoint goes on from it: ftp run --resume DIR"
    )
