"""Where every word for the user goes: standard output and error, whatever has become of them.

- `say` and `warn` write lines, `say_json` what other programs read, `console` gives a rich console
  for tables and live lines.
- Control characters of data never reach the terminal: they are shown as escapes (`visible`). Files
  are not written here.
- What the terminal's encoding does not have is shown as an escape too.
- A reader that went away (`ftp runs | head -1`) ends a command quietly; a run goes on without it
  (`persistent`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from ftp import addresses
from ftp.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 240
"""Columns where the output is no terminal, so that no path is cut."""
NARROW = 40
"""A terminal of fewer columns wraps lines by itself: a table of single letters helps nobody."""

# C0 without tab and newline, DEL, C1, marks that reorder text, and halves of surrogate pairs
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class ReaderGone(BaseException):
    """Whoever read our output has closed it.

    No `Exception`: nobody but the command line has anything to do about it.
    """


OF_THE_USER = (KeyboardInterrupt, ReaderGone)
"""Exceptions by which the user ends a command. All others are of whoever raised them."""


# --- text ---


def visible(text: str) -> str:
    r"""`text` with control characters as escapes (`\x1b`).

    Bytes of names that are not UTF-8 are escapes as well (`\xff`).
    """
    return _UNSEEN.sub(lambda match: _escape(match[0]), addresses.without(text))


def _escape(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # Python's stand-in for a byte that is not UTF-8
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return _long_escape(chr(number))


def is_unicode(text: str) -> bool:
    """Whether text can be written as UTF-8: it holds no stray byte and no half surrogate pair."""
    return _has("utf-8", text)


def fitting(text: str, encoding: str) -> str:
    r"""`text` with escapes for the letters that an encoding does not have.

    They are such as `\u00f6`, which JSON and TOML read back.
    """
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        letters = []
        for letter in text:
            letters.append(letter if _has(encoding, letter) else _long_escape(letter))
        return "".join(letters)
    except LookupError:  # an encoding that Python does not know
        return fitting(text, "ascii")


def _has(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _long_escape(letter: str) -> str:
    number = ord(letter)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


# --- streams ---


class Stream:
    """A text stream that never fails for what became of its other end, nor for a letter.

    A write that fails is the last that is tried. With `persistent` the rest is dropped; else the
    reader who went away raises `ReaderGone`, and any other reason `UserError`.
    """

    def __init__(self, inner: TextIO, name: str, persistent: bool = False) -> None:
        self.inner = inner
        self.name = name  # as the user knows it
        self.persistent = persistent
        self.is_gone = False
        self.fault: UserError | None = None  # why it cannot be written, where that is a mistake

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # click asks that way whether a stream takes bytes
            raise TypeError("a text stream takes text alone")
        # click tries an empty text too: on a full device that fails where nobody looks
        if text and not self.is_gone:
            try:
                self.inner.write(fitting(text, self.inner.encoding or "utf-8"))
            except (OSError, ValueError) as error:  # ValueError: the file is closed
                self._lose(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if not self.is_gone:
            try:
                self.inner.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def _lose(self, error: Exception) -> None:
        self.is_gone = True
        _to_nowhere(self.inner)
        number = error.errno if isinstance(error, OSError) else errno.EBADF
        is_closed = number in (errno.EPIPE, errno.ECONNRESET, errno.EBADF)
        reason = os.strerror(number or errno.EIO)
        if self.persistent:
            if not is_closed and self.name != "standard error":
                warn(f"ftp: {self.name} cannot be written ({reason}); going on without it")
        elif is_closed:
            raise ReaderGone
        else:
            self.fault = UserError(
                f"{self.name} cannot be written ({reason})",
                "free some space there, or send it elsewhere",
            )
            raise self.fault

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # writes to it would pass us by
            raise AttributeError(name)
        return getattr(self.inner, name)


def persistent(stream: TextIO | None = None) -> TextIO:
    """A stream (standard output) that is written to as long as somebody reads, then dropped."""
    inner: Any = sys.stdout if stream is None else stream
    if isinstance(inner, Stream):
        inner.persistent = True
    elif inner is not None:
        inner = Stream(inner, "standard output", persistent=True)
    return inner  # type: ignore[no-any-return]


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Standard output and error as `Stream`s; closed ones (`>&-`) become the null device."""
    _open_closed_ones()
    before = sys.stdout, sys.stderr
    sys.stdout = Stream(before[0], "standard output")
    sys.stderr = Stream(before[1], "standard error", persistent=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def require_written() -> None:
    """Raise the error of standard output, where a library has swallowed it.

    Raises:
        UserError: something that was written there is lost.
    """
    if isinstance(sys.stdout, Stream):
        sys.stdout.flush()
        if sys.stdout.fault is not None:
            raise sys.stdout.fault


def _open_closed_ones() -> None:
    """Open standard streams that were closed before we began, as the null device.

    Else a file that takes their number would get what libraries print.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                # the system gives the lowest free number, which is this one
                os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - as long as the process lives
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def _to_nowhere(stream: TextIO) -> None:
    """Let the rest of a stream's buffer go to the null device: Python writes it out at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


# --- words ---


def say(text: str = "", end: str = "\n") -> None:
    """Write a line to standard output."""
    _write(sys.stdout, text, end)


def warn(text: str = "", end: str = "\n") -> None:
    """Write a line to standard error."""
    _write(sys.stderr, text, end)


def tell(stream: TextIO, text: str) -> None:
    """Write a line to any stream."""
    _write(stream, text, "\n")


def _write(stream: TextIO | None, text: str, end: str) -> None:
    if stream is None:
        return
    if not isinstance(stream, Stream):  # ftp used from Python
        stream = Stream(stream, "the output", persistent=True)  # type: ignore[assignment]
    assert stream is not None
    stream.write(visible(text) + end)
    stream.flush()


def say_json(value: object, indent: int | None = None) -> None:
    """Write a value as JSON, whatever the encoding: what it does not have is escaped as in JSON."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if fitting(text, encoding) != text:
        text = json.dumps(value, indent=indent)
    say(_UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def is_interactive() -> bool:
    """Whether somebody types at a terminal."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def console(stream: TextIO | None = None, **more: Any) -> Console:
    """A rich console on a stream (standard output) that shows text as it is.

    No markup, no emoji, no control characters.
    """
    from rich.console import Console
    from rich.segment import Segment

    class Plainly(Console):
        """What is rendered is shown visibly, wherever it came from; rich's own controls pass."""

        def render(self, *arguments: Any, **named: Any) -> Iterator[Segment]:
            for segment in super().render(*arguments, **named):
                if segment.control:
                    yield segment
                else:
                    yield Segment(visible(segment.text), segment.style)

    out = stream if stream is not None else sys.stdout
    # a table in a file or a pipe is read by a program or later: it is not folded to a guessed width
    width: int | None = None
    if not out.isatty() or shutil.get_terminal_size().columns < NARROW:
        width = WIDE
    return Plainly(file=out, highlight=False, markup=False, emoji=False, width=width, **more)
