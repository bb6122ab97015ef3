"""Compressed files: opened, counted while they grow, and refused in words where they are damaged."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import IO, Any

from ftp.data.readers.source import DataFile
from ftp.errors import UserError

COMPRESSIONS = {".xz": "xz", ".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
GROWTH = 200  # text rarely shrinks to less than a two-hundredth; archives that do are made to fill memory or disk
ROOM = 4 * 10**9  # bytes that any archive may grow to
BUFFER = 1 << 18


class ArchiveError(UserError):
    """A compressed file that is damaged or grows too large; `reason` is the fault without the name of the file."""

    def __init__(self, path: Path, reason: str, fix: str, command: str = "") -> None:
        super().__init__(f"{path} {reason}", fix, command)
        self.reason, self.fix, self.command = reason, fix, command


def parse_size(text: str) -> int:
    """`64GB`, `500 MB` or a number of bytes as bytes; UserError for anything else."""
    match = SIZE.fullmatch(text.strip())
    if match is None or (size := int(float(match[1]) * UNITS[match[2].lower()])) < 1:
        raise UserError(
            f"--max-decompressed {text}: not a size",
            "a number with KB, MB, GB or TB",
            "--max-decompressed 64GB",
        )
    return size


def shown_size(size: int) -> str:
    """Bytes as `64 GB`."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= (scale := UNITS[unit[0].lower()]):
            return f"{size / scale:.3g} {unit}"
    return f"{size} bytes"


def limit_of(file: DataFile) -> int:
    """Bytes that the file may grow to while it is read."""
    if file.max_decompressed is not None:
        return file.max_decompressed
    return max(ROOM, GROWTH * file.path.stat().st_size)


def too_large(file: DataFile, limit: int) -> ArchiveError:
    """The error for a file that grows beyond its bound."""
    return ArchiveError(
        file.path,
        f"grows to more than {shown_size(limit)} when it is decompressed",
        "allow more if you trust the file, with the option below",
        f"--max-decompressed {shown_size(4 * limit).replace(' bytes', '').replace(' ', '')}",
    )


def open_bytes(file: DataFile) -> io.BufferedReader[Any]:
    """The bytes of a file, decompressed. Reading raises `ArchiveError` where they are damaged or too many."""
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
        self._source, self._file, self._limit = source, file, limit_of(file)
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._source.read(len(buffer))
        except Exception as error:  # OSError, EOFError, LZMAError, zlib.error, ArrowInvalid: each library has its own
            raise ArchiveError(
                self._file.path,
                f"cannot be decompressed after {shown_size(self._count)}: {error}",
                "the file is cut short or damaged, or its ending names another compression",
            ) from None
        self._count += len(block)
        if self._count > self._limit:
            raise too_large(self._file, self._limit)
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._source.close()
        super().close()


def read_whole(file: DataFile) -> bytes:
    """All bytes of a file, decompressed."""
    try:
        with open_bytes(file) as source:
            return source.read()
    except OSError as error:
        raise UserError(f"{file.path} cannot be read: {error}") from None
