"""Texts with marked spans -> words with BIO tags, by their offsets in the text."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Tally = Counter[str]
"""What a user should know about the rows of an export: how many there are of which kind."""

SHOWN = 30  # characters of a word or text in an error


class Unreadable(ValueError):
    """This row cannot be read; the message says why, the caller says which row."""


@dataclass(frozen=True, order=True)
class Span:
    """A marked part of a text: characters from `start` up to but without `end`."""

    start: int
    end: int
    tag: str

    def __str__(self) -> str:
        return f"the span {self.start} to {self.end} ({self.tag})"


Words = Sequence[tuple[int, int]]
"""Where each word begins and ends in its text."""


def tag_words(text: str, spans: Iterable[Span], words: Words | None = None) -> dict[str, list[str]]:
    """`tokens` and BIO `tags` of a text.

    Args:
        words: as the tool has cut them; None: words, numbers and signs, and each character where a script has no blanks.

    Raises:
        Unreadable: a span outside of the text, one that cuts a word, or two that overlap.
    """
    words = find_words(text) if words is None else words
    tags = ["O"] * len(words)
    ends = [end for _, end in words]
    last = Span(0, 0, "")
    for span in sorted({_trimmed(text, span) for span in spans}):
        if span.start < last.end:
            raise Unreadable(
                f"{_shown(text, span)} overlaps {_shown(text, last)}; a word has one tag"
            )
        first = index = bisect_right(
            ends, span.start
        )  # the first word that ends within or after the span
        while index < len(words) and words[index][0] < span.end:
            start, end = words[index]
            if start < span.start or end > span.end:
                raise Unreadable(f"{_shown(text, span)} cuts the word {text[start:end]!r:.{SHOWN}}")
            tags[index] = f"{'B' if index == first else 'I'}-{span.tag}"
            index += 1
        last = span
    return {"tokens": [text[start:end] for start, end in words], "tags": tags}


def _trimmed(text: str, span: Span) -> Span:
    """The span without blanks at its ends, which annotators often catch."""
    if not 0 <= span.start < span.end <= len(text):
        raise Unreadable(f"{span} is not within the {len(text)} characters of the text")
    marked = text[span.start : span.end]
    start = span.start + len(marked) - len(marked.lstrip())
    end = span.end - len(marked) + len(marked.rstrip())
    if start >= end:
        raise Unreadable(f"{span} holds blanks only")
    return Span(start, end, span.tag)


def _shown(text: str, span: Span) -> str:
    return f"the span {span.start} to {span.end} ({span.tag}, {text[span.start : span.end]!r:.{SHOWN}})"


@cache
def _word_pattern() -> Any:
    import regex  # type: ignore[import-untyped]  # knows scripts, which `re` does not

    no_blanks = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # scripts without blanks between words
    return regex.compile(
        rf"[{no_blanks}]\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}_]--[{no_blanks}]]+|[^\s]", regex.V1
    )


def find_words(text: str) -> Words:
    """Where the words, numbers and signs of a text begin and end."""
    return [match.span() for match in _word_pattern().finditer(text)]


START_NAMES = ("start", "start_offset", "begin", "start_char")
END_NAMES = ("end", "end_offset", "end_char")
TAG_NAMES = ("label", "tag", "type", "entity", "entity_group")


def read_span(value: Any) -> Span:
    """A span as `[start, end, tag]`, `[tag, start, end]`, or an object with these under their usual names."""
    if isinstance(value, Mapping):
        start, end, tag = (_first(value, names) for names in (START_NAMES, END_NAMES, TAG_NAMES))
    elif isinstance(value, list | tuple) and len(value) >= 3:
        start, end, tag = value[:3]
        if isinstance(start, str):
            tag, start, end = value[:3]
    else:
        raise Unreadable(f"{value!r:.80} is no span; a span is [start, end, tag]")
    if not _is_offset(start) or not _is_offset(end) or not isinstance(tag, str) or not tag.strip():
        raise Unreadable(f"{value!r:.80} is no span; a span is [start, end, tag]")
    return Span(int(start), int(end), tag.strip())


def is_span(value: Any) -> bool:
    """Whether a value is a span in any spelling."""
    try:
        read_span(value)
    except Unreadable:
        return False
    return True


def _first(value: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _is_offset(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def from_utf16(text: str, start: int, end: int) -> tuple[int, int]:
    """Offsets that count UTF-16 units, as browsers do, as offsets that count characters."""
    units = text.encode("utf-16-le", "surrogatepass")
    counts = [len(units[: 2 * offset].decode("utf-16-le", "ignore")) for offset in (start, end)]
    return counts[0], counts[1]


def spacy_pair(row: Any) -> dict[str, Any] | None:
    """spaCy's `[text, {"entities": [[start, end, tag]]}]` as an object; None for anything else."""
    if (
        isinstance(row, list)
        and len(row) == 2
        and isinstance(row[0], str)
        and isinstance(row[1], dict)
        and "entities" in row[1]
    ):
        return {"text": row[0], "entities": row[1]["entities"]}
    return None
