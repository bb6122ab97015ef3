"""What a verdict says of a report: levels, words, numbers, and what would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ftp.types import Level

RANK: tuple[Level, ...] = ("ok", "note", "warn", "stop")


@dataclass(frozen=True)
class Levels:
    """Shares of the evaluation rows that warn or stop.

    Args:
        stop_exact: in train with the same words.
        stop_sure: copied from train beyond doubt, changed or not (log odds of `report.SURE` nats).
        warn_sure: the same.
        warn_near: with any near duplicate in train; where many people say short things, many of
            these are chance.
        few: fewer rows never stop a run.
    """

    stop_exact: float = 0.01
    stop_sure: float = 0.05
    warn_sure: float = 0.02
    warn_near: float = 0.2
    few: int = 3


@dataclass
class Summary:
    """What is said of a report.

    Args:
        levels: the shares that warn or stop.
        compared: split -> its rows with text, which were compared.
        evidence: numbers by kind of leak.
        sentences: level and words of each thing to say.
        also: what cleaning must do beside what was asked for, by the fields of `AlsoRemove`.
    """

    levels: Levels
    compared: Mapping[str, int]
    evidence: dict[str, Any]
    sentences: list[tuple[Level, str]] = field(default_factory=list)
    also: dict[str, Any] = field(default_factory=dict)

    def add(self, level: Level, words: str) -> None:
        """Say something, in words that stand for themselves."""
        self.sentences.append((level, words))

    def count(self, kind: str, name: str, numbers: object) -> None:
        """Add numbers of one kind of leak to the evidence."""
        self.evidence.setdefault(kind, {})[name] = numbers

    def worst(self) -> Level:
        """The highest level of anything that is said."""
        return max((level for level, _ in self.sentences), key=RANK.index)

    def text(self) -> str:
        """The worst first, each once; what is in order is said only where all is."""
        level = self.worst()
        ordered = sorted(self.sentences, key=lambda sentence: -RANK.index(sentence[0]))
        words = [text for rank, text in ordered if level == "ok" or rank != "ok"]
        return "; ".join(dict.fromkeys(words))
