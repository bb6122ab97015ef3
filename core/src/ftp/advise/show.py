"""`ftp advise` in the terminal: what is being done, the facts, the looks, and what it comes to.

rich is imported when something is shown.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ftp.advise.types import Advice, Facts, Finding, Looks, Situation
from ftp.advise.wording import duration, more_rows
from ftp.advise.write import expected, facts_of, told_later, tried_table
from ftp.host import terminal
from ftp.report.numbers import format_number
from ftp.report.outcome import LEVEL_STYLES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

QUIET_SECONDS = 5.0
"""Time between two lines on what is being done, where no line can be drawn over."""


class Silent:
    """Shows nothing: what is known is printed at the end, as JSON. A context manager."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def tell(self, message: str) -> None:
        """Nothing."""

    def facts(self, situation: Situation, facts: Facts) -> None:
        """Nothing."""

    def looks(self, situation: Situation, looks: Looks) -> None:
        """Nothing."""

    def end(self, advice: Advice, written: Sequence[Path]) -> None:
        """Nothing."""


class Shown:
    """Shows the steps on standard output: a live line on a terminal, plain lines elsewhere. A context manager."""

    def __init__(self) -> None:
        self.console: Console = terminal.console()
        self.status: Status | None = None
        self.last_line = 0.0

    def __enter__(self) -> Shown:
        if self.console.is_terminal:
            self.status = self.console.status("")
            self.status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.status is not None:
            self.status.stop()

    def tell(self, message: str) -> None:
        """What is being done now."""
        if self.status is not None:
            self.status.update(terminal.visible(message))
        # in a file of a log every line stays, so that few of them are written
        elif time.monotonic() - self.last_line >= QUIET_SECONDS:
            terminal.say(message)
            self.last_line = time.monotonic()

    def facts(self, situation: Situation, facts: Facts) -> None:
        """The facts, and what the user should know of the rows."""
        advice = facts_of(facts)
        self._pairs(f"the rows of {situation.question.data or 'a sample'}", advice)
        for finding in facts.findings:
            self._finding(finding)

    def looks(self, situation: Situation, looks: Looks) -> None:
        """What can be had without training a network."""
        del situation
        lines = []
        for name, outcome in looks.entries.items():
            value = outcome.scores.get(looks.metric.name)
            if value is not None:
                lines.append((name, f"{looks.metric.name} {format_number(value)}"))
        if looks.curve is not None:
            lines.append(("learning curve", more_rows(looks.metric, looks.curve, looks.curve.points[-1].rows)))
        self._pairs(f"without training ({duration(looks.seconds)})", lines)

    def end(self, advice: Advice, written: Sequence[Path]) -> None:
        """What it comes to, and where it is written."""
        from rich.text import Text

        if self.status is not None:
            self.status.stop()
        result = advice.recommendation
        self.console.print()
        self.console.print(Text(result.answer, style="bold"))
        self._pairs("expected", expected(result))
        self._lines("why", result.why)
        self._table(advice)
        self._lines("what would change this", result.would_change)
        self._lines("told on the way", told_later(advice))
        self.console.print()
        for path in written:
            if path.suffix == ".toml":
                self.console.print(f"next    ftp run {path}", soft_wrap=True)
        for path in written:
            if path.suffix == ".html":
                self.console.print(f"page    {path}", soft_wrap=True)
        self.console.print(f"took    {duration(advice.seconds)}")

    def _pairs(self, title: str, pairs: Sequence[tuple[str, str]]) -> None:
        """Names and words in two columns; nothing where there are none."""
        if not pairs:
            return
        self.console.print()
        self.console.print(title)
        width = max(len(name) for name, _ in pairs)
        for name, words in pairs:
            self.console.print(f"  {name:<{width}}  {words}", soft_wrap=True)

    def _lines(self, title: str, lines: Sequence[str]) -> None:
        if not lines:
            return
        self.console.print()
        self.console.print(title)
        for line in lines:
            self.console.print(f"  {line}", soft_wrap=True)

    def _finding(self, finding: Finding) -> None:
        from rich.text import Text

        words = Text.assemble("  ", (f"{finding.level:<5}", LEVEL_STYLES[finding.level]), f" {finding.title}: {finding.text}")
        self.console.print(words, soft_wrap=True)
        if finding.command:
            self.console.print(f"        {finding.command}", soft_wrap=True)

    def _table(self, advice: Advice) -> None:
        """What was looked at and raced."""
        from rich import box
        from rich.table import Table

        lines = tried_table(advice)
        if not lines:
            return
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("tried")
        for name in (advice.recommendation.metric.name, "beside the first", "rows", "time"):
            table.add_column(name, justify="right")
        table.add_column("left the race")
        for line in lines:
            table.add_row(*line)
        self.console.print(table)
