"""`ftp run`: read the line, tell all its mistakes, start the processes, do the run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ftp.cli import flags

FIXED = [
    ("RECIPE.toml", "a file of options (ftp config prints one); flags count more than it does"),
    ("--plugins A,B,-C", "plugins of the run: a method, a domain, ...; -C leaves a default plugin out"),
    ("--resume DIR", "go on with a run that was stopped"),
    ("--debug", "show tracebacks"),
    ("-h, --help", "this help; with --plugins it shows the options of those too"),
]
RAW = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Lets click pass the whole line on as it is."""


@click.command("run", context_settings=RAW, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Fine-tune a model: a method, a domain, and whatever else you name."""
    if wants_help(arguments):
        click.echo(help_text("run", arguments, command.help or "", FIXED))
        return
    line, prepared = flags.assemble(arguments)
    processes = prepared.settings.processes
    if processes > 1:
        from ftp.launch import inside, launch

        if not inside():
            raise SystemExit(launch(["run", *arguments], processes))
    from ftp.app import execute

    result = execute(prepared, resume=Path(line.resume).expanduser() if line.resume else None)
    if os.environ.get("RANK", "0") == "0":
        from ftp.progress import show_result

        show_result(result)
    sys.stdout.flush()


def wants_help(arguments: tuple[str, ...]) -> bool:
    """Whether -h or --help stands among the words."""
    return any(word in ("-h", "--help") for word in arguments)


def help_text(name: str, arguments: tuple[str, ...], summary: str, fixed: list[tuple[str, str]]) -> str:
    """The help of a command that takes a run's options, those of the plugins on its line included."""
    from ftp.cli import help
    from ftp.plan import options_for

    picked = flags.plugins_of([word for word in arguments if word not in ("-h", "--help")])
    return help.text(f"{name} [RECIPE.toml] --plugins A,B [OPTIONS]", summary, fixed, options_for(picked)[0], picked)
