"""Rows of .txt files: a line each, or the whole file."""

from __future__ import annotations

from ftp.data.readers.lines import read_lines
from ftp.data.readers.source import DataFile, Rows
from ftp.data.readers.tagged_words import refuse_tagged_words


def read_text(file: DataFile) -> Rows:
    """Rows with one column, `text`: a line each (lines of white space left out), or the whole file.

    Raises:
        UserError: its lines are words with tags, which are not texts by themselves.
    """
    if file.text_by == "document":
        yield 1, {"text": "".join(read_lines(file)).strip()}
        return
    refuse_tagged_words(file)
    for line, text in enumerate(read_lines(file), 1):
        if not text.isspace():
            yield line, {"text": text.rstrip("\r\n")}
