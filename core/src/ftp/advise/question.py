"""What the user asks of `ftp advise`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

BUDGET_SECONDS = 600.0
"""Ten minutes of a laptop."""


@dataclass(frozen=True)
class Question:
    """What the user asks.

    Attributes:
        data: a file, a folder of splits or a hub id; None: the sample of the domain that `plugins` names.
        columns: `ours=theirs`, as `--columns` of a run.
        plugins: plugins that every run is to have (a domain, maybe an objective); empty: they follow from the columns.
        models: what may be trained: folders, offered names or hub ids; empty: the offers that fit.
        goal: the score that counts; None: the one that a run of these rows shows first.
        budget_seconds: for all pilots together; 0: none are run.
        out: where the advice is written.
        seed: of everything random.
        options: other options of core that every run is to have, by name (`max_length`, `form`, `device`).
        unlabelled: plain text of the domain, for a first stage before what is raced; None: there is none.
        plugins_from: plugins that are not installed, as `--plugins-from` of a run.
    """

    data: str | None = None
    columns: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    goal: str | None = None
    budget_seconds: float = BUDGET_SECONDS
    out: Path = Path("advice")
    seed: int = 0
    options: Mapping[str, object] = field(default_factory=dict)
    unlabelled: str | None = None
    plugins_from: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """The words of a line that asks the same, but for the folder and the budget."""
        words = []
        parts = (("data", self.data), ("columns", ",".join(self.columns)), ("plugins", ",".join(self.plugins)),
                 ("goal", self.goal), ("unlabelled", self.unlabelled), ("plugins-from", ",".join(self.plugins_from)),
                 ("seed", self.seed or None), *self.options.items())
        for name, value in parts:
            if value not in (None, "", False):
                flag = f"--{name.replace('_', '-')}"
                words += [flag] if value is True else [flag, str(value)]
        for model in self.models:
            words += ["--model", model]
        return words
