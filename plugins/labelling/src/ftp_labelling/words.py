"""Texts with marked spans -> words with BIO tags, by their offsets in the text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from ftp.data.readers import Unreadable
from ftp_labelling.spans import Span

if TYPE_CHECKING:
    import regex  # type: ignore[import-untyped]

SHOWN = 30
"""Characters of a word or a text in an error."""

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
    word_ends = [end for _, end in words]
    last = Span(0, 0, "")
    for span in sorted({_trimmed(text, span) for span in spans}):
        if span.start < last.end:
            raise Unreadable(f"{_shown(text, span)} overlaps {_shown(text, last)}; a word has one tag")
        # the first word that ends within the span or after it
        first = bisect_right(word_ends, span.start)
        index = first
        while index < len(words) and words[index][0] < span.end:
            start, end = words[index]
            if start < span.start or end > span.end:
                raise Unreadable(f"{_shown(text, span)} cuts the word {text[start:end]!r:.{SHOWN}}")
            prefix = "B" if index == first else "I"
            tags[index] = f"{prefix}-{span.tag}"
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
def _word_pattern() -> regex.Pattern[str]:
    import regex  # knows scripts, which `re` does not

    # scripts without blanks between words
    no_blanks = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    return regex.compile(rf"[{no_blanks}]\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}_]--[{no_blanks}]]+|[^\s]", regex.V1)


def find_words(text: str) -> Words:
    """Where the words, numbers and signs of a text begin and end."""
    return [match.span() for match in _word_pattern().finditer(text)]
