"""CoNLL files: a line is a word, maybe other columns, and its tag; an empty line ends a sentence.

`-DOCSTART-` lines are no words. A number of the word in its sentence may stand before it (GermEval, WikiNEuRal). Some files
have a sentence a line instead, as `word|tag word|tag`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from ftp import UserError
from ftp.data.readers import DataFile, Rows, columns_of, read_lines
from ftp_conll.sentences import TaggedLine, TaggedWord, sentences

DOCUMENT_START = "-DOCSTART-"
PEEK_LINES = 200


def read_conll(file: DataFile) -> Rows:
    """Sentences as `tokens` (first column, or second behind numbers of words) and `tags` (last column).

    Raises:
        UserError: a line has another number of columns.
    """
    if _is_piped(file):
        yield from _piped_sentences(file)
    else:
        yield from sentences(_tagged_lines(file))


def _tagged_lines(file: DataFile) -> Iterator[TaggedLine]:
    width = 0
    is_in_sentence = False
    word_column = 1 if _counts_words(islice(read_lines(file), PEEK_LINES)) else 0
    for line, text in enumerate(read_lines(file), 1):
        cells = columns_of(text)
        if not cells or cells[0] == DOCUMENT_START:
            yield line, None
            is_in_sentence = False
            continue
        # a comment before a sentence, as `# id 12`; a word `#` has as many columns as any
        if text.startswith("#") and len(cells) != width and not is_in_sentence:
            continue
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
        yield line, TaggedWord(cells[word_column], cells[-1])
        is_in_sentence = True
    if width > 2:
        ordinal = ("first", "second")[word_column]
        file.tell(f"the {ordinal} of its {width} columns is read as the words, the last as their tags; the others are not used")


def _counts_words(lines: Iterable[str]) -> bool:
    """Whether the first of three columns or more numbers the words of each sentence, from 0 or from 1."""
    numbers: list[str] = []
    num_counted = 0
    for text in chain(lines, [""]):
        cells = columns_of(text)
        if text.startswith("#") and not numbers:
            continue  # a comment before a sentence
        if cells and len(cells) < 3:
            return False
        if cells:
            numbers.append(cells[0])
        elif numbers:
            from_zero = list(map(str, range(len(numbers))))
            from_one = list(map(str, range(1, len(numbers) + 1)))
            if numbers not in (from_zero, from_one):
                return False
            num_counted += len(numbers)
            numbers = []
    return num_counted > 1


def _is_piped(file: DataFile) -> bool:
    """Whether words and tags stand as `word|tag`, a sentence a line."""
    for text in islice(read_lines(file), PEEK_LINES):
        words = text.split()
        if words:
            return len(words) > 1 and all("|" in word for word in words)
    return False


def _piped_sentences(file: DataFile) -> Rows:
    for line, text in enumerate(read_lines(file), 1):
        tokens: list[str] = []
        tags: list[str] = []
        for word in text.split():
            token, bar, rest = word.partition("|")
            if not bar:
                raise UserError(f"{file.path}, line {line}: {word!r:.60} has no tag", "write each word as word|tag")
            tokens.append(token)
            # between word and tag there may be more, as a part of speech
            tags.append(rest.rsplit("|", 1)[-1])
        if tokens:
            yield line, {"tokens": tokens, "tags": tags}
