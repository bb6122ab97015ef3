"""Numbers that are equal when texts are nearly equal: the candidates of `near`, in linear time.

A text's words w_0 .. w_(n-1) get random 64-bit numbers h; its key is the polynomial sum of h_j *
P^j modulo 2^64 (Karp and Rabin 1987). From prefix sums follow, at one number a word, the keys of
the text with one word masked, with one word left out, of its beginnings and of its ends. Two texts
that differ in one word share a masked key, so none is missed. More changes than one are found by
MinHash (Broder 1997) with banding (Leskovec, Rajaraman, Ullman, ch. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

PRIME = 0x9E3779B97F4A7C55  # odd, so it has an inverse modulo 2^64
INVERSE = pow(PRIME, -1, 2**64)
POSITIONS = 1 << 20  # keeps the position of a masked word apart from the length of its text


def mix(values: np.ndarray) -> np.ndarray:
    """Scramble numbers into 64 random-looking bits (SplitMix64's finaliser, Steele et al. 2014)."""
    import numpy as np

    mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def powers(base: int, count: int) -> np.ndarray:
    """base^0 .. base^(count - 1) modulo 2^64."""
    import numpy as np

    factors = np.full(max(count, 1), base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)[:count]


@dataclass(frozen=True)
class Keys:
    """Keys of texts, whose words are numbered from the first of all texts to the last.

    Args:
        whole: [texts] uint64 key of the words in their order.
        bag: [texts] uint64 key of the words in any order.
        text: [words] the text that each word is of.
        position: [words] the place of each word in its text, from 0.
        before: [words] uint64 key of the words before it in its text.
        terms: [words] uint64 what the word adds to `whole`.
        lengths: [texts] words of each text.
    """

    whole: np.ndarray
    bag: np.ndarray
    text: np.ndarray
    position: np.ndarray
    before: np.ndarray
    terms: np.ndarray
    lengths: np.ndarray

    def masked(self, words: np.ndarray) -> np.ndarray:
        """[words] key of the text with one of its words masked, for each of these words."""
        import numpy as np

        text = self.text[words]
        # texts of another length, or masked in another place, are no candidates
        position = self.position[words].astype(np.uint64) * np.uint64(POSITIONS)
        salt = mix(position + self.lengths[text].astype(np.uint64))
        masked: np.ndarray = mix(self.whole[text] - self.terms[words]) ^ salt
        return masked

    def without(self, words: np.ndarray) -> np.ndarray:
        """[words] key of the text with one of its words left out, for each of these words."""
        import numpy as np

        # the words behind it move up by one place
        after = self.whole[self.text[words]] - self.before[words] - self.terms[words]
        shortened: np.ndarray = self.before[words] + after * np.uint64(INVERSE)
        return shortened

    def ends(self, words: np.ndarray) -> np.ndarray:
        """[words] key of the text from each of these words to its end."""
        position = self.position[words]
        inverse = powers(INVERSE, int(position.max(initial=0)) + 1)[position]
        ends: np.ndarray = (self.whole[self.text[words]] - self.before[words]) * inverse
        return ends


def keys_of(texts: Words) -> Keys:
    """The keys of all texts."""
    import numpy as np

    lengths = texts.lengths
    starts = texts.starts
    text = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    position = (np.arange(len(texts.ids)) - np.repeat(starts[:-1], lengths)).astype(np.int32)

    # running sums over all texts; the sum of one text is the difference of two of them
    hashes = mix(texts.ids)
    terms = hashes
    if len(hashes):
        terms = hashes * powers(PRIME, int(lengths.max(initial=0)))[position]
    zero = np.zeros(1, np.uint64)
    sums = np.concatenate((zero, np.cumsum(terms, dtype=np.uint64)))
    bags = np.concatenate((zero, np.cumsum(mix(hashes), dtype=np.uint64)))
    return Keys(
        whole=sums[starts[1:]] - sums[starts[:-1]],
        bag=bags[starts[1:]] - bags[starts[:-1]],
        text=text,
        position=position,
        before=sums[:-1] - np.repeat(sums[starts[:-1]], lengths),
        terms=terms,
        lengths=lengths,
    )


def sketch(texts: Words, functions: int, seed: int = 1) -> np.ndarray:
    """[functions, texts] uint32 MinHash of each text's set of words.

    The share of equal numbers estimates the Jaccard similarity of two sets.

    Args:
        texts: none of them empty.
    """
    import numpy as np

    low = (mix(texts.ids) >> np.uint64(32)).astype(np.uint32)
    draws = np.random.default_rng(seed).integers(1, 2**32, size=(functions, 2), dtype=np.uint64)
    smallest = np.empty((functions, len(texts)), dtype=np.uint32)
    for function, (factor, shift) in enumerate(draws):
        # multiply-add, then fold the high half in, as the low bits of a product mix badly
        hashed = low * np.uint32(factor | np.uint64(1)) + np.uint32(shift)
        hashed ^= hashed >> np.uint32(15)
        hashed *= np.uint32(0x2C1B3C6D)
        hashed ^= hashed >> np.uint32(12)
        smallest[function] = np.minimum.reduceat(hashed, texts.starts[:-1])
    return smallest
