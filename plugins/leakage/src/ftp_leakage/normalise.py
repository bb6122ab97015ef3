"""Texts as words: what two texts may differ in without being different texts (case, punctuation,
unicode, spaces)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

APOSTROPHES = "'’‘ʼ`´"
PENDING = 1_000_000  # words that are held in a list, which costs more memory than an array
UNSPACED = re.compile(
    r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])"
)
"""Scripts written without spaces (Thai, Lao, Burmese, Khmer, Kana, Han): a character is a word."""


def words(text: str) -> list[str]:
    """The words of a text: compatibility forms folded (NFKC), case folded, punctuation and
    invisible characters gone.

    `"It’s  GREAT!"` and `"its great"` have the same words. A text of signs alone (`":-)"`) is one
    word, as it stands; an empty text has none.
    """
    if text.isascii():
        folded = text.lower().translate(_ASCII)  # most texts are, and it is several times as fast
    else:
        folded = unicodedata.normalize("NFKC", text).casefold().translate(_UNICODE)
        folded = UNSPACED.sub(r" \1 ", folded)
    return folded.split() or text.split()


class _Folded(dict[int, str]):
    """What becomes of each character, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = _fold(chr(code))
        return self[code]


def _fold(char: str) -> str:
    if char.isalnum():
        return char
    if char in APOSTROPHES:
        return ""
    category = unicodedata.category(char)
    if category.startswith("M"):  # an accent that is a character of its own
        return char
    is_invisible = category == "Cf"
    return "" if is_invisible else " "


def _ascii_table() -> dict[int, str | None]:
    table: dict[int, str | None] = {}
    for code in range(128):
        if not chr(code).isalnum():
            table[code] = " "
    for mark in "'`":
        table[ord(mark)] = None
    return table


_ASCII = _ascii_table()
_UNICODE = _Folded()


class Vocabulary(dict[str, int]):
    """Words by number; a new word gets the next one."""

    def __missing__(self, word: str) -> int:
        self[word] = len(self)
        return self[word]


@dataclass(frozen=True)
class Words:
    """Texts as numbers. Text i is `ids[starts[i]:starts[i + 1]]`.

    Args:
        ids: [words] uint32; equal numbers are equal words.
        starts: [texts + 1] int64.
        vocabulary: the words that the numbers stand for.
    """

    ids: np.ndarray
    starts: np.ndarray
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """[texts] number of words of each text."""
        import numpy as np

        return np.diff(self.starts)

    def ids_of(self, text: int) -> list[int]:
        """The words of one text as numbers."""
        ids: list[int] = self.ids[self.starts[text] : self.starts[text + 1]].tolist()
        return ids

    def take(self, texts: np.ndarray) -> Words:
        """Some of the texts, in the order asked for."""
        import numpy as np

        lengths = self.lengths[texts]
        starts = np.concatenate(([0], np.cumsum(lengths)))
        moved_by = np.repeat(self.starts[:-1][texts] - starts[:-1], lengths)
        return Words(self.ids[np.arange(starts[-1]) + moved_by], starts, self.vocabulary)

    def grouped(self, size: int) -> Words:
        """Each `size` texts in a row as one text."""
        return Words(self.ids, self.starts[::size], self.vocabulary)


def joined(parts: Sequence[Words]) -> Words:
    """Texts of several lists that share one vocabulary, one list after the other."""
    import numpy as np

    lengths = np.concatenate([part.lengths for part in parts])
    starts = np.concatenate(([0], np.cumsum(lengths)))
    return Words(np.concatenate([part.ids for part in parts]), starts, parts[0].vocabulary)


def side_by_side(parts: Sequence[Words]) -> Words:
    """Texts made of a text of each list, one after the other; the lists are of one length and share
    a vocabulary."""
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    num_rows = len(parts[0])
    # from all texts of the first list, then of the second, to all texts of a row beside one another
    by_row = np.arange(num_rows * len(parts)).reshape(len(parts), num_rows).T.reshape(-1)
    return joined(parts).take(by_row).grouped(len(parts))


def number_words(
    texts: Iterable[str], vocabulary: Vocabulary | None = None, longest: int | None = None
) -> Words:
    """Texts as `Words`, read once from an iterator.

    Args:
        vocabulary: is added to; texts that are to be compared share one.
        longest: words looked at in each text at most.
    """
    import numpy as np

    number_of = Vocabulary() if vocabulary is None else vocabulary
    arrays: list[np.ndarray] = []
    pending: list[int] = []
    lengths: list[int] = []
    for text in texts:
        words_of_text = words(text)[:longest]
        lengths.append(len(words_of_text))
        pending.extend(map(number_of.__getitem__, words_of_text))
        # a list of Python numbers takes ten times the memory of an array
        if len(pending) > PENDING:
            arrays.append(np.array(pending, dtype=np.uint32))
            pending = []
    arrays.append(np.array(pending, dtype=np.uint32))
    starts = np.concatenate(([0], np.cumsum(np.array(lengths, dtype=np.int64))))
    return Words(np.concatenate(arrays), starts, number_of)
