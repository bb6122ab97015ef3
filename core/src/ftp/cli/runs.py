"""`ftp runs`: runs under a folder, compared in a table."""

from __future__ import annotations

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
    found = [run for folder in folders or (paths.RUNS,) for run in listing.find(folder)]
    if as_json:
        say_json([run.as_json() for run in found], indent=2)
        return
    if not found:
        say("no runs yet; make one with: ftp run --plugins lora,sentiment")
        return
    _table(found)


def _table(found: list[listing.Summary]) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    from ftp.report.numbers import format_duration, format_number

    names, more = listing.columns(found)
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("run", overflow="fold", no_wrap=True)
    table.add_column("status")
    table.add_column("plugins", overflow="fold")
    for name in names:
        goals = {run.held_out[name].goal for run in found if name in run.held_out}
        table.add_column(f"{name} (low is good)" if goals == {"min"} else name, justify="right")
    table.add_column("split")
    table.add_column("trained", justify="right")
    table.add_column("time", justify="right")
    table.add_column("risks")
    for run in found:
        cells = [format_number(run.held_out[name].value) if name in run.held_out else "-" for name in names]
        splits = {one.split for one in run.held_out.values()}
        worst = [one.level for one in run.risks if one.level in ("stop", "warn")]
        risks = ", ".join(f"{worst.count(level)} {level}" for level in ("stop", "warn") if level in worst)
        table.add_row(
            visible(str(run.path)), run.status, visible(", ".join(run.plugins)), *cells, ", ".join(sorted(splits)) or "-",
            f"{run.trained:,}" if run.trained is not None else "-",
            format_duration(run.seconds) if run.seconds is not None else "-", risks or ("none" if run.risks else "-"))
    console().print(table)
    if more:
        say(f"and {more} more scores: ftp runs --json")
    for run in found:
        if run.broken:
            say(run.broken)
