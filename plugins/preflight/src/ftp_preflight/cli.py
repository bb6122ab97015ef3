"""`ftp data preview`: some rows as the model sees them."""

from __future__ import annotations

from typing import Any

import click

from ftp.errors import Problem, UserError
from ftp.host.terminal import say, say_json

FIXED = [
    ("RECIPE.toml", "the recipe of the run"),
    ("--plugins A,B,-C", "plugins of the run"),
    ("--rows N", "rows that are shown; default: 5"),
    ("--split NAME", "split that they are of; default: train"),
    ("--json", '{"rows": [{"row", "tokens": [{"id", "text", "trained", "target"}], "label", "answer", "cut"}], "notes"}'),
    ("-h, --help", "this help"),
]
RAW = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@click.command("preview", context_settings=RAW, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def preview(arguments: tuple[str, ...]) -> None:
    """Show rows as the model sees them, token by token: what is trained, what only is read, what was cut.

    Takes what `ftp run` takes. On a terminal trained tokens are coloured; elsewhere they stand in ⟦brackets⟧.
    """
    from ftp.cli import flags
    from ftp.cli.run import help_text, wants_help

    words, count, split = own(arguments)
    if wants_help(tuple(words)):
        say(help_text("data preview", tuple(words), (preview.help or "").split("\n")[0], FIXED))
        return
    line, prepared = flags.assemble(words, switches=("--json",))

    from ftp_preflight.preview import rows, show

    found = rows(prepared, split, count)
    if line.extra.get("--json"):
        say_json(found)
    else:
        show(found)


def own(arguments: tuple[str, ...]) -> tuple[list[str], int, str]:
    """The line without `--rows` and `--split`, and their values."""
    words, values, given = list[str](), dict[str, str](), list(arguments)
    while given:
        word = given.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--rows", "--split"):
            if not equals and not given:
                raise UserError(f"{name}: its value is missing")
            values[name] = value if equals else given.pop(0)
        else:
            words.append(word)
    count: Any = values.get("--rows", "5")
    if not count.isdigit() or not 1 <= int(count) <= 1000:
        raise UserError([Problem(f"--rows {count}: not a number of rows", "a whole number from 1 to 1000")])
    return words, int(count), values.get("--split", "train")
