"""Which language texts are in, by their letters and their most frequent words. A fact for the reader, no decision hangs on it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

WORD = re.compile(r"[^\W\d_]+")
FREQUENT_WORDS = {
    "English": "the of and to in is was that it for with as on be at by this are from or you not have",
    "German": "der die und das ist nicht ein eine zu den mit von auf für im dem des sich auch es ich wir",
    "French": "le la les et des une est dans que pour qui sur pas au du ce il par avec plus ne je vous",
    "Spanish": "el los las que del y en un una por con para es se no al lo como más su yo muy pero",
    "Italian": "il di che è la per un una non del con sono della le da gli ma più nel come questo si",
    "Portuguese": "o os que do da em um uma para com não é por mais dos das se como foi ao no na eu",
    "Dutch": "de het een en van is dat niet op te zijn voor met aan er ook die maar om ik naar bij",
}
"""The commonest words of each, most of them unknown to the others."""
SCRIPTS = {
    "Chinese": ("\u4e00", "\u9fff"), "Japanese": ("\u3040", "\u30ff"), "Korean": ("\uac00", "\ud7af"),
    "Cyrillic script": ("\u0400", "\u04ff"), "Arabic script": ("\u0600", "\u06ff"), "Greek": ("\u0370", "\u03ff"),
    "Devanagari script": ("\u0900", "\u097f"), "Hebrew": ("\u0590", "\u05ff"), "Thai": ("\u0e00", "\u0e7f"),
}  # fmt: skip
"""Their letters, from and to."""
FEWEST_WORDS = 50
CLEAR_SHARE = 0.08
"""Of words that are among the frequent ones; prose has 0.3 and more, titles and key words have less."""
CLEAR_LEAD = 1.5


def language_of(texts: Iterable[str]) -> str:
    """The language in words; empty where nothing speaks for one."""
    words: Counter[str] = Counter()
    letters: Counter[str] = Counter()
    num_letters = 0
    for text in texts:
        words.update(word.lower() for word in WORD.findall(text))
        for letter in filter(str.isalpha, text):
            num_letters += 1
            letters.update(_scripts_of(letter))
    script, count = next(iter(letters.most_common(1)), ("", 0))
    if num_letters and count / num_letters > 0.3:
        return script
    return _by_words(words)


def _scripts_of(letter: str) -> list[str]:
    return [script for script, (first, last) in SCRIPTS.items() if first <= letter <= last]


def _by_words(words: Counter[str]) -> str:
    total = words.total()
    if total < FEWEST_WORDS:
        return ""
    shares = {}
    for language, frequent in FREQUENT_WORDS.items():
        shares[language] = sum(words[word] for word in frequent.split()) / total
    ranked = sorted(shares, key=shares.__getitem__, reverse=True)
    is_clear = shares[ranked[0]] > max(CLEAR_SHARE, CLEAR_LEAD * shares[ranked[1]])
    return ranked[0] if is_clear else ""
