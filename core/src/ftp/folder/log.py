"""The log of a run: log.jsonl, and whoever shows the run meanwhile. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from ftp import addresses
from ftp.folder import marker
from ftp.folder.paths import LOG
from ftp.folder.writing import damaged, is_not_finite, plain, require_no_link, write_text
from ftp.host.faults import disk

LogLine = dict[str, Any]
"""A line of log.jsonl: `event`, `step`, what the event says, and `time`."""


class Display(Protocol):
    """Whoever shows a run while it goes on (`ftp.report.progress` does)."""

    def event(self, name: str, values: LogLine) -> None: ...

    def tell(self, message: str) -> None: ...


class Log:
    """The events of a run: kept in `lines` on every rank, written and shown by the writer alone.

    `folder` None keeps them in memory only. Each line has `event`, `step` (that of the last event
    where none is given), the values, and `time` (seconds since the epoch). A number that is not
    finite is written as null and named under `not_finite`, so that every line is valid JSON.
    """

    def __init__(
        self, folder: Path | None, *, writer: bool, display: Display | None = None
    ) -> None:
        self.lines: list[LogLine] = []
        self.path = folder / LOG if folder is not None else None
        self.writer = writer
        self.display = display if writer else None
        self._step = 0
        self._told: set[str] = set()
        self._file: IO[str] | None = None

    def event(self, name: str, /, **values: Any) -> None:
        """Add one line.

        Tensors and numpy scalars become numbers. Raises `UserError` when the disk is full.
        """
        self._step = int(values.pop("step", self._step))
        line = {"event": name, "step": self._step, **plain(values), "time": round(time.time(), 3)}
        # JSON has no word for them, but a reader of the log wants to know which it was
        not_finite = {}
        for key, value in values.items():
            if line.get(key) is None and is_not_finite(value):
                not_finite[key] = str(float(value))
        if not_finite:
            line["not_finite"] = not_finite
        self.lines.append(line)
        if self.writer and self.path is not None:
            with disk(self.path):
                if self._file is None:
                    require_no_link(self.path)
                    marker.add(self.path.parent, [LOG])
                    _cut_half_line(self.path)
                    self._file = self.path.open("a", encoding="utf-8")
                text = json.dumps(line, ensure_ascii=False, allow_nan=False)
                self._file.write(addresses.without(text) + "\n")
                self._file.flush()
        if self.display is not None:
            self.display.event(name, line)

    def tell(self, message: str) -> None:
        """Show one line to the user and log it; the same words a second time are dropped."""
        if message in self._told:
            return
        self._told.add(message)
        if self.display is not None:
            self.display.tell(message)
        self.event("told", message=message)

    def truncate(self, step: int) -> str:
        """Go back to `step` for a resume: take up the earlier lines, drop what came after.

        Gives what is wrong with the earlier lines, or an empty string.
        """
        self.close()
        num_damaged = _damaged_lines(self.path)
        earlier = []
        for line in read_log(self.path):
            # "ended" is said again, when the resumed run ends
            if line.get("step", 0) <= step and line.get("event") != "ended":
                earlier.append(line)
        self.lines[:] = earlier
        self._step = step
        if self.writer and self.path is not None and self.path.exists():
            texts = [json.dumps(line, ensure_ascii=False) + "\n" for line in earlier]
            write_text(self.path, "".join(texts))
        if num_damaged:
            fault = f"{num_damaged} lines cannot be read"
        elif step and not _has_update(earlier, step):
            # the update of a checkpoint is in the log, as that is synced first
            fault = f"it does not reach update {step}"
        else:
            return ""
        return f"{LOG} is damaged: {fault}; what they said is missing in the report"

    def sync(self) -> None:
        """Make what is written so far last through a power cut."""
        if self._file is not None and self.path is not None:
            with disk(self.path):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; a later event opens it again."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def read_log(path: Path | None) -> list[LogLine]:
    """The lines of a log.jsonl; none where there is no such file."""
    return [] if path is None or not path.exists() else read_lines(path)


def read_lines(path: Path) -> list[Any]:
    """The tables of a file that has one a line. A last line that a kill cut in two is left out."""
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise damaged(path, str(error)) from error
    lines = []
    for text in texts:
        # half a line of a kill, or one that somebody damaged: the others still tell of the run
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text)
            if isinstance(line, dict):
                lines.append(line)
    return lines


def _has_update(lines: Sequence[LogLine], step: int) -> bool:
    return any(line.get("event") == "step" and line["step"] == step for line in lines)


def _cut_half_line(path: Path) -> None:
    """Take away a last line that a kill cut in two, which would swallow the next one."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def _damaged_lines(path: Path | None) -> int:
    """Lines of a log.jsonl that cannot be read, but for the last, which a kill may cut in two."""
    if path is None or not path.exists():
        return 0
    count = 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines()[:-1]:
        try:
            json.loads(text)
        except json.JSONDecodeError:
            count += 1
    return count
