"""Rows of .txt files: a line each, the whole file, or sentences of tagged words."""

from __future__ import annotations

from ftp.data.readers import conll
from ftp.data.readers.lines import read_lines
from ftp.data.readers.source import DataFile, Rows


def read_text(file: DataFile) -> Rows:
    """Rows with one column, `text`: a line each (lines of white space left out), or the whole file."""
    if file.text_by == "document":
        yield 1, {"text": "".join(read_lines(file)).strip()}
        return
    if conll.looks_conll(file):
        file.tell("its lines are words with tags, and are read so (CoNLL)")
        yield from conll.read_conll(file)
        return
    for line, text in enumerate(read_lines(file), 1):
        if not text.isspace():
            yield line, {"text": text.rstrip("\r\n")}
