"""What a user sees of a run: progress while it trains, and at the end its scores, verdicts and next commands.

On a terminal a live line; elsewhere plain lines, one every few seconds. rich is imported when something is shown.
"""

from __future__ import annotations

import atexit
import os
import shlex
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ftp.host import terminal
from ftp.types import Baseline, Risk, Score

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.status import Status
    from rich.table import Table

    from ftp.plugins.plan import Prepared

SECONDS = 5.0
"""Time between two plain lines."""
LEVELS = {"stop": "bold red", "warn": "yellow", "not_run": "magenta", "note": "cyan", "ok": "green"}
"""Levels of a verdict, worst first (what is not known before what is small), and how they are coloured; each is also written as
a word."""
EVIDENCE = 300
"""Letters of evidence shown; all of it is in risks.json."""

_open: weakref.WeakSet[Bar] = weakref.WeakSet()


def close_all() -> None:
    """End every live display, so that the terminal is as it was (before an error is told, and at exit)."""
    for one in list(_open):
        one.close()


class Live:
    """What shows a run on `stream` (standard output): a live line on a terminal, plain lines elsewhere.

    A context manager that is fed with the lines of the log: `stage` (doing), `started` (total), `step`, `evaluation`,
    `risk`, `ended`; other events are not shown.
    """

    def __init__(self, prepared: Prepared | None = None, device: str = "", stream: TextIO | None = None) -> None:
        out = terminal.persistent(stream)
        live = out.isatty() and os.environ.get("TERM", "") != "dumb"
        facts = Facts(device)
        self.view: Bar | Plain = Bar(out, facts) if live else Plain(out, facts)
        if prepared is not None:
            task = f"{prepared.task.form} rows, head {prepared.task.head}"
            self.view.tell(f"plugins {', '.join(one.name for one in prepared.picked if not one.found.default)}  ({task})")

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def event(self, name: str, values: Mapping[str, Any]) -> None:
        """Show an event, or not."""
        self.view.facts.take(name, values)
        if name == "evaluation":
            self.view.tell(evaluation(values))
        elif name == "risk":
            self.view.tell(f"risk: {values.get('level')}: {values.get('risk')}: {values.get('finding')}")
        else:
            self.view.event(name, values)

    def tell(self, message: str) -> None:
        """Show one line."""
        self.view.tell(message)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.view.close()


class Facts:
    """What is known so far, and how long the rest will take. Fed with the lines of the log."""

    def __init__(self, device: str = "") -> None:
        self.device = device
        self.total = 0
        self.step = 0
        self.values: dict[str, Any] = {}
        self._from: tuple[float, int] | None = None

    def take(self, name: str, values: Mapping[str, Any]) -> None:
        """Take up one event."""
        if name == "step":
            self.values.update({key: value for key, value in values.items() if value is not None})
        self.step = int(values.get("step", self.step))
        self.total = int(values.get("total", self.total) or 0)
        if name == "started":
            self._from = (time.monotonic(), self.step)

    def left(self) -> float | None:
        """Seconds until the last update, at the mean pace of this process so far; None before the first."""
        if self._from is None or self.step <= self._from[1] or not self.total:
            return None
        pace = (time.monotonic() - self._from[0]) / (self.step - self._from[1])
        return pace * max(0, self.total - self.step)

    def parts(self) -> list[str]:
        """loss, learning rate, tokens a second, time left and device, as far as they are known."""
        value, shown = self.values, []
        if "loss" in value:
            shown.append(f"loss {number(value['loss'])}")
        if "learning_rate" in value:
            shown.append(f"lr {value['learning_rate']:.1e}")
        if "tokens_per_second" in value:
            shown.append(f"{value['tokens_per_second']:,.0f} tokens/s")
        left = self.left()
        if left is not None:
            shown.append(f"{duration(left)} left")
        return [*shown, self.device] if self.device else shown


class Plain:
    """Plain lines for logs and pipes: each stage, evaluation and word, and an update every `every` seconds."""

    def __init__(self, stream: TextIO, facts: Facts, every: float = SECONDS) -> None:
        self.stream, self.facts, self.every = stream, facts, every
        self._last = -every

    def event(self, name: str, values: Mapping[str, Any]) -> None:
        """Show a stage, or an update when it is time."""
        if name == "stage":
            self.tell(str(values.get("doing")))
        elif name == "step" and (time.monotonic() - self._last >= self.every or self.facts.step == self.facts.total):
            self._last = time.monotonic()
            of = f" of {self.facts.total}" if self.facts.total else ""
            self.tell("  ".join([f"update {self.facts.step}{of}", *self.facts.parts()]))

    def tell(self, message: str) -> None:
        """Show one line."""
        terminal.tell(self.stream, message)

    def close(self) -> None:
        """Nothing is left open."""


