"""`ftp gate`: a run judged by a policy, for continuous integration."""

from __future__ import annotations

from pathlib import Path

import click

from ftp import UserError
from ftp.host.terminal import say, say_json
from ftp_gate import gate


@click.command("gate", short_help="Let continuous integration pass or fail a run by its verdicts and scores.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--policy", "file", type=click.Path(path_type=Path, dir_okay=False),
              help="TOML file of rules; without one, what is stop and what was not compared fail.")
@click.option("--json", "as_json", is_flag=True, help="{run, passed, outcomes: [{kind, name, passed, why}]}.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False),
              help="Also write the outcomes to this file, as JUnit's XML.")
def command(run: Path, file: Path | None, as_json: bool, junit: Path | None) -> int:
    """Judge a run by its verdicts and scores: status 0 where it passes, 1 where it fails, 2 for a mistake.

    A policy says at which level a check fails (note, warn, stop, never), what of checks that compared nothing, and the bounds
    of scores:

    \b
        at = "warn"
        not_run = "fail"
        [risks]
        leakage = "note"
        forgetting = {at = "stop", not_run = "pass"}
        [scores]
        accuracy = {min = 0.8, split = "test"}
        loss = {max = 0.5, beats_baselines = true}

    A run that is not finished fails, and so does a verdict or score that the policy names and the run does not have.
    """
    from ftp.folder import state, writing

    if junit is not None:
        state.check_writable_over(junit, "--junit")
        if not junit.parent.is_dir():
            raise UserError(f"--junit {junit}: there is no folder {junit.parent}", "make it, or name a file elsewhere")
    policy = gate.read_policy(file, gate.known_checks(run)) if file is not None else gate.Policy()
    outcomes = gate.judge(run, policy)
    if junit is not None:
        writing.write_text(junit, gate.as_junit(run, outcomes))
    failed = sum(not outcome.passed for outcome in outcomes)
    if as_json:
        say_json(gate.as_json(run, outcomes), indent=2)
    else:
        for outcome in outcomes:
            say(f"{'pass' if outcome.passed else 'FAIL'}  {outcome.kind:<5}  {outcome.name}: {outcome.why}")
        say(f"{len(outcomes)} rules, {failed} failed")
    return 1 if failed else 0
