"""The exceptions that reach a user without a traceback: a mistake, a failing plugin, a model that is not as it was trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake.

    Attributes:
        what: what was wrong, with the value.
        fix: what would be right.
        command: the command to run next.
    """

    what: str
    fix: str = ""
    command: str = ""

    def __str__(self) -> str:
        lines = [self.what]
        if self.fix:
            lines.append(f"  {self.fix}")
        if self.command:
            lines.append(f"  try: {self.command}")
        return "\n".join(lines)


class UserError(Exception):
    """A mistake that the user can correct. Printed without a traceback; the command ends with status 2.

    Carries one or more `Problem`s, so that every mistake of a command is shown at once.

    Args:
        what: what was wrong, with the value; or all mistakes.
        fix: what would be right, where `what` is one mistake.
        command: the command to run next, likewise.
    """

    def __init__(self, what: str | Iterable[Problem], fix: str = "", command: str = "") -> None:
        problems = [Problem(what, fix, command)] if isinstance(what, str) else what
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class PluginError(Exception):
    """A plugin raised something unexpected in a hook. The message names plugin, distribution, version and hook."""


class RowError(ValueError):
    """A row cannot be read; the message says why, and the caller says which row."""


class ExitStatus(SystemExit):
    """The end of a command with a status, after everything is printed. Every other `SystemExit` is some plugin's mistake."""


class VerifyError(RuntimeError):
    """The saved model does not load with Transformers and PEFT alone, or gives other logits than the trained one."""


class RiskStop(UserError):
    """A risk check said stop (or a policy turned its verdict into one), so the run ended."""


def passes_through(error: BaseException) -> bool:
    """Whether an exception travels as it is: it is in words already, or the loop answers it.

    Out of memory is handled by the loop (it splits the batch), whoever's code asked for the memory.
    """
    # by name and not by class, as torch is not imported for this
    is_out_of_memory = type(error).__name__ == "OutOfMemoryError"
    return is_out_of_memory or isinstance(error, UserError | PluginError | VerifyError)


def describe(error: BaseException) -> str:
    """What went wrong, for a message that names who did it: `ValueError: boom`, or `it called sys.exit(0)`."""
    if isinstance(error, SystemExit):
        status = "" if error.code is None else repr(error.code)
        return f"it called sys.exit({status})"
    return f"{type(error).__name__}: {error}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'lora'?` for the known word closest to `word`, or an empty string.

    Args:
        word: as the user wrote it.
        known: the words that there are.
    """
    import difflib  # slow to import, and needed only where something is wrong

    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{matches[0]}'?" if matches else ""
