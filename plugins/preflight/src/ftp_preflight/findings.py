"""What the looks find, gathered into one verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ftp.types import Level, Risk

RANK: tuple[Level, ...] = ("ok", "note", "warn", "stop")
LEADS: dict[Level, str] = {
    "ok": "rows reach the model as they should",
    "note": "nothing that spoils training, but worth a look",
    "warn": "something here can spoil training without any error",
    "stop": "training on these rows cannot work",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        advice: commands that would help.
    """

    level: Level
    words: str
    advice: tuple[str, ...] = ()


@dataclass
class Findings:
    """All that was looked at, and what is wrong with it.

    Args:
        preview: the command that shows rows as the model sees them, which is advised with any
            finding.
        evidence: numbers by look.
        looks: names of what was looked at, in order.
    """

    preview: str = "ftp data preview run.toml"
    problems: list[Finding] = field(default_factory=list)
    evidence: dict[str, dict[str, object]] = field(default_factory=dict)
    looks: list[str] = field(default_factory=list)

    def record(self, look: str, **numbers: object) -> None:
        """Note that something was looked at, with its numbers."""
        if look not in self.looks:
            self.looks.append(look)
        known = self.evidence.setdefault(look, {})
        for name, value in numbers.items():
            known[name] = json_value(value)

    def add(self, level: Level, words: str, *advice: str) -> None:
        """Add a finding."""
        self.problems.append(Finding(level, words, advice))

    def risk(self) -> Risk:
        """The verdict: as bad as the worst finding; `not_run` where nothing was looked at."""
        if not self.looks:
            return Risk("preflight", "not_run", "there were no rows to look at")
        if not self.problems:
            finding = f"{LEADS['ok']}: nothing wrong in {', '.join(self.looks)}"
            return Risk("preflight", "ok", finding, self.evidence)
        ordered = sorted(self.problems, key=lambda problem: -RANK.index(problem.level))
        worst = ordered[0].level
        advice: dict[str, None] = {}  # each command once, in this order
        for problem in ordered:
            advice.update(dict.fromkeys(problem.advice))
        finding = f"{LEADS[worst]}: {'; '.join(problem.words for problem in ordered)}"
        return Risk("preflight", worst, finding, self.evidence, (*advice, self.preview))


def json_value(value: object) -> object:
    """Numbers of four digits, and nothing that JSON cannot hold."""
    if isinstance(value, dict):
        return {str(name): json_value(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(inner) for inner in value]
    if hasattr(value, "item"):  # a number of NumPy or torch
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def first_few(items: list[str], shown: int, separator: str = ", ") -> str:
    """The first of these, and how many more there are."""
    text = separator.join(items[:shown])
    if len(items) > shown:
        text += f" and {len(items) - shown} more"
    return text
