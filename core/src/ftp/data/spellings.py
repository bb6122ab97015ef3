"""Labels that are probably not meant as they stand: spellings of one class, and words that say that there is none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

BETWEEN = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")
"""What may stand between the parts of a label: blanks, hyphens, underscores. A sign before a number is none."""

NO_LABEL = frozenset({"nan", "none", "null", "nil", "n/a", "na", "#n/a", "<na>", "n.a.", "empty", "missing"})
"""How spreadsheets and programs write that a cell has no value; compared without case."""

JOIN = "--join-labels"


@dataclass(frozen=True)
class Variants:
    """Spellings of what is probably one class, the most frequent first, with the number of times each occurs."""

    counts: tuple[tuple[str, int], ...]

    @property
    def usual(self) -> str:
        """The spelling that all of them take when they are joined."""
        return self.counts[0][0]

    def __str__(self) -> str:
        return ", ".join(f"{name!r} ({count:,})" for name, count in self.counts)


def plain_spelling(name: str) -> str:
    """A label without case, blanks at its ends, and the way in which letters are composed (Unicode NFKC).

    What stands between its parts is one blank: `B-PER`, `b-per` and `b_per` are alike.
    """
    spelling = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return BETWEEN.sub(" ", spelling.strip())


def find_variants(counts: Mapping[str, int], fixed: Sequence[str] = ()) -> list[Variants]:
    """Labels of different spelling that are alike in `plain_spelling`.

    Args:
        counts: label -> how often it occurs.
        fixed: classes whose spelling is given, which is the usual one however rare it is.
    """
    groups: dict[str, list[str]] = {}
    for name in counts:
        groups.setdefault(plain_spelling(name), []).append(name)
    found = []
    for names in groups.values():
        if len(names) < 2:
            continue
        ordered = sorted(names, key=lambda name: (name not in fixed, -counts[name], name))
        found.append(Variants(tuple((name, counts[name]) for name in ordered)))
    return sorted(found, key=lambda variants: variants.usual)


def usual_spellings(names: Iterable[str], variants: Iterable[Variants]) -> dict[str, str]:
    """Each name -> the spelling of its class once variants are joined."""
    usual = {name: name for name in names}
    for group in variants:
        for name, _ in group.counts:
            usual[name] = group.usual
    return usual


def words_for_nothing(counts: Mapping[str, int]) -> list[str]:
    """Labels that are probably cells without a value."""
    return sorted(name for name in counts if name.strip().casefold() in NO_LABEL)
