"""Words, one after another, as sentences."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from ftp.data.readers import Rows


class TaggedWord(NamedTuple):
    """A word and its tag."""

    word: str
    tag: str


TaggedLine = tuple[int, TaggedWord | None]
"""A line number with the word of this line; None where a sentence ends."""


def sentences(lines: Iterable[TaggedLine]) -> Rows:
    """Words up to the end of each sentence as one row, numbered by the line of its first word."""
    tokens: list[str] = []
    tags: list[str] = []
    first_line = 0
    for line, tagged_word in chain(lines, [(0, None)]):
        if tagged_word is not None:
            first_line = first_line if tokens else line
            tokens.append(tagged_word.word)
            tags.append(tagged_word.tag)
        elif tokens:
            yield first_line, {"tokens": tokens, "tags": tags}
            tokens = []
            tags = []
