"""CoNLL-U files of Universal Dependencies (https://universaldependencies.org/format.html): words and their parts of speech."""

from __future__ import annotations

from collections.abc import Iterator

from ftp import UserError
from ftp.data.readers import DataFile, Rows, read_lines
from ftp_conll.sentences import TaggedLine, TaggedWord, sentences

NUM_COLUMNS = 10  # id, form, lemma, upos, xpos, feats, head, deprel, deps, misc
FORM = 1
UPOS = 3


def read_conllu(file: DataFile) -> Rows:
    """Sentences of Universal Dependencies: `tokens` (FORM), `tags` (UPOS).

    Raises:
        UserError: a line has another number of columns.
    """
    yield from sentences(_tagged_lines(file))
    file.tell("its words (FORM) and parts of speech (UPOS) are read; the other columns are not used")


def _tagged_lines(file: DataFile) -> Iterator[TaggedLine]:
    for line, text in enumerate(read_lines(file), 1):
        cells = text.rstrip("\r\n").split("\t")
        if not text.strip():
            yield line, None
            continue
        # a comment, a contraction that its words follow (1-2), or a word that is not written (1.1)
        if text.startswith("#") or "-" in cells[0] or "." in cells[0]:
            continue
        if len(cells) != NUM_COLUMNS:
            raise UserError(
                f"{file.path}, line {line}: {len(cells)} columns; CoNLL-U has {NUM_COLUMNS}, separated by tabs",
                "a file of words and tags alone ends in .conll",
            )
        yield line, TaggedWord(cells[FORM], cells[UPOS])
