"""Which pairs of distinct texts are near duplicates: candidates of equal keys, and the two tests
that they must pass.

Candidates come from keys (`ftp_leakage.keys`), in time linear in the number of words. A candidate
is a near duplicate when both hold:

1. the two texts are alike: the share of words in common (any order), of the longer text, is at
   least `threshold`; or one is the beginning or the end of the other and at least half of it; its
   last word may be cut off anywhere;
2. copying explains the likeness better than chance: with s the surprise of the edited text
   (`ftp_leakage.surprise`), the log odds  s - ln(number of texts) - cost of the edit  are at least
   `ODDS`. The cost is ln(places) for each word changed, ln(vocabulary) for one of them and for each
   other its surprise (the most surprising words: which they are is not looked up), ln(places) for a
   cut, ln(5 places) for one inside a word, ln(n!) for another order.

The second makes "What is a prism?" and "What is a shaman?" two questions, and a changed word in a
sentence that nobody else would have written a copy. It is the likelihood ratio of two explanations,
no learned score.
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

    from ftp_leakage.keys import Keys
    from ftp_leakage.normalise import Words
    from ftp_leakage.surprise import Surprise

ODDS, ODDS_OF_CUT = 12.0, 5.0  # nats; set on planted copies in four public sets, see the README
LETTERS = math.log(5)  # letters of a word, about
START, END = 0.5, 0.75  # least share of the longer text that a beginning, an end of it must be
MASKED_LENGTH = 64  # words; in longer texts one changed word is found by MinHash
# MinHash: 16 bands of 4; two sets of Jaccard similarity 0.7 meet with probability 0.99
FUNCTIONS, ROWS = 64, 4

Candidates = tuple["np.ndarray", "np.ndarray", int]
"""Two texts a pair, and which of `pairs.NOTES` is why."""


def near_copies(
    texts: Words, split_bits: np.ndarray, threshold: float, within: bool, start: float
) -> tuple[tuple[np.ndarray, ...], int]:
    """Pairs of distinct texts that are near duplicates: left, right, similarity, why, odds; and how
    many keys were crowded.

    Args:
        split_bits: [texts] int64; bit s is set where the text occurs in split s.
        threshold: least share of words in common.
        within: also pair texts of one and the same split.
        start: least share of a text that its beginning must be.
    """
    import numpy as np

    keys = keys_of(texts)
    evidence = _Evidence(texts, surprise(texts))
    crossing = Crossing(split_bits, within)
    candidates: list[Candidates] = []

    # the same words in another order
    reordered = evidence.odds - _log_factorial(texts.lengths) >= ODDS
    candidates.append((*crossing.meet(keys.bag, np.arange(len(texts)), reordered), ORDER))

    candidates += _parts(texts, keys, crossing, evidence, start)
    candidates += _one_word_apart(texts, keys, crossing, evidence)

    # two changes and more; shorter texts would fall below the threshold
    if threshold < 1 and np.any(texts.lengths >= 2 / (1 - threshold)):
        candidates.append((*_alike(texts, crossing, evidence.is_sure, threshold), FEW))

    left, right, why = _once(candidates)
    similarity = in_common(texts, left, right)
    score = evidence.of_pairs(left, right, why, similarity)
    # a part was held to its own odds as it was looked up
    keep = (why == PART) | (why == CUT) | ((similarity >= threshold) & (score >= ODDS))
    return (left[keep], right[keep], similarity[keep], why[keep], score[keep]), crossing.crowded


class _Evidence:
    """How much likelier a copy is than chance, in nats, for each kind of edit."""

    def __init__(self, texts: Words, surprises: Surprise) -> None:
        import numpy as np

        self.lengths = texts.lengths
        self.surprises = surprises
        self.log_texts = math.log(len(texts))
        self.log_vocabulary = math.log(len(texts.vocabulary))
        self.log_places = np.log(texts.lengths)  # [texts] nats; where in the text the edit is

        # [texts] log odds of a text that nobody changed, cut at a word, cut inside of one
        self.odds = surprises.whole - self.log_texts
        self.odds_of_cut = self.odds - self.log_places
        # it has as many places for it as letters
        self.odds_of_cut_inside = self.odds - self.log_places - LETTERS
        # [texts] with one word changed
        self.is_sure = self.odds - self.log_places - self.log_vocabulary >= ODDS

    def of_pairs(
        self, left: np.ndarray, right: np.ndarray, why: np.ndarray, similarity: np.ndarray
    ) -> np.ndarray:
        """[pairs] log odds by the edit that makes one of the other."""
        import numpy as np

        lengths = self.lengths
        longest = np.maximum(lengths[left], lengths[right])
        shorter = np.where(lengths[left] < lengths[right], left, right)
        in_another_order = np.maximum(self.odds[left], self.odds[right]) - _log_factorial(longest)

        # few words changed: the words that stayed, and where the others stand; one of them is paid
        # for as any word
        alike = np.rint(similarity * longest).astype(np.int64)
        left_over = self.surprises.without(left, np.maximum(0, lengths[left] - alike - 1))
        right_over = self.surprises.without(right, np.maximum(0, lengths[right] - alike - 1))
        rest = np.maximum(left_over, right_over)
        edited = (
            rest
            - self.log_texts
            - self.log_vocabulary
            - np.maximum(1, longest - alike) * np.log(longest)
        )

        return np.select(
            [why == PART, why == CUT, why == ORDER],
            [self.odds_of_cut[shorter], self.odds_of_cut_inside[shorter], in_another_order],
            edited,
        )


def _parts(
    texts: Words, keys: Keys, crossing: Crossing, evidence: _Evidence, start: float
) -> list[Candidates]:
    """Texts of which one is the beginning or the end of the other, and those cut off inside a
    word."""
    import numpy as np

    lengths = texts.lengths
    every_text = np.arange(len(texts))
    is_likely = evidence.odds_of_cut >= ODDS_OF_CUT  # of the shorter text
    words_before = keys.position
    words_after = lengths[keys.text] - keys.position
    begins = np.flatnonzero((words_before >= start * lengths[keys.text]) & (words_before > 0))
    ends = np.flatnonzero((words_after >= END * lengths[keys.text]) & (words_before > 0))

    candidates: list[Candidates] = []
    for words, part_key in ((begins, keys.before[begins]), (ends, keys.ends(ends))):
        longer, shorter = crossing.look_up(part_key, keys.text[words], keys.whole, every_text, None)
        candidates.append((longer[is_likely[shorter]], shorter[is_likely[shorter]], PART))

    # without its last word, which may be a piece of one, the shorter text is a beginning
    cut_inside = np.flatnonzero(evidence.odds_of_cut_inside >= ODDS_OF_CUT)
    stems = keys.before[texts.starts[1:][cut_inside] - 1]
    longer, shorter = crossing.look_up(
        keys.before[begins], keys.text[begins], stems, cut_inside, None
    )
    candidates.append((*_inside_a_word(texts, longer, shorter), CUT))
    return candidates


def _one_word_apart(
    texts: Words, keys: Keys, crossing: Crossing, evidence: _Evidence
) -> list[Candidates]:
    """Texts that differ in one word, and those of which one has one word more; short enough for a
    key a word."""
    import numpy as np

    has_masked_keys = (texts.lengths >= 3) & (texts.lengths <= MASKED_LENGTH)
    words = np.flatnonzero(has_masked_keys[keys.text])
    no_template = texts.lengths >= TEMPLATE_LENGTH
    changed = crossing.meet(keys.masked(words), keys.text[words], evidence.is_sure, no_template)
    every_text = np.arange(len(texts))
    one_more = crossing.look_up(
        keys.without(words), keys.text[words], keys.whole, every_text, evidence.is_sure
    )
    return [(*changed, CHANGED), (*one_more, MORE)]


def _inside_a_word(
    texts: Words, longer: np.ndarray, shorter: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of pairs in which all words of the shorter text but its last begin the longer: those whose
    last word begins, too, the word that stands there."""
    import numpy as np

    words = list(texts.vocabulary)
    whole = texts.ids[texts.starts[longer] + texts.lengths[shorter] - 1].astype(np.int64)
    piece = texts.ids[texts.starts[1:][shorter] - 1].astype(np.int64)
    if not len(whole):
        return longer, shorter
    # each two words are compared once, however many pairs of texts have them
    word_pairs, which = np.unique(np.stack((whole, piece)), axis=1, return_inverse=True)
    begins = [words[long].startswith(words[short]) for long, short in word_pairs.T.tolist()]
    keep = np.array(begins, dtype=bool)[which.reshape(-1)]
    return longer[keep], shorter[keep]


