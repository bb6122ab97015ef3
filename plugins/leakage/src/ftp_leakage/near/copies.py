"""Which pairs of distinct texts are near duplicates: candidates of equal keys, and the two tests that they must pass.

Candidates come from keys (`ftp_leakage.keys`), in time linear in the number of words. A candidate is a near duplicate
when both hold:

1. the two texts are alike: the share of words in common (any order), of the longer text, is at least `threshold`; or
   one is the beginning or the end of the other and at least half of it; its last word may be cut off anywhere;
2. copying explains the likeness better than chance: with s the surprise of the edited text (`ftp_leakage.surprise`), the
   log odds  s - ln(number of texts) - cost of the edit  are at least `ODDS`. The cost is ln(places) for each word changed,
   ln(vocabulary) for one of them and for each other its surprise (the most surprising words: which they are is not
   looked up), ln(places) for a cut, ln(5 places) for one inside a word, ln(n!) for another order.

The second makes "What is a prism?" and "What is a shaman?" two questions, and a changed word in a sentence that nobody
else would have written a copy. It is the likelihood ratio of two explanations, no learned score.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ftp_leakage.keys import keys_of, mix, sketch
from ftp_leakage.near.crossing import TEMPLATE_LENGTH, Crossing
from ftp_leakage.near.pairs import CHANGED, CUT, FEW, MORE, ORDER, PART
from ftp_leakage.similarity import in_common
from ftp_leakage.surprise import surprise

if TYPE_CHECKING:
    import numpy as np

    from ftp_leakage.normalise import Words

ODDS, ODDS_OF_CUT = 12.0, 5.0  # nats; set on planted copies in four public sets, see the README
LETTERS = math.log(5)  # letters of a word, about
START, END = 0.5, 0.75  # least share of the longer text that a beginning, an end of it must be


MASKED_LENGTH = 64  # words; in longer texts one changed word is found by MinHash
FUNCTIONS, ROWS = 64, 4  # MinHash: 16 bands of 4; two sets of Jaccard similarity 0.7 meet with probability 0.99


def near_copies(
    texts: Words, where: np.ndarray, threshold: float, within: bool, start: float
) -> tuple[tuple[np.ndarray, ...], int]:
    """Pairs of distinct texts that are near duplicates: left, right, similarity, why, odds."""
    import numpy as np

    keys, lengths = keys_of(texts), texts.lengths
    known = surprise(texts)
    odds = known.whole - math.log(len(texts))
    places, vocabulary = np.log(lengths), math.log(len(texts.vocabulary))
    crossing = Crossing(where, within)
    found: list[tuple[np.ndarray, np.ndarray, int]] = []

    reordered = odds - _log_factorial(lengths) >= ODDS
    found.append((*crossing.meet(keys.bag, np.arange(len(texts)), reordered), ORDER))

    every, cut = np.arange(len(texts)), odds - places >= ODDS_OF_CUT  # of the shorter text
    words_before, words_after = keys.place, lengths[keys.text] - keys.place
    begins = np.flatnonzero((words_before >= start * lengths[keys.text]) & (words_before > 0))
    ends = np.flatnonzero((words_after >= END * lengths[keys.text]) & (words_before > 0))
    for at, part in ((begins, keys.before[begins]), (ends, keys.ends(ends))):
        longer, shorter = crossing.look_up(part, keys.text[at], keys.whole, every, None)
        found.append((longer[cut[shorter]], shorter[cut[shorter]], PART))
    letters = odds - places - LETTERS  # a text can be cut at as many places as it has letters
    inside = np.flatnonzero(letters >= ODDS_OF_CUT)
    stems = keys.before[texts.starts[1:][inside] - 1]
    longer, shorter = crossing.look_up(keys.before[begins], keys.text[begins], stems, inside, None)
    found.append((*_inside_a_word(texts, longer, shorter), CUT))

    sure = odds - places - vocabulary >= ODDS
    at = np.flatnonzero(((lengths >= 3) & (lengths <= MASKED_LENGTH))[keys.text])
    found.append((*crossing.meet(keys.masked(at), keys.text[at], sure, lengths >= TEMPLATE_LENGTH), CHANGED))
    found.append((*crossing.look_up(keys.without(at), keys.text[at], keys.whole, every, sure), MORE))

    if threshold < 1 and np.any(lengths >= 2 / (1 - threshold)):
        found.append((*_alike(texts, crossing, sure, threshold), FEW))

    left, right, why = _once(found)
    similarity = in_common(texts, left, right)
    both, longest = np.maximum(odds[left], odds[right]), np.maximum(lengths[left], lengths[right])
    shorter = np.where(lengths[left] < lengths[right], left, right)
    alike = np.rint(similarity * longest).astype(np.int64)
    rest = np.maximum(*(known.without(one, np.maximum(0, lengths[one] - alike - 1)) for one in (left, right)))
    edited = rest - math.log(len(texts)) - vocabulary - np.maximum(1, longest - alike) * np.log(longest)
    score = np.select(
        [why == PART, why == CUT, why == ORDER],
        [odds[shorter] - places[shorter], letters[shorter], both - _log_factorial(longest)],
        edited,
    )
    keep = (why == PART) | (why == CUT) | ((similarity >= threshold) & (score >= ODDS))
    return (left[keep], right[keep], similarity[keep], why[keep], score[keep]), crossing.crowded


def _inside_a_word(texts: Words, longer: np.ndarray, shorter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of pairs in which all words of the shorter text but its last begin the longer: those whose last word begins, too, the
    word that stands there."""
    import numpy as np

    words = list(texts.vocabulary)
    whole = texts.ids[texts.starts[longer] + texts.lengths[shorter] - 1].astype(np.int64)
    piece = texts.ids[texts.starts[1:][shorter] - 1].astype(np.int64)
    pairs, which = np.unique(np.stack((whole, piece)), axis=1, return_inverse=True)
    fits = np.array([words[one].startswith(words[other]) for one, other in pairs.T.tolist()], dtype=bool)
    keep = fits[which.reshape(-1)] if len(fits) else np.zeros(0, bool)
    return longer[keep], shorter[keep]


