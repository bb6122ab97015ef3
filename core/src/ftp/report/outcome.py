"""The end of a run in the terminal: verdicts, scores beside baselines, and the next commands.

rich is imported when something is shown.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.host import terminal
from ftp.report.comparison import baseline_names, compare, held_out
from ftp.report.numbers import format_duration, format_number
from ftp.types import Baseline, Risk, Score

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ftp.types import Result

LEVEL_STYLES = {
    "stop": "bold red",
    "warn": "yellow",
    "not_run": "magenta",
    "note": "cyan",
    "ok": "green",
}
"""Levels of a verdict, worst first (unknown before small), and their colours in the terminal.

A level is also written as a word, for terminals and eyes that tell no colours.
"""
EVIDENCE_LETTERS = 300
"""Letters of evidence shown where a level asks for attention; all of it is in risks.json."""


def by_severity(risks: Iterable[Risk]) -> list[Risk]:
    """Sort verdicts, worst first."""
    order = list(LEVEL_STYLES)
    return sorted(risks, key=lambda risk: order.index(risk.level))


def show_result(result: Result, console: Console | None = None) -> None:
    """Show what a run came to."""
    summary(
        console or terminal.console(),
        out=result.out,
        scores=result.scores,
        baselines=result.baselines,
        risks=result.risks,
        seconds=result.seconds,
        trained=result.trained,
        total=result.total,
        steps=result.step,
        device=result.device,
        reason=result.reason,
        verified=result.verified,
    )


def summary(
    console: Console,
    *,
    out: Path | None,
    scores: Sequence[Score],
    baselines: Sequence[Baseline],
    risks: Sequence[Risk],
    seconds: float,
    trained: int,
    total: int,
    steps: int,
    device: str = "",
    reason: str = "",
    verified: bool = True,
) -> None:
    """Show verdicts with evidence and advice, scores beside baselines, and what to do next.

    Args:
        seconds: time of the whole run.
        trained: trainable parameters of `total`.
        steps: updates done.
        reason: why training ended.
        verified: model/ was loaded in a fresh process and gave the same answers.
    """
    if out is not None and out.is_relative_to(Path.cwd()):
        # shorter, and what the commands below it are given here
        out = out.relative_to(Path.cwd())
    console.print()
    if risks:
        verdicts(console, risks, out)
        console.print()
    # a run without held-out rows has only the scores of its training rows to show
    shown_scores = held_out(scores) or list(scores)
    if shown_scores:
        console.print(score_table(shown_scores, baselines))
        console.print()
    share = f" ({trained / total:.2%})" if total else ""
    where = f" on {device}" if device else ""
    lines = [
        f"trained  {trained:,} of {total:,} parameters{share}, {steps:,} updates, "
        f"{format_duration(seconds)} in all{where}"
    ]
    if reason:
        lines.append(f"ended    {reason}")
    if out is not None:
        lines += _next_steps(out, verified)
    for line in lines:
        console.print(line, soft_wrap=True)


def _next_steps(out: Path, verified: bool) -> list[str]:
    """The files of a run and the commands that use them."""
    proof = "" if verified else ", not verified: --no-verify was given"
    lines = [f"model    {out / 'model'}{proof}"]
    if (out / "report.html").exists():
        lines.append(f"report   {out / 'report.html'}")
    folder = shlex.quote(str(out))
    return [
        *lines,
        f'next     ftp predict {folder} "a text"',
        f"         ftp evaluate {folder} --data FILE",
    ]


def score_table(scores: Sequence[Score], baselines: Sequence[Baseline]) -> Table:
    """Scores, one a line, with the same number for each baseline beside it."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    names = baseline_names(baselines)
    table = Table(
        box=SIMPLE,
        pad_edge=False,
        title="held-out rows",
        title_justify="left",
        title_style="bold",
    )
    for heading in ("score", "split"):
        table.add_column(heading)
    for heading in ("rows", "this run", *names):
        # escapes are longer than what they stand for: they are made before rich measures
        table.add_column(terminal.visible(heading), justify="right")
    if names:
        table.add_column("beats them")
    for line in compare(scores, baselines):
        score = line.score
        name = terminal.visible(score.name)
        if score.goal == "min":
            name += " (lower is better)"
        num_rows = f"{score.n:,}" if score.n else "-"
        value = Text(format_number(score.value), style="bold")
        cells: list[str | Text] = [name, score.split, num_rows, value]
        for other in line.baselines:
            cells.append("-" if other is None else format_number(other))
        if names:
            cells.append(_beats_cell(line.beats))
        table.add_row(*cells)
    return table


def _beats_cell(beats: str) -> Text:
    """Whether a score beats the baselines; what should worry the reader stands out."""
    from rich.text import Text

    styles = {"yes": "green", "no": "bold red", "no difference": "yellow"}
    word = "NO" if beats == "no" else beats
    return Text(word, style=styles.get(beats, ""))


def verdicts(console: Console, risks: Iterable[Risk], out: Path | None = None) -> None:
    """Show verdicts, worst first: level and finding, their numbers, and what would help.

    Args:
        out: folder of the run, which holds all of the evidence; None: it has none.
    """
    from rich.text import Text

    console.print(Text("risks", style="bold"))
    for risk in by_severity(risks):
        # the level is also told by its letters: a log has no colours
        word = risk.level.replace("_", " ")
        if risk.level in ("stop", "warn"):
            word = word.upper()
        level = (f"  {word:<8}", LEVEL_STYLES[risk.level])
        line = Text.assemble(level, (risk.name, "bold"), f": {risk.finding}")
        console.print(line, soft_wrap=True)
        if risk.evidence:
            evidence = Text(f"          from  {_shorten_evidence(risk, out)}", style="dim")
            console.print(evidence, soft_wrap=True)
        for advice in risk.advice:
            console.print(Text(f"          try   {advice}"), soft_wrap=True)


def _shorten_evidence(risk: Risk, out: Path | None) -> str:
    """The evidence of a verdict on a line; less of it where there is nothing to do."""
    text = ", ".join(f"{key}: {value}" for key, value in risk.evidence.items())
    needs_attention = risk.level in ("stop", "warn", "note")
    most = EVIDENCE_LETTERS if needs_attention else EVIDENCE_LETTERS // 3
    if len(text) <= most:
        return text
    path = out / "risks.json" if out else Path("risks.json")
    return f"{text[:most]} ... (all of it in {path})"
