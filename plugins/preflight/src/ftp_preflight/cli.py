"""`ftp data preview`: some rows as the model sees them."""

from __future__ import annotations

import click

from ftp import UserError
from ftp.host.terminal import say, say_json

FIXED = [
    ("RECIPE.toml", "the recipe of the run"),
    ("--plugins A,B,-C", "plugins of the run"),
    ("--rows N", "rows that are shown; default: 5"),
    ("--split NAME", "split that they are of; default: train"),
    (
        "--json",
        '{"rows": [{"row", "tokens": [{"id", "text", "trained", "target"}], "label", "answer", '
        '"cut"}], "notes"}',
    ),
    ("-h, --help", "this help"),
]
RAW = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@click.command("preview", context_settings=RAW, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def preview(arguments: tuple[str, ...]) -> None:
    """Show rows as the model sees them, token by token: what is trained, what only is read, what
    was cut.

    Takes what `ftp run` takes. On a terminal trained tokens are coloured; elsewhere they stand in
    ⟦brackets⟧.
    """
    from ftp.cli import flags
    from ftp.cli.run import help_text, wants_help

    words, count, split = take_own_options(arguments)
    if wants_help(tuple(words)):
        summary = (preview.help or "").split("\n")[0]
        say(help_text("data preview", tuple(words), summary, FIXED))
        return
    line, prepared = flags.assemble(words, switches=("--json",))

    from ftp_preflight.preview import preview_rows, show_rows

    seen = preview_rows(prepared, split, count)
    if "--json" in line.switches:
        say_json(seen)
    else:
        show_rows(seen)


def take_own_options(arguments: tuple[str, ...]) -> tuple[list[str], int, str]:
    """The line without `--rows` and `--split`, and their values."""
    words: list[str] = []
    values = {"--rows": "5", "--split": "train"}
    rest = iter(arguments)
    for word in rest:
        name, equals, value = word.partition("=")
        if name not in values:
            words.append(word)
            continue
        if not equals:
            following = next(rest, None)
            if following is None:
                raise UserError(f"{name}: its value is missing")
            value = following
        values[name] = value
    count = values["--rows"]
    if not count.isdigit() or not 1 <= int(count) <= 1000:
        raise UserError(f"--rows {count}: not a number of rows", "a whole number from 1 to 1000")
    return words, int(count), values["--split"]
