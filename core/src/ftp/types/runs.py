"""A run, and what it asks of its plugins and of its log."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from ftp.types.tasks import Task

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ftp.plugin_info import Answer, Picked
    from ftp.settings import Settings

T = TypeVar("T")


@runtime_checkable
class Stateful(Protocol):
    """A plugin that keeps something from update to update (an average of weights, a counter).

    Its state is in every checkpoint, so that a resumed run goes on exactly. It is the main process's, and is given back to
    each process: keep nothing that differs between processes.
    """

    def state(self) -> Mapping[str, object]:
        """What it keeps: numbers, texts, tensors, and lists, tuples and dictionaries of them. It is asked once before the first
        update, so that what no checkpoint can hold is an error then, and at each checkpoint."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave, with tensors on the CPU, after `make_optimizer` and before the event `Started`."""


class Hooks(Protocol):
    """Asks the plugins of a run (`ftp.plugins.call.Hooks` does), and knows who answered."""

    @property
    def picked(self) -> Sequence[Picked]:
        """The plugins in the order in which they are named."""

    @property
    def plugins(self) -> Mapping[str, object]:
        """The object of each plugin by its name."""

    def one(self, hook: str, **arguments: object) -> Any:
        """The answer to a hook that one plugin answers."""

    def each(
        self, hook: str, *, on_error: Callable[[Picked, Exception], object] | None = None, without: Iterable[str] = (),
        **arguments: object,
    ) -> list[Answer]:
        """Every answer to a hook that is collected, in the order in which plugins are named.

        Args:
            on_error: (plugin, exception) -> the answer of a plugin that raises; None: the exception ends the run.
            without: names of plugins that are not asked.
        """

    def seen_by(self, domain: str, run: Run) -> Run:
        """A run as a domain sees it that reads rows: with its own `--NAME.data` and `--NAME.columns`, where they are given."""

    def who(self, hook: str) -> list[tuple[str, str]]:
        """Plugins that answer a hook in the order in which they act, each with `answers`, `wraps` or `default`."""

    def hide(self, text: str) -> str:
        """What plugins that answer the hook `hide` leave of a text."""

    def states(self) -> dict[str, Mapping[str, object]]:
        """What plugins keep in a checkpoint, by plugin name."""

    def restore(self, states: Mapping[str, Mapping[str, object]]) -> None:
        """Give plugins back what they keep in a checkpoint."""


class Log(Protocol):
    """Keeps the events of a run and shows them (`ftp.folder.log.Log` does)."""

    lines: list[dict[str, Any]]

    def event(self, name: str, /, **values: object) -> None:
        """Add one line."""

    def tell(self, message: str) -> None:
        """Show one line to the user once, and keep it."""

    def truncate(self, step: int) -> str:
        """Go back to an update; gives what is wrong with the lines before it, or an empty text."""

    def sync(self) -> None:
        """Make what is written so far last through a power cut."""

    def close(self) -> None:
        """Close the file; a later event opens it again."""


def _hidden(words: object, hide: Callable[[str], str]) -> object:
    """A text without what `hide` leaves out, or every text in lists, tuples and tables of them."""
    if isinstance(words, str):
        return hide(words)
    if isinstance(words, Mapping):
        return {_hidden(name, hide): _hidden(value, hide) for name, value in words.items()}
    # not a subclass: a named tuple has no place for a list of its parts
    if type(words) is list:
        return [_hidden(part, hide) for part in words]
    if type(words) is tuple:
        return tuple(_hidden(part, hide) for part in words)
    return words


@dataclass(frozen=True)
class Run:
    """The facts of a run before it is started, as `ftp plan` knows them too; frozen, no counters.

    Attributes:
        settings: core's options.
        task: what the run is about.
        hooks: asks its plugins.
        out: the run folder; None where there is none.
        log: keeps its events; None where there is none.
    """

    settings: Settings
    task: Task
    hooks: Hooks
    out: Path | None = None
    log: Log | None = None

    def command(self, *options: object, of: str = "run") -> str:
        """A command on this run's recipe, for the advice of a verdict: `command("--max-steps", 50)` does the run again with
        that option, `command(of="data preview")` shows its rows.

        Args:
            options: flags and their values, behind the recipe.
            of: the command of ftp.
        """
        recipe = self.out / "run.toml" if self.out is not None else "run.toml"
        return f"ftp {of} {shlex.join(map(str, (recipe, *options)))}"

    def hidden(self, words: T) -> T:
        """Words of rows (a text, or lists and tables of them) as they may be shown or written down: what the plugins of this
        run that answer the hook `hide` leave of them. Core hides so in verdicts and in what is kept for the report.

        Args:
            words: whole, not yet shortened: half an identifier is not known as one.
        """
        return cast(T, _hidden(words, self.hooks.hide))

    def tell(self, message: str) -> None:
        """Show one line to the user once (main process only) and keep it in the log.

        Args:
            message: the line.
        """
        if self.log is not None:
            self.log.tell(message)


@dataclass(frozen=True)
class StartedRun(Run):
    """A run that has begun: its folder is open, its processes and devices are settled.

    Attributes:
        out: the run folder.
        log: keeps its events.
        accelerator: Accelerate's, for the device, for autocast and for what several processes do together.
    """

    # `field()` takes the defaults of a run away
    out: Path = field()
    log: Log = field()
    accelerator: Accelerator
