"""`ftp check`: the conformance kit on one or several plugins."""

from __future__ import annotations

from dataclasses import asdict

import click

from ftp.host.terminal import say, say_json
from ftp_testing.outcome import Outcome

SIGNS = {"ok": "ok    ", "failed": "FAILED", "not_applicable": "-     "}


@click.command("check")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--only", multiple=True, metavar="CHECK", help="Do this check alone; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="The outcomes as JSON.")
def command(names: tuple[str, ...], only: tuple[str, ...], as_json: bool) -> int:
    """Check that plugins keep to the contract: on tiny models made in memory, offline.

    NAME is an installed plugin, or path.py:Class. Ends with status 1 where a check failed.
    """
    from ftp_testing import check

    def tell(outcome: Outcome) -> None:
        if not as_json:
            message = outcome.message.replace("\n", "\n       ")
            say(f"{SIGNS[outcome.status]} {outcome.check} ({outcome.seconds:.1f} s): {message}")

    reports = [check(name, only=only, told=tell) for name in names]
    failed = sum(len(report.failed) for report in reports)
    if as_json:
        say_json([asdict(report) for report in reports], indent=2)
    else:
        say(f"{sum(len(report.outcomes) for report in reports)} checks, {failed} failed")
    return 1 if failed else 0
