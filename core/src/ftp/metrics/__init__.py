"""What domains answer `evaluate` with, so that none writes it again: one function a kind of answer, each light to import.

    classification   classes of rows: accuracy, macro_f1, mcc; exact_match where a decoder answers in words
    tagging          tags of words: entity precision, recall and f1 as seqeval counts them; accuracy
    reading          answers to questions: exact_match and f1 as SQuAD's scripts count them

Of what scores of one's own need: `with_answers` (the splits that can be compared), and the correlations `pearson` and `spearman`.
"""

from ftp.metrics.answered import with_answers
from ftp.metrics.answers import reading
from ftp.metrics.classes import classification
from ftp.metrics.entities import tagging
from ftp.metrics.numbers import pearson, spearman

__all__ = ["classification", "pearson", "reading", "spearman", "tagging", "with_answers"]
