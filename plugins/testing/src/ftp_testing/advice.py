"""Does what a verdict advises run? For the tests of risk checks."""

from __future__ import annotations

import shlex


def follow(line: str) -> None:
    """Take an advised command as far as it goes without training: `ftp run` is prepared (its recipe is read, plugins are picked,
    options are settled), any other command is done. Raises `UserError` or `AssertionError` with what is wrong with it."""
    from ftp.cli import flags, main

    program, command, *words = shlex.split(line)
    assert program == "ftp", f"no command: {line}"
    if command == "run":
        flags.assemble(words)
    else:
        assert main.call([command, *words]) == 0, f"it does not run: {line}"
