"""Marked parts of a text, in every spelling that tools use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftp.data.readers import Export, Unreadable
from ftp.types import Row

START_NAMES = ("start", "start_offset", "begin", "start_char")
END_NAMES = ("end", "end_offset", "end_char")
TAG_NAMES = ("label", "tag", "type", "entity", "entity_group")


@dataclass(frozen=True, order=True)
class Span:
    """A marked part of a text: characters from `start` up to but without `end`."""

    start: int
    end: int
    tag: str

    def __str__(self) -> str:
        return f"the span {self.start} to {self.end} ({self.tag})"


def find_span(value: object) -> Span | None:
    """A span that is spelt `[start, end, tag]`, `[tag, start, end]`, or as an object with usual names; None for anything else."""
    start: object = None
    end: object = None
    tag: object = None
    if isinstance(value, Mapping):
        start = _first(value, START_NAMES)
        end = _first(value, END_NAMES)
        tag = _first(value, TAG_NAMES)
    elif isinstance(value, list | tuple) and len(value) >= 3:
        start, end, tag = value[:3]
        if isinstance(start, str):
            tag, start, end = value[:3]
    # not isinstance: true and false are numbers for Python, but no offsets
    if type(start) is not int or type(end) is not int or not isinstance(tag, str) or not tag.strip():
        return None
    return Span(start, end, tag.strip())


def read_span(value: object) -> Span:
    """As `find_span`. Raises `Unreadable` where the value is no span."""
    span = find_span(value)
    if span is None:
        raise Unreadable(f"{value!r:.80} is no span; a span is [start, end, tag]")
    return span


def are_spans(values: object) -> bool:
    """Whether a value is a list of one span or more."""
    return isinstance(values, list) and bool(values) and None not in map(find_span, values)


def _first(value: Row, names: Sequence[str]) -> object:
    for name in names:
        if value.get(name) is not None:
            return value[name]
    return None


def from_utf16(text: str, offset: int) -> int:
    """An offset that counts UTF-16 units, as browsers do, as one that counts characters."""
    units = text.encode("utf-16-le", "surrogatepass")
    return len(units[: 2 * offset].decode("utf-16-le", "ignore"))


def spacy_pair(value: object) -> Row | None:
    """spaCy's `[text, {"entities": [[start, end, tag]]}]` as an object; None for anything else."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    text, marks = value
    if isinstance(text, str) and isinstance(marks, dict) and "entities" in marks:
        return {"text": text, "entities": marks["entities"]}
    return None


SPACY = Export("spacy", (), object_of=spacy_pair)
"""Its pairs as objects, whose spans are then read as those of any tool."""
