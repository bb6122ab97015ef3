"""Compressed files: opened, counted while they grow, and refused in words where they are damaged."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ftp.data.readers.source import DataFile
from ftp.errors import UserError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

COMPRESSIONS = {".xz": "xz", ".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
# text rarely shrinks to less than a two-hundredth; archives that do are made to fill memory or disk
GROWTH = 200
ROOM = 4 * 10**9
"""Bytes that any archive may grow to."""
BUFFER = 1 << 18


class ArchiveError(UserError):
    """A compressed file that is damaged or grows too large; `reason` is the fault without the name of the file."""

    def __init__(self, path: Path, reason: str, fix: str, command: str = "") -> None:
        super().__init__(f"{path} {reason}", fix, command)
        self.reason, self.fix, self.command = reason, fix, command


def parse_size(text: str) -> int:
    """A size in bytes.

    Args:
        text: `64GB`, `500 MB`, or a number of bytes; a KB has 1,000.

    Raises:
        UserError: the text is no size.
    """
    match = SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * UNITS[match[2].lower()]) if match is not None else 0
    if size < 1:
        raise UserError(
            f"--max-decompressed {text}: not a size", "a number with KB, MB, GB or TB", "--max-decompressed 64GB"
        )
    return size


def shown_size(size: int) -> str:
    """Bytes as `64 GB`."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= (scale := UNITS[unit[0].lower()]):
            return f"{size / scale:.3g} {unit}"
    return f"{size} bytes"


def limit_of(file: DataFile) -> int:
    """Bytes that a file may grow to while it is read: what the user allows, or else a multiple of its size.

    Args:
        file: it has to exist.
    """
    if file.max_decompressed is not None:
        return file.max_decompressed
    return max(ROOM, GROWTH * file.path.stat().st_size)


def too_large(file: DataFile, limit: int) -> ArchiveError:
    """The error for a file that grows beyond its bound, with the option that allows more.

    Args:
        file: the file that grows.
        limit: its bound in bytes, as `limit_of` gives it.
    """
    return ArchiveError(
        file.path,
        f"grows to more than {shown_size(limit)} when it is decompressed",
        "allow more if you trust the file, with the option below",
        f"--max-decompressed {shown_size(4 * limit).replace(' bytes', '').replace(' ', '')}",
    )


def open_bytes(file: DataFile) -> io.BufferedReader:
    """The bytes of a file, decompressed, to be read in parts.

    Args:
        file: compressed where the ending of its name says so.

    Raises:
        UserError: while they are read, where they are damaged or more than `limit_of` allows.
        OSError: the file cannot be opened.
    """
    compression = COMPRESSIONS.get(file.path.suffix.lower())
    if compression is None:
        return io.BufferedReader(file.path.open("rb", buffering=0), BUFFER)
    return io.BufferedReader(_Bounded(_decompressed(file.path, compression), file), BUFFER)


def _decompressed(path: Path, compression: str) -> IO[bytes]:
    match compression:
        case "xz":
            import lzma

            return lzma.open(path)
        case "gzip":
            import gzip

            return gzip.open(path)  # type: ignore[return-value]
        case "bzip2":
            import bz2

            return bz2.open(path)
    import pyarrow as pa

    return pa.input_stream(str(path), compression="zstd")  # type: ignore[no-any-return]


class _Bounded(io.RawIOBase):
    """A decompressed file that counts its bytes and puts every fault of a decompressor in words."""

    def __init__(self, source: IO[bytes], file: DataFile) -> None:
        self._source = source
        self._file = file
        self._limit = limit_of(file)
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        try:
            block = self._source.read(len(view))
        except Exception as error:  # OSError, EOFError, LZMAError, zlib.error, ArrowInvalid: each library has its own
            raise ArchiveError(
                self._file.path,
                f"cannot be decompressed after {shown_size(self._count)}: {error}",
                "the file is cut short or damaged, or its ending names another compression",
            ) from None
        self._count += len(block)
        if self._count > self._limit:
            raise too_large(self._file, self._limit)
        view[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._source.close()
        super().close()


def read_whole(file: DataFile) -> bytes:
    """All bytes of a file, decompressed.

    Args:
        file: compressed where the ending of its name says so.

    Raises:
        UserError: the file cannot be read, is damaged, or grows beyond what `limit_of` allows.
    """
    try:
        with open_bytes(file) as source:
            return source.read()
    except OSError as error:
        raise UserError(f"{file.path} cannot be read: {error}") from None
