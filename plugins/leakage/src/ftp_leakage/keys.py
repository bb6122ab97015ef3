"""Numbers that are equal when texts are nearly equal: the candidates of `near`, found in time linear in the words.

A text's words w_0 .. w_(n-1) get random 64-bit numbers h; its key is the polynomial sum of h_j * P^j modulo 2^64 (Karp
and Rabin 1987). From prefix sums follow, at one number a word, the keys of the text with one word masked, with one word
left out, of its beginnings and of its ends. Two texts that differ in one word share a masked key, so none is missed.
More changes than one are found by MinHash (Broder 1997) with banding (Leskovec, Rajaraman, Ullman, ch. 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

PRIME = 0x9E3779B97F4A7C55  # odd, so it has an inverse modulo 2^64
INVERSE = pow(PRIME, -1, 2**64)


def mix(values: np.ndarray) -> np.ndarray:
    """Numbers scrambled into 64 random-looking bits (the finaliser of SplitMix64, Steele et al. 2014)."""
    import numpy as np

    z = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def powers(base: int, count: int) -> np.ndarray:
    """base^0 .. base^(count - 1) modulo 2^64."""
    import numpy as np

    steps = np.full(max(count, 1), base, dtype=np.uint64)
    steps[0] = 1
    return np.cumprod(steps, dtype=np.uint64)[:count]


@dataclass(frozen=True)
class Keys:
    """Keys of texts. `whole`, `bag`: [texts], in order and in any order. [words]: `place` of the word in its text,
    `text` it is of, `before` (key of the words before it), `terms` (what the word adds to `whole`)."""

    whole: np.ndarray
    bag: np.ndarray
    text: np.ndarray
    place: np.ndarray
    before: np.ndarray
    terms: np.ndarray
    lengths: np.ndarray

    def masked(self, at: np.ndarray) -> np.ndarray:
        """Key of the text with the word at each of these positions (in the flat list of words) masked."""
        import numpy as np

        salt = mix(self.place[at].astype(np.uint64) * np.uint64(1 << 20) + self.lengths[self.text[at]].astype(np.uint64))
        masked: np.ndarray = mix(self.whole[self.text[at]] - self.terms[at]) ^ salt
        return masked

    def without(self, at: np.ndarray) -> np.ndarray:
        """Key of the text with the word at each of these positions left out."""
        import numpy as np

        after = self.whole[self.text[at]] - self.before[at] - self.terms[at]
        shortened: np.ndarray = self.before[at] + after * np.uint64(INVERSE)
        return shortened

    def ends(self, at: np.ndarray) -> np.ndarray:
        """Key of the words from each of these positions to the end of the text."""
        place = self.place[at]
        inverse = powers(INVERSE, int(place.max(initial=0)) + 1)[place]
        rest: np.ndarray = (self.whole[self.text[at]] - self.before[at]) * inverse
        return rest


def keys_of(texts: Words) -> Keys:
    """The keys of all texts."""
    import numpy as np

    lengths = texts.lengths
    text = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    place = (np.arange(len(texts.ids)) - np.repeat(texts.starts[:-1], lengths)).astype(np.int32)
    hashes = mix(texts.ids)
    terms = hashes * powers(PRIME, int(lengths.max(initial=0)))[place] if len(hashes) else hashes
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)))
    bags = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mix(hashes), dtype=np.uint64)))
    starts = texts.starts
    return Keys(
        whole=sums[starts[1:]] - sums[starts[:-1]],
        bag=bags[starts[1:]] - bags[starts[:-1]],
        text=text, place=place, before=sums[:-1] - np.repeat(sums[starts[:-1]], lengths), terms=terms, lengths=lengths,
    )


def sketch(texts: Words, functions: int, seed: int = 1) -> np.ndarray:
    """[functions, texts] MinHash of each text's set of words: the share of equal numbers estimates the Jaccard
    similarity of two sets. Texts must not be empty."""
    import numpy as np

    low = (mix(texts.ids) >> np.uint64(32)).astype(np.uint32)
    draws = np.random.default_rng(seed).integers(1, 2**32, size=(functions, 2), dtype=np.uint64)
    smallest = np.empty((functions, len(texts)), dtype=np.uint32)
    for row, (factor, shift) in enumerate(draws):
        # multiply-add, then fold the high half in, as the low bits of a product mix badly
        hashed = low * np.uint32(factor | np.uint64(1)) + np.uint32(shift)
        hashed ^= hashed >> np.uint32(15)
        hashed *= np.uint32(0x2C1B3C6D)
        hashed ^= hashed >> np.uint32(12)
        smallest[row] = np.minimum.reduceat(hashed, texts.starts[:-1])
    return smallest
