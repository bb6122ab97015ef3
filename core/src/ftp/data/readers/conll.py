"""Rows of tagged words, a word a line: CoNLL files (.conll, .iob, .bio; .txt and .tsv that look so) and CoNLL-U.

A line is a word, maybe other columns, and its tag; an empty line ends a sentence; `-DOCSTART-` lines are no words. A number of
the word in its sentence may stand before it (GermEval, WikiNEuRal).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from ftp.data.readers.lines import read_lines
from ftp.data.readers.source import DataFile, Rows
from ftp.errors import UserError

DOCUMENT_START = "-DOCSTART-"
TAG = re.compile(r"O|[BILUESM]-\S+|[BILUES]")  # IOB, BIO, BILOU and BIOES tags
BLANKS = re.compile(r"[ \t]+")  # not \s: a word may hold a non-breaking space
PEEK_LINES = 200
COLUMNS_OF_UD = 10  # id, form, lemma, upos, xpos, feats, head, deprel, deps, misc


TaggedLine = tuple[int, tuple[str, str] | None]
"""A line number with the word of this line and its tag; None where a sentence ends."""


def _sentences(lines: Iterator[TaggedLine]) -> Rows:
    """Words up to the end of each sentence as one row, numbered by the line of its first word."""
    tokens: list[str] = []
    tags: list[str] = []
    first_line = 0
    for line, word in chain(lines, [(0, None)]):
        if word is not None:
            first_line = first_line if tokens else line
            tokens.append(word[0])
            tags.append(word[1])
        elif tokens:
            yield first_line, {"tokens": tokens, "tags": tags}
            tokens, tags = [], []


def read_conll(file: DataFile) -> Rows:
    """Sentences as `tokens` (first column, or second behind numbers of words) and `tags` (last column).

    Raises:
        UserError: a line has another number of columns.
    """
    if _is_piped(file):
        yield from _read_piped(file)
    else:
        yield from _sentences(_words_of_conll(file))


def _words_of_conll(file: DataFile) -> Iterator[TaggedLine]:
    width = 0
    is_inside = False  # of a sentence
    word_column = 1 if _counts_words(islice(read_lines(file), PEEK_LINES)) else 0
    for line, text in enumerate(read_lines(file), 1):
        cells = _cells(text)
        if not cells or cells[0] == DOCUMENT_START:
            yield line, None
            is_inside = False
            continue
        if text.startswith("#") and len(cells) != width and not is_inside:
            continue  # a comment before a sentence, as `# id 12`
        if len(cells) < 2:
            raise UserError(
                f"{file.path}, line {line}: one column ({cells[0]!r:.60}); a line is a word and its tag",
                "write the tag after the word, or an empty line between sentences",
            )
        width = width or len(cells)
        if len(cells) != width:
            raise UserError(
                f"{file.path}, line {line}: {len(cells)} columns, but the lines before have {width}",
                "give each word as many columns, the tag in the last one",
            )
        yield line, (cells[word_column], cells[-1])
        is_inside = True
    if width > 2:
        place = ("first", "second")[word_column]
        file.tell(
            f"the {place} of its {width} columns is read as the words, the last as their tags; the others are not used"
        )


def _counts_words(lines: Iterable[str]) -> bool:
    """Whether the first of three columns or more numbers the words of each sentence, from 0 or from 1."""
    numbers: list[str] = []
    counted = 0
    for text in chain(lines, [""]):
        cells = _cells(text)
        if text.startswith("#") and not numbers:
            continue  # a comment before a sentence
        if cells and len(cells) < 3:
            return False
        if cells:
            numbers.append(cells[0])
        elif numbers:
            if not any(numbers == [str(first + place) for place in range(len(numbers))] for first in (0, 1)):
                return False
            counted += len(numbers)
            numbers = []
    return counted > 1


def _cells(text: str) -> list[str]:
    """The columns of a line: parted by tabs where it has any, else by blanks."""
    text = text.strip("\r\n")
    if not text.strip():
        return []
    if "\t" in text.strip(" \t"):
        return [cell.strip(" ") for cell in text.rstrip("\t").split("\t")]
    return BLANKS.split(text.strip(" \t"))


def looks_tagged(lines: list[str], separator: str | None = None) -> bool:
    """Whether the first lines of a file are words with IOB tags, each line with as many columns.

    Args:
        separator: what a line must hold between its columns; None: blanks or tabs.
    """
    widths: set[int] = set()
    for text in lines:
        cells = _cells(text)
        if not cells or cells[0] == DOCUMENT_START:
            continue
        if len(cells) < 2 or not TAG.fullmatch(cells[-1]) or (separator and separator not in text):
            return False
        widths.add(len(cells))
    return len(widths) == 1


def looks_conll(file: DataFile) -> bool:
    """Whether a .txt file holds tagged words instead of text: its first lines are, and sentences end."""
    lines = list(islice(read_lines(file), PEEK_LINES))
    has_ends = len(lines) < PEEK_LINES or any(not line.strip() for line in lines)
    return len(lines) > 1 and has_ends and looks_tagged(lines)


def read_conllu(file: DataFile) -> Rows:
    """Sentences of Universal Dependencies: `tokens` (FORM), `tags` (UPOS)."""
    yield from _sentences(_words_of_conllu(file))
    file.tell(
        "its words (FORM) and parts of speech (UPOS) are read; the other columns are not used"
    )


def _words_of_conllu(file: DataFile) -> Iterator[TaggedLine]:
    for line, text in enumerate(read_lines(file), 1):
        cells = text.rstrip("\r\n").split("\t")
        if not text.strip():
            yield line, None
            continue
        if text.startswith("#") or "-" in cells[0] or "." in cells[0]:
            continue  # a comment, a contraction that its words follow, or a word that is not written
        if len(cells) != COLUMNS_OF_UD:
            raise UserError(
                f"{file.path}, line {line}: {len(cells)} columns; CoNLL-U has {COLUMNS_OF_UD}, parted by tabs",
                "a file of words and tags alone ends in .conll",
            )
        yield line, (cells[1], cells[3])


def _is_piped(file: DataFile) -> bool:
    """Whether words and tags stand as `word|tag`, a sentence a line."""
    for text in islice(read_lines(file), PEEK_LINES):
        words = text.split()
        if words:
            return len(words) > 1 and all("|" in word for word in words)
    return False


def _read_piped(file: DataFile) -> Iterator[tuple[int, dict[str, list[str]]]]:
    for line, text in enumerate(read_lines(file), 1):
        tokens: list[str] = []
        tags: list[str] = []
        for word in text.split():
            token, bar, rest = word.partition("|")
            if not bar:
                raise UserError(
                    f"{file.path}, line {line}: {word!r:.60} has no tag",
                    "write each word as word|tag",
                )
            tokens.append(token)
            tags.append(rest.rsplit("|", 1)[-1])
        if tokens:
            yield line, {"tokens": tokens, "tags": tags}
