"""Texts as words: what two texts may differ in without being different texts (case, punctuation, unicode, spaces)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_APOSTROPHES = "'’‘ʼ`´"
_ASCII = {code: " " for code in range(128) if not chr(code).isalnum()} | {ord(mark): None for mark in "'`"}
_ALONE = re.compile(r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
"""Scripts written without spaces (Thai, Lao, Burmese, Khmer, Kana, Han): each character counts as a word."""


def words(text: str) -> list[str]:
    """The words of a text: compatibility forms folded (NFKC), case folded, punctuation and invisible characters gone.

    `"It’s  GREAT!"` and `"its great"` have the same words. A text of signs alone (`":-)"`) is one word, as it stands;
    an empty text has none.
    """
    if text.isascii():
        found = text.lower().translate(_ASCII).split()
    else:
        folded = unicodedata.normalize("NFKC", text).casefold()
        found = _ALONE.sub(r" \1 ", folded.translate(_OTHERS)).split()
    return found or text.split()


def _keep(char: str) -> str:
    if char.isalnum():
        return char
    if char in _APOSTROPHES:
        return ""
    kind = unicodedata.category(char)
    return char if kind[0] == "M" else "" if kind == "Cf" else " "


class _Kept(dict[int, str]):
    """What becomes of each character, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = _keep(chr(code))
        return self[code]


_OTHERS = _Kept()


class Vocabulary(dict[str, int]):
    """Words by number; a new word gets the next one."""

    def __missing__(self, word: str) -> int:
        self[word] = len(self)
        return self[word]


@dataclass(frozen=True)
class Words:
    """Texts as numbers. Text i is `ids[starts[i]:starts[i + 1]]`; equal numbers are equal words (`vocabulary`)."""

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

    def of(self, text: int) -> list[int]:
        """The words of one text as numbers."""
        numbers: list[int] = self.ids[self.starts[text] : self.starts[text + 1]].tolist()
        return numbers

    def take(self, texts: np.ndarray) -> Words:
        """Some of the texts, in the order asked for."""
        import numpy as np

        lengths = self.lengths[texts]
        starts = np.concatenate(([0], np.cumsum(lengths)))
        where = np.arange(starts[-1]) + np.repeat(self.starts[:-1][texts] - starts[:-1], lengths)
        return Words(self.ids[where], starts, self.vocabulary)


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
    """Texts made of a text of each list, one after the other; the lists are of one length and share a vocabulary."""
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    rows = len(parts[0])
    return joined(parts).take(np.arange(rows * len(parts)).reshape(len(parts), rows).T.reshape(-1)).grouped(len(parts))


def number(texts: Iterable[str], vocabulary: Vocabulary | None = None, longest: int | None = None) -> Words:
    """Texts as `Words`, read once from an iterator. `vocabulary` is added to; texts that are to be compared share one.
    `longest`: words looked at in each text at most."""
    import numpy as np

    known = Vocabulary() if vocabulary is None else vocabulary
    ids: list[np.ndarray] = []
    pending: list[int] = []
    lengths: list[int] = []
    for text in texts:
        found = words(text)
        if longest is not None:
            found = found[:longest]
        lengths.append(len(found))
        pending.extend(map(known.__getitem__, found))
        if len(pending) > 1_000_000:
            ids.append(np.array(pending, dtype=np.uint32))
            pending = []
    ids.append(np.array(pending, dtype=np.uint32))
    starts = np.concatenate(([0], np.cumsum(np.array(lengths, dtype=np.int64))))
    return Words(np.concatenate(ids), starts, known)
