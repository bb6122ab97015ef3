"""`ftp runs`: runs under a folder, compared in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from ftp.folder import listing, paths
from ftp.host.terminal import console, say, say_json, visible


@click.command("runs")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Everything of each run, as JSON.")
def command(folders: tuple[Path, ...], as_json: bool) -> None:
    """List runs and compare their scores.

    FOLDERS hold runs, or are runs themselves; without one: runs/.
    """
    runs: list[listing.Summary] = []
    for folder in folders or (paths.RUNS,):
        runs += listing.find(folder)
    if as_json:
        say_json([run.as_json() for run in runs], indent=2)
        return
    if not runs:
        say("no runs yet; make one with: ftp run --plugins lora,sentiment")
        return
    _print_table(runs)


def _print_table(runs: Sequence[listing.Summary]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    names, more = listing.columns(runs)  # a terminal has room for a few scores
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("run", overflow="fold", no_wrap=True)
    table.add_column("status")
    table.add_column("plugins", overflow="fold")
    for name in names:
        goals = {run.held_out[name].goal for run in runs if name in run.held_out}
        table.add_column(f"{name} (low is good)" if goals == {"min"} else name, justify="right")
    table.add_column("split")
    table.add_column("trained", justify="right")
    table.add_column("time", justify="right")
    table.add_column("risks")
    for run in runs:
        table.add_row(*_cells(run, names))
    console().print(table)
    if more:
        say(f"and {more} more scores: ftp runs --json")
    for run in runs:
        if run.broken:
            say(run.broken)


def _cells(run: listing.Summary, names: Sequence[str]) -> list[str]:
    """What the table says of a run; `-` for what it does not have."""
    from ftp.report.numbers import format_duration, format_number

    cells = [visible(str(run.path)), run.status, visible(", ".join(run.plugins))]
    for name in names:
        cells.append(format_number(run.held_out[name].value) if name in run.held_out else "-")
    splits = sorted({score.split for score in run.held_out.values()})
    cells.append(", ".join(splits) or "-")
    cells.append("-" if run.trained is None else f"{run.trained:,}")
    cells.append("-" if run.seconds is None else format_duration(run.seconds))
    cells.append(_risks(run))
    return cells


def _risks(run: listing.Summary) -> str:
    """How many verdicts are serious: `1 stop, 2 warn`, `none`, or `-` where nothing was checked."""
    if not run.risks:
        return "-"
    levels = Counter(risk.level for risk in run.risks)
    serious = [f"{levels[level]} {level}" for level in ("stop", "warn") if levels[level]]
    return ", ".join(serious) or "none"