def _alike(
    texts: Words, crossing: Crossing, is_sure: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of texts whose sets of words look alike to MinHash; only texts long enough for two
    changes."""
    import numpy as np

    long = np.flatnonzero(texts.lengths >= 2 / (1 - threshold))
    marks = sketch(texts.take(long), FUNCTIONS)  # [functions, long texts]

    # texts that agree in all rows of a band are candidates
    candidates: list[Candidates] = []
    for band in range(0, FUNCTIONS, ROWS):
        key = np.zeros(len(long), dtype=np.uint64)
        for row in marks[band : band + ROWS]:
            key = mix(key ^ row)
        candidates.append((*crossing.meet(key, long, is_sure), FEW))
    left, right, _ = _once(candidates)

    # kept are pairs that agree in as many rows as the threshold asks for, less three standard
    # deviations
    column = np.zeros(len(texts), dtype=np.int64)
    column[long] = np.arange(len(long))
    agreeing = np.zeros(len(left), dtype=np.uint8)
    for row in marks:
        agreeing += row[column[left]] == row[column[right]]
    # of two texts of one length that have this share in common
    jaccard = threshold / (2 - threshold)
    deviation = math.sqrt(FUNCTIONS * jaccard * (1 - jaccard))
    keep = agreeing >= FUNCTIONS * jaccard - 3 * deviation
    return left[keep], right[keep]


def _once(candidates: list[Candidates]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair once, with the first reason that it was a candidate for."""
    import numpy as np

    left = np.concatenate([first for first, _, _ in candidates])
    right = np.concatenate([second for _, second, _ in candidates])
    why = np.concatenate([np.full(len(first), reason) for first, _, reason in candidates])
    low = np.minimum(left, right)
    high = np.maximum(left, right)
    _, first = np.unique((low << np.int64(31)) | high, return_index=True)
    return low[first], high[first], why[first]


def _log_factorial(lengths: np.ndarray) -> np.ndarray:
    """[texts] ln(n!), in nats: the orders that n words can be in."""
    import numpy as np

    longest = int(lengths.max(initial=1))
    table = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, longest + 1)))))
    logarithms: np.ndarray = table[lengths]
    return logarithms
