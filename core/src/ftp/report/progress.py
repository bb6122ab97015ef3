"""What a user sees of a run while it goes on.

On a terminal a live line; elsewhere plain lines, one every few seconds. rich is imported when
something is shown. The end of a run is in `ftp.report.outcome`.
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from typing import TYPE_CHECKING, Any, TextIO

from ftp.host import terminal
from ftp.report.numbers import format_duration, format_number

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.status import Status

    from ftp.folder.log import LogLine
    from ftp.plugins.plan import Prepared

SECONDS = 5.0
"""Time between two plain lines."""

_open: weakref.WeakSet[Bar] = weakref.WeakSet()


def close_all() -> None:
    """End every live display, so that the terminal is as it was: before an error, and at exit."""
    for bar in list(_open):
        bar.close()


class Live:
    """Shows a run on `stream` (standard output): a live line on a terminal, plain lines elsewhere.

    A context manager that is fed with the lines of the log: `stage` (doing), `started` (total),
    `step`, `evaluation`, `risk`, `ended`; other events are not shown.
    """

    def __init__(
        self, prepared: Prepared | None = None, device: str = "", stream: TextIO | None = None
    ) -> None:
        out = terminal.persistent(stream)
        is_live = out.isatty() and os.environ.get("TERM", "") != "dumb"
        facts = Facts(device)
        self.view: Bar | Plain = Bar(out, facts) if is_live else Plain(out, facts)
        if prepared is not None:
            self.view.tell(_headline(prepared))

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def event(self, name: str, values: LogLine) -> None:
        """Show an event, or not."""
        self.view.facts.take(name, values)
        if name == "evaluation":
            self.view.tell(evaluation(values))
        elif name == "risk":
            level, check, finding = (values.get(key) for key in ("level", "risk", "finding"))
            self.view.tell(f"risk: {level}: {check}: {finding}")
        else:
            self.view.event(name, values)

    def tell(self, message: str) -> None:
        """Show one line."""
        self.view.tell(message)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.view.close()


def _headline(prepared: Prepared) -> str:
    """The plugins that the user chose, and what is trained on."""
    # default plugins are in every run, and would only lengthen the line
    names = [plugin.name for plugin in prepared.picked if not plugin.found.default]
    return f"plugins {', '.join(names)}  ({prepared.task.form} rows, head {prepared.task.head})"


class Facts:
    """What is known so far, and how long the rest will take. Fed with the lines of the log."""

    def __init__(self, device: str = "") -> None:
        self.device = device
        self.total = 0
        self.step = 0
        self.values: dict[str, Any] = {}
        self._start: tuple[float, int] | None = None  # time in seconds, update

    def take(self, name: str, values: LogLine) -> None:
        """Take up one event."""
        if name == "step":
            for key, value in values.items():
                if value is not None:
                    self.values[key] = value
        self.step = int(values.get("step", self.step))
        self.total = int(values.get("total", self.total) or 0)
        if name == "started":
            self._start = (time.monotonic(), self.step)

    def left(self) -> float | None:
        """Seconds until the last update, at the mean pace of this process; None before its first.

        A resumed run begins at an update of its own, so earlier ones say nothing about the pace.
        """
        if self._start is None or not self.total:
            return None
        start_time, start_step = self._start
        if self.step <= start_step:
            return None
        pace = (time.monotonic() - start_time) / (self.step - start_step)
        return pace * max(0, self.total - self.step)

    def parts(self) -> list[str]:
        """Loss, learning rate, tokens a second, time left and device, as far as they are known."""
        parts = []
        if "loss" in self.values:
            parts.append(f"loss {format_number(self.values['loss'])}")
        if "learning_rate" in self.values:
            parts.append(f"lr {self.values['learning_rate']:.1e}")
        if "tokens_per_second" in self.values:
            parts.append(f"{self.values['tokens_per_second']:,.0f} tokens/s")
        seconds_left = self.left()
        if seconds_left is not None:
            parts.append(f"{format_duration(seconds_left)} left")
        if self.device:
            parts.append(self.device)
        return parts


class Plain:
    """Plain lines for logs and pipes: each stage, evaluation and message, and some updates.

    An update is shown every `every` seconds.
    """

    def __init__(self, stream: TextIO, facts: Facts, every: float = SECONDS) -> None:
        self.stream = stream
        self.facts = facts
        self.every = every
        self._last = -every

    def event(self, name: str, values: LogLine) -> None:
        """Show a stage, or an update when it is time."""
        if name == "stage":
            self.tell(str(values.get("doing")))
        elif name == "step":
            is_due = time.monotonic() - self._last >= self.every
            if is_due or self.facts.step == self.facts.total:
                self._last = time.monotonic()
                total = f" of {self.facts.total}" if self.facts.total else ""
                self.tell("  ".join([f"update {self.facts.step}{total}", *self.facts.parts()]))

    def tell(self, message: str) -> None:
        """Show one line."""
        terminal.tell(self.stream, message)

    def close(self) -> None:
        """Nothing is left open."""


class Bar:
    """A live line on a terminal, with evaluations and messages above it.

    It says what is being done, or how far training is.
    """

    def __init__(self, stream: TextIO, facts: Facts) -> None:
        self.console = terminal.console(stream)
        self.facts = facts
        self._live: Progress | Status | None = None
        self._bar: tuple[Progress, TaskID] | None = None

    def event(self, name: str, values: LogLine) -> None:
        """Show an event."""
        if name == "stage":
            from rich.text import Text

            self.close()
            status = self.console.status(Text(str(values.get("doing"))))
            status.start()
            self._keep(status)
        elif name == "started":
            self._start()
        elif name == "step" and self._bar is not None:
            progress, task = self._bar
            facts = "  ".join(self.facts.parts())
            progress.update(task, completed=self.facts.step, facts=facts)
        elif name == "ended":
            self.close()

    def tell(self, message: str) -> None:
        """Show one line above the live one."""
        self.console.print(message, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
        self._live = None
        self._bar = None
        _open.discard(self)

    def _start(self) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self.close()
        progress = Progress(
            TextColumn("update {task.completed:.0f} of {task.total:.0f}", markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            console=self.console,
            refresh_per_second=4,
        )
        total = self.facts.total or 1  # rich divides by it
        task = progress.add_task("", total=total, completed=self.facts.step, facts="")
        self._bar = (progress, task)
        progress.start()
        self._keep(progress)

    def _keep(self, live: Progress | Status) -> None:
        self._live = live
        _open.add(self)


atexit.register(close_all)


def evaluation(values: LogLine) -> str:
    """One evaluation as a line: every number that comes with it."""
    parts = [f"evaluation after update {values.get('step', '?')}"]
    for name, value in values.items():
        if name not in ("event", "step", "time") and isinstance(value, (int, float)):
            parts.append(f"{name.replace('_', ' ')} {format_number(value)}")
    return "  ".join(parts)
