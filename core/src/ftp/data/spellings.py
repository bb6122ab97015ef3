"""Labels that are probably not meant as they stand: spellings of one class, and words that say that there is none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

BETWEEN = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")
"""What may stand between the parts of a label: blanks, hyphens, underscores. A sign before a number is none."""

WHOLE = re.compile(r"([+-]?)0*(\d+)(\.0+)?")
"""A whole number as programs write it: 1, 01, 1.0. Where a cell is empty, spreadsheets make 1.0 of the 1 in the others."""

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

    @property
    def num_occurring(self) -> int:
        """How many of the spellings occur at all; a class that the user names need not."""
        return sum(count > 0 for _, count in self.counts)

    def __str__(self) -> str:
        composed = {unicodedata.normalize("NFC", name) for name, _ in self.counts}
        looks_alike = len(composed) < len(self.counts)  # on a screen; their characters tell them apart
        show = ascii if looks_alike else repr
        return ", ".join(f"{show(name)} ({count:,})" for name, count in self.counts)


def plain_spelling(name: str) -> str:
    """A label without case, blanks at its ends, and the way in which letters are composed (Unicode NFKC).

    What stands between its parts is one blank: `B-PER`, `b-per` and `b_per` are alike; so are `1`, `01` and `1.0`.
    Characters without a shape of their own (a zero-width blank, a byte order mark) do not count.
    """
    # Twice: without case, some letters are composed otherwise.
    spelling = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    shown = "".join(character for character in spelling if unicodedata.category(character) != "Cf")
    plain = shown.strip()
    number = WHOLE.fullmatch(plain)
    if number:
        return number[1] + number[2]
    return BETWEEN.sub(" ", plain)


def find_variants(counts: Mapping[str, int], fixed: Sequence[str] = ()) -> list[Variants]:
    """Labels of different spelling that are alike in `plain_spelling`.

    Args:
        counts: label -> how often it occurs.
        fixed: classes whose spelling is given, which is the usual one however rare it is.
    """
    groups: dict[str, list[str]] = {}
    for name in counts:
        groups.setdefault(plain_spelling(name), []).append(name)
    variants: list[Variants] = []
    for names in groups.values():
        if len(names) < 2:
            continue
        ordered = sorted(names, key=lambda name: (name not in fixed, -counts[name], name))
        variants.append(Variants(tuple((name, counts[name]) for name in ordered)))
    return sorted(variants, key=lambda group: group.usual)


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
