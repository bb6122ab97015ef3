"""The lines of a text file: UTF-8, with any line end, and a word about every byte that is not text."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator

from ftp.data.readers.archives import BUFFER, COMPRESSIONS, ArchiveError, open_bytes
from ftp.data.readers.names import ending_of, stem_of
from ftp.data.readers.source import DataFile
from ftp.errors import UserError


def read_lines(file: DataFile) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends; a byte order mark is dropped.

    Args:
        file: compressed where the ending of its name says so.

    Raises:
        UserError: the file cannot be read, or a byte is not UTF-8, with its line.
    """
    # bytes before the line, for the error about one that is not UTF-8
    offset = 0
    for number, raw in enumerate(raw_lines(file), 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(file, number, offset + error.start, raw[error.start]) from None
        if "\0" in line:
            raise UserError(
                f"{file.path}, line {number}, column {line.index(chr(0)) + 1}: a NUL byte, which no text file has",
                "the file is UTF-16 or not text; convert it, if it is UTF-16 with the command below",
                _iconv(file, "UTF-16LE"),
            )
        yield line
        offset += len(raw)


def raw_lines(file: DataFile) -> Iterator[bytes]:
    """The lines of a file as bytes, with their ends: LF, CR LF, or CR alone (old Mac), which is told.

    Args:
        file: compressed where the ending of its name says so.

    Raises:
        UserError: the file cannot be read.
    """
    number = 0
    try:
        with open_bytes(file) as source:
            lines = _split_at_cr(source) if _ends_in_cr(source, file) else iter(source)
            for raw in lines:
                number += 1
                yield raw
    except ArchiveError as error:
        raise UserError(
            f"{file.path}, after line {number}: {error.reason}", error.fix, error.command
        ) from None
    except OSError as error:
        raise UserError(f"{file.path} cannot be read after line {number}: {error}") from None


def _ends_in_cr(source: io.BufferedReader, file: DataFile) -> bool:
    head = source.peek(BUFFER)
    if b"\n" in head or b"\r" not in head[:-1]:  # a last CR may be half of CR LF
        return False
    file.tell("its lines end in CR alone, as on old Macs; each is read as a line")
    return True


def _split_at_cr(source: io.BufferedReader) -> Iterator[bytes]:
    rest = b""
    while block := source.read(BUFFER):
        *lines, rest = (rest + block).split(b"\r")
        for line in lines:
            yield line + b"\r"
    if rest:
        yield rest


def _not_utf8(file: DataFile, line: int, offset: int, byte: int) -> UserError:
    with open_bytes(file) as source:
        start = source.read(2)
    guess = "UTF-16" if start in (b"\xff\xfe", b"\xfe\xff") else "WINDOWS-1252"
    return UserError(
        f"{file.path} is not UTF-8: line {line} has the byte 0x{byte:02x} at byte offset {offset}",
        f"convert it to UTF-8, if it is {guess} with the command below",
        _iconv(file, guess),
    )


def _iconv(file: DataFile, encoding: str) -> str:
    """The command that writes the file anew as UTF-8."""
    path = shlex.quote(str(file.path))
    target = shlex.quote(str(file.path.with_name(f"{stem_of(file.path)}-utf8{ending_of(file.path)}")))
    compression = COMPRESSIONS.get(file.path.suffix.lower())
    if compression is None:
        return f"iconv -f {encoding} -t UTF-8 {path} > {target}"
    return f"{compression} -dc {path} | iconv -f {encoding} -t UTF-8 > {target}"
