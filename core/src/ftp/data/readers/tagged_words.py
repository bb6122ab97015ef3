"""Text files that hold tagged words, a word a line: known here, and read by packages. Taken for prose or for a table they would
be misread in silence.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from ftp.data.readers.archives import open_bytes
from ftp.data.readers.names import ending_of
from ftp.data.readers.source import DataFile
from ftp.errors import UserError

DOCUMENT_START = "-DOCSTART-"
TAG = re.compile(r"O|[BILUESM]-\S+|[BILUES]")
"""IOB, BIO, BILOU and BIOES tags."""
BLANKS = re.compile(r"[ \t]+")  # not \s: a word may hold a non-breaking space
PEEK_LINES = 200
PEEK_BYTES = 1 << 18
"""Bytes that are looked at: 200 lines of a word and its tags are far shorter."""


def columns_of(line: str) -> list[str]:
    """The columns of a line: separated by tabs where it has any, else by blanks.

    Args:
        line: of a file of tagged words, with its end.
    """
    line = line.strip("\r\n")
    if not line.strip():
        return []
    if "\t" in line.strip(" \t"):
        return [cell.strip(" ") for cell in line.rstrip("\t").split("\t")]
    return BLANKS.split(line.strip(" \t"))


def holds_tagged_words(path: Path) -> bool:
    """Whether a .txt or .tsv file is lines of a word and its tag, by its first lines.

    Args:
        path: of any file; the answer is no for one that does not exist or cannot be read.
    """
    ending = ending_of(path)
    if ending not in (".txt", ".tsv") or not path.is_file():
        return False
    try:
        lines = _first_lines(path)
    except (UserError, OSError):
        return False
    if ending == ".tsv":
        return are_tagged_words(lines, separator="\t")
    # prose may have a line such as "Vitamin B"; sentences of tagged words end in an empty line
    has_ends = len(lines) < PEEK_LINES or any(not line.strip() for line in lines)
    return len(lines) > 1 and has_ends and are_tagged_words(lines)


def _first_lines(path: Path) -> list[str]:
    with open_bytes(DataFile(path)) as source:
        head = source.read(PEEK_BYTES)
    # what is no UTF-8 is refused by whoever reads the file
    text = io.StringIO(head.decode("utf-8-sig", errors="replace"), newline=None)
    lines = list(islice(text, PEEK_LINES))
    if len(head) == PEEK_BYTES and len(lines) < PEEK_LINES:
        lines = lines[:-1]  # the last one is cut
    return lines


def are_tagged_words(lines: Iterable[str], separator: str = "") -> bool:
    """Whether lines are words with IOB tags, each line with as many columns.

    Args:
        separator: what a line must hold between its columns; empty: blanks or tabs.
    """
    widths: set[int] = set()
    for line in lines:
        cells = columns_of(line)
        if not cells or cells[0] == DOCUMENT_START:
            continue
        if len(cells) < 2 or not TAG.fullmatch(cells[-1]) or separator not in line:
            return False
        widths.add(len(cells))
    return len(widths) == 1


def refuse_tagged_words(file: DataFile) -> None:
    """Raise `UserError` where a file holds tagged words, for which no reader is installed."""
    if holds_tagged_words(file.path):
        raise UserError(
            f"{file.path} holds words with their tags, a word a line, and no installed package reads such files",
            'install one that does (docs/data.md), or write sentences as .jsonl, as {"tokens": ["Anna"], "tags": ["B-PER"]}',
        )
