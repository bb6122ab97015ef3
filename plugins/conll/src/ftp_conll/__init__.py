"""Files of tagged words: CoNLL (.conll, .iob, .bio; .txt and .tsv that look so) and CoNLL-U of Universal Dependencies."""

from __future__ import annotations

from pathlib import Path

from ftp.data.readers import Reader, ending_of, holds_tagged_words
from ftp_conll import lines_of_words, universal_dependencies

__all__ = ["CONLL", "CONLLU"]

ENDINGS = (".conll", ".iob", ".iob2", ".bio")


def is_conll(path: Path) -> bool:
    """Whether the name of a file says CoNLL, or the first lines of a .txt or .tsv file are words with tags."""
    return ending_of(path) in ENDINGS or holds_tagged_words(path)


def is_conllu(path: Path) -> bool:
    """Whether the name of a file says CoNLL-U."""
    return ending_of(path) == ".conllu"


CONLL = Reader("conll", is_conll, read_file=lines_of_words.read_conll, endings=ENDINGS, unit="line")
CONLLU = Reader("conllu", is_conllu, read_file=universal_dependencies.read_conllu, endings=(".conllu",), unit="line")
