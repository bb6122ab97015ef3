"""What domains answer `evaluate` with, so that none writes it again: one function a kind of answer, each light to import.

    classification   classes of rows: accuracy, macro_f1, mcc; exact_match where a decoder answers in words
    tagging          tags of words: entity precision, recall and f1 as seqeval counts them; accuracy
    reading          answers to questions: exact_match and f1 as SQuAD's scripts count them
"""

from ftp.metrics.answers import reading
from ftp.metrics.classes import classification
from ftp.metrics.entities import tagging

__all__ = ["classification", "reading", "tagging"]
