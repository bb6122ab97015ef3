"""`ftp config`: a commented recipe that `ftp run` takes."""

from __future__ import annotations

import click

from ftp.cli import flags
from ftp.cli.run import RAW, help_text, wants_help
from ftp.host.terminal import say

FIXED = [
    ("RECIPE.toml", "start from the values of this recipe"),
    ("--plugins A,B,-C", "plugins of the run"),
    ("--trust-recipe", "run the Python files that the recipe names, and remember them"),
    ("-h, --help", "this help"),
]


@click.command("config", context_settings=RAW, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Print a commented recipe of all options: `ftp config --plugins lora,sentiment > recipe.toml`, then
    `ftp run recipe.toml`. Options given here are written into it."""
    if wants_help(arguments):
        say(help_text("config", arguments, command.help or "", FIXED))
        return
    _, prepared = flags.assemble(arguments)
    say(prepared.recipe(comments=True), end="")