class Bar:
    """A live line on a terminal (what is being done, or how far training is), with evaluations and words above it."""

    def __init__(self, stream: TextIO, facts: Facts) -> None:
        self.console, self.facts = terminal.console(stream), facts
        self._live: Progress | Status | None = None
        self._bar: tuple[Progress, Any] | None = None

    def event(self, name: str, values: Mapping[str, Any]) -> None:
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
            progress.update(task, completed=self.facts.step, facts="  ".join(self.facts.parts()))
        elif name == "ended":
            self.close()

    def tell(self, message: str) -> None:
        """Show one line above the live one."""
        self.console.print(message, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
        self._live = self._bar = None
        _open.discard(self)

    def _start(self) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self.close()
        progress = Progress(
            TextColumn("update {task.completed:.0f} of {task.total:.0f}", markup=False), BarColumn(bar_width=20),
            TaskProgressColumn(), TextColumn("{task.fields[facts]}", markup=False), console=self.console,
            refresh_per_second=4)
        self._bar = progress, progress.add_task("", total=self.facts.total or 1, completed=self.facts.step, facts="")
        progress.start()
        self._keep(progress)

    def _keep(self, live: Progress | Status) -> None:
        self._live = live
        _open.add(self)


atexit.register(close_all)


def evaluation(values: Mapping[str, Any]) -> str:
    """One evaluation as a line: every number that comes with it."""
    shown = [f"evaluation after update {values.get('step', '?')}"]
    for name, value in values.items():
        if name not in ("event", "step", "time") and isinstance(value, (int, float)):
            shown.append(f"{name.replace('_', ' ')} {number(value)}")
    return "  ".join(shown)


# --- the end of a run ---


def show_result(result: Any, console: Console | None = None) -> None:
    """Show what a run came to; `result` has the fields of `ftp.runs.run.Result`."""
    summary(console or terminal.console(), out=result.out, scores=result.scores, baselines=result.baselines, risks=result.risks,
            seconds=result.seconds, trained=result.trained, total=result.total, steps=result.step,
            device=result.device, reason=result.reason, verified=result.verified)


def summary(
    console: Console, *, out: Path | None, scores: Sequence[Score], baselines: Sequence[Baseline], risks: Sequence[Risk],
    seconds: float, trained: int, total: int, steps: int, device: str = "", reason: str = "", verified: bool = True,
) -> None:
    """The end of a run: verdicts with evidence and advice, scores beside baselines, and what to do next.

    `seconds`: time of the whole run. `trained`: trainable parameters of `total`. `steps`: updates done. `reason`: why
    training ended. `verified`: model/ was loaded in a fresh process and gave the same answers.
    """
    if out is not None and out.is_relative_to(Path.cwd()):
        out = out.relative_to(Path.cwd())
    console.print()
    if risks:
        verdicts(console, risks, out)
        console.print()
    held = [one for one in scores if one.split != "train"] or list(scores)
    if held:
        console.print(score_table(held, baselines))
        console.print()
    share = f" ({trained / total:.2%})" if total else ""
    console.print(f"trained  {trained:,} of {total:,} parameters{share}, {steps:,} updates, {duration(seconds)} in all"
                  + (f" on {device}" if device else ""), soft_wrap=True)
    if reason:
        console.print(f"ended    {reason}", soft_wrap=True)
    if out is None:
        return
    console.print(f"model    {out / 'model'}" + ("" if verified else ", not verified: --no-verify was given"), soft_wrap=True)
    if (out / "report.html").exists():
        console.print(f"report   {out / 'report.html'}", soft_wrap=True)
    console.print(f"next     ftp predict {shlex.quote(str(out))} \"a text\"", soft_wrap=True)
    console.print(f"         ftp evaluate {shlex.quote(str(out))} --data FILE", soft_wrap=True)


def score_table(scores: Sequence[Score], baselines: Sequence[Baseline]) -> Table:
    """Scores on held-out rows, one a line, with the same number for each baseline beside it."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    names = list(dict.fromkeys(one.baseline for one in baselines))
    values = {(one.baseline, one.name, one.split): one.value for one in baselines}
    table = Table(box=SIMPLE, pad_edge=False, title="held-out rows", title_justify="left", title_style="bold")
    for name in ("score", "split"):
        table.add_column(name)
    for name in ("rows", "this run", *names):
        table.add_column(terminal.visible(name), justify="right")  # before rich measures it
    if names:
        table.add_column("beats them")
    places = {"test": 0, "validation": 1}
    for one in sorted(scores, key=lambda one: places.get(one.split, 2)):
        beside = [values.get((name, one.name, one.split)) for name in names]
        known = [value for value in beside if value is not None]
        better = all(map(one.beats, known))
        verdict = ("yes" if better else "NO") if known and one.goal != "none" else "-"
        style = {"yes": "green", "NO": "bold red", "-": ""}[verdict]
        name = terminal.visible(one.name)
        aim = f"{name} (lower is better)" if one.goal == "min" else name
        cells: list[str | Text] = [aim, one.split, f"{one.n:,}" if one.n else "-", Text(number(one.value), style="bold"),
                 *("-" if value is None else number(value) for value in beside)]
        table.add_row(*cells, *([Text(verdict, style=style)] if names else []))
    return table


def verdicts(console: Console, risks: Iterable[Risk], out: Path | None = None) -> None:
    """Verdicts, worst first: level and finding, the numbers behind it, and what would help."""
    from rich.text import Text

    order = list(LEVELS)
    console.print(Text("risks", style="bold"))
    for one in sorted(risks, key=lambda one: order.index(one.level)):
        word = one.level.replace("_", " ")
        shown = word.upper() if one.level in ("stop", "warn") else word
        word = f"  {shown:<8}"
        line = Text.assemble((word, LEVELS[one.level]), (one.name, "bold"), f": {one.finding}")
        console.print(line, soft_wrap=True)
        if one.evidence:
            text = ", ".join(f"{key}: {value}" for key, value in one.evidence.items())
            most = EVIDENCE if one.level in ("stop", "warn", "note") else EVIDENCE // 3
            if len(text) > most:
                text = text[:most] + f" ... (all of it in {out / 'risks.json' if out else 'risks.json'})"
            console.print(Text(f"          from  {text}", style="dim"), soft_wrap=True)
        for advice in one.advice:
            console.print(Text(f"          try   {advice}"), soft_wrap=True)


def number(value: Any) -> str:
    """A number as short as it can be read: four decimals, two from ten on."""
    if not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1e6:
        return f"{value:,.0f}" if abs(value) < 1e12 else f"{value:.3g}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"


def duration(seconds: float) -> str:
    """`8.3 s`, `2:05` (minutes), `1:02:05` (hours)."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
