"""What a check is, and what it says. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ftp.errors import PluginError

if TYPE_CHECKING:
    from ftp_testing.subject import Part, Subject

Status = Literal["ok", "failed", "not_applicable"]


class Fault(AssertionError):
    """A check found something: what is wrong, and how to mend it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}\n  {fix}")
        self.what, self.fix = what, fix


class NotApplicable(Exception):
    """There is nothing here for this check to look at; the message says why."""


@dataclass(frozen=True)
class Check:
    """One check. `look(subject)` raises `Fault` or `NotApplicable`, or gives a line about what it saw."""

    name: str
    part: Part
    look: Callable[[Subject], str]

    @property
    def summary(self) -> str:
        """What is asked of a plugin."""
        return " ".join((self.look.__doc__ or "").split())


@dataclass(frozen=True)
class Outcome:
    """What a check said: `message` is the fault and how to mend it, the reason why there was nothing to look at, or what was
    seen. `seconds` of wall clock."""

    check: str
    status: Status
    message: str
    seconds: float = 0.0


CHECKS: dict[str, Check] = {}
"""Every check by its name, in the order in which they are done."""


def check(part: Part) -> Callable[[Callable[[Subject], str]], Callable[[Subject], str]]:
    """Make a function a check of the plugins that `part` is about; its docstring says what is asked of them."""

    def register(look: Callable[[Subject], str]) -> Callable[[Subject], str]:
        name = look.__name__.replace("_", "-")
        if name in CHECKS:
            raise ValueError(f"two checks are called {name}")
        CHECKS[name] = Check(name, part, look)
        return look

    return register


def raised_first(error: BaseException) -> BaseException:
    """The error that the code of a plugin raised, which a `PluginError` only gives the names to."""
    while isinstance(error, PluginError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def where(error: BaseException) -> str:
    """The last place in a plugin's code (or ours) that an error went through."""
    import traceback

    frames = traceback.extract_tb(raised_first(error).__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
    return f"\n  at {ours[-1].filename}:{ours[-1].lineno}" if ours else ""
