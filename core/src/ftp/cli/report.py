"""`ftp report`: a run as a page, or several side by side."""

from __future__ import annotations

from pathlib import Path

import click

from ftp.errors import Problem, UserError
from ftp.host.terminal import say


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="File to write; default: report.html in the run's folder, beside.html here for several runs.")
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
def command(runs: tuple[Path, ...], out: Path | None, show: bool) -> None:
    """Write a run as a page: verdicts, curves, mistakes, data. Several RUNs: one page, side by side.

    The page is one file that needs nothing else, and no network. A run writes its own at its end (--no-report: not).
    """
    problems = [Problem(f"{run}: there is no such folder", "name the folder of a run", "ftp runs")
                for run in runs if not run.is_dir()]
    if problems:
        raise UserError(problems)

    from ftp import report

    if out is None and len(runs) == 1:
        path = report.write(runs[0])
    else:
        path = report.write_to(out or Path("beside.html"), list(dict.fromkeys(runs)))
    say(str(path))
    if show and click.launch(str(path)):
        raise UserError(f"{path} is written, but no browser could be started", "open the file yourself")