def _alike(
    texts: Words, crossing: Crossing, sure: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of texts whose sets of words look alike to MinHash; only texts long enough for two changes."""
    import numpy as np

    long = np.flatnonzero(texts.lengths >= 2 / (1 - threshold))
    marks = sketch(texts.take(long), FUNCTIONS)
    found = []
    for band in range(0, FUNCTIONS, ROWS):
        key = np.zeros(len(long), dtype=np.uint64)
        for row in marks[band : band + ROWS]:
            key = mix(key ^ row)
        found.append((*crossing.meet(key, long, sure), FEW))
    left, right, _ = _once(found)
    place = np.zeros(len(texts), dtype=np.int64)
    place[long] = np.arange(len(long))
    jaccard = threshold / (2 - threshold)
    agree = np.zeros(len(left), dtype=np.uint8)
    for row in marks:
        agree += row[place[left]] == row[place[right]]
    keep = agree >= FUNCTIONS * jaccard - 3 * math.sqrt(FUNCTIONS * jaccard * (1 - jaccard))
    return left[keep], right[keep]


def _once(found: list[tuple[np.ndarray, np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair once, with the first reason that found it."""
    import numpy as np

    left = np.concatenate([one[0] for one in found])
    right = np.concatenate([one[1] for one in found])
    why = np.concatenate([np.full(len(one[0]), one[2]) for one in found])
    low, high = np.minimum(left, right), np.maximum(left, right)
    _, first = np.unique((low << np.int64(31)) | high, return_index=True)
    return low[first], high[first], why[first]


def _log_factorial(lengths: np.ndarray) -> np.ndarray:
    import numpy as np

    table = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, int(lengths.max(initial=1)) + 1)))))
    logarithms: np.ndarray = table[lengths]
    return logarithms
