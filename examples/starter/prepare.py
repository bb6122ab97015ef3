"""Make the training files of the starter models from the public sets: `python prepare.py SETS OUT`.

Only sources whose licence lets derived weights be published are taken (public domain, CC0, CC BY, CC BY-SA, MIT, Apache).
Paragraphs that share text with a held-out set are left out, so that what is measured there was not seen. Written: `base/`
(train and validation, plain text), `held-out/` (a file for each kind of text), `chat/` (conversations), and `sources.json`
(what was taken: licence, documents, words, and what was left out).
"""

from __future__ import annotations

import json
import lzma
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ftp.data import turns

WORDS = 13
"""Words in a row that make text the same text (Brown et al. 2020, appendix C)."""
SHARE = 0.2
"""A paragraph goes when this share of its runs of words is held out."""

CORPUS = {
    "wikipedia-0*": "CC BY-SA 3.0",
    "law_cases-0*": "CC BY 4.0",
    "novels": "public domain in the USA",
    "federal_reserve": "public domain (US Federal Reserve)",  # its repository is CC BY-NC 4.0; nothing of its own labels is taken
    "dialogues": "CC BY-SA 4.0",
    "medical": "CC BY 4.0",
    "peps": "public domain or CC0",
}
HELD_OUT = {  # kind of text: (source in corpus/validation, or a set)
    "general": "jason-feng/wikiVisual",
    "dialogue": "google-research-datasets/dstc8",
    "medical": "abachaa/MedQuAD",
    "legal": "reginaldlong/summarizer",
    "financial": "gtfintechlab/fomc",
}
READ_ALL_THE_SAME = ("BOR/BO syndrome is inherited in an autosomal dominant pattern",)
"""Held-out documents with these words are left out: `ftp data check` finds 71 % of their words in a training document, though
they share no paragraph with it."""
NOT_TO_BE_SEEN = ("corpus/validation", "medquad/test", "sgd_chat/test", "squad/validation", "squad/validation_v2",
                  "policyqa/test", "pubmedqa/test", "lambada/test", "financial_phrasebank/test", "legal_overruling/test",
                  "contract_clauses/test", "medical_abstracts/test", "ohsumed/test", "ner_sec_filings/test", "gsm8k/test")


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a set."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def texts(value: Any) -> Iterator[str]:
    """All texts in a row, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


class Runs:
    """Runs of `WORDS` words as numbers."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}
        self.random = random.Random(0)

    def of(self, text: str) -> np.ndarray:
        """A number for each run in the text (64 bits, so two runs hardly ever share one)."""
        words = [self.number.setdefault(word, self.random.getrandbits(63)) for word in re.findall(r"\w+", text.lower())]
        if len(words) < WORDS:
            return np.empty(0, dtype=np.uint64)
        values, found = np.array(words, dtype=np.uint64), np.zeros(len(words) - WORDS + 1, dtype=np.uint64)
        for place in range(WORDS):
            found = found * np.uint64(0x9E3779B97F4A7C15) + values[place : len(words) - WORDS + 1 + place]
        return found


def cleaned(text: str, runs: Runs, held_out: np.ndarray) -> str:
    """The text without paragraphs that are held out."""
    kept = []
    for paragraph in text.split("\n"):
        found = runs.of(paragraph)
        at = np.searchsorted(held_out, found).clip(max=len(held_out) - 1)
        if not len(found) or (held_out[at] == found).mean() < SHARE:
            kept.append(paragraph)
    return "\n".join(kept)


def write(path: Path, found: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), encoding="utf-8")


def base(sets: Path, out: Path, runs: Runs) -> dict[str, Any]:
    """Plain text without what is held out."""
    unseen = [text for name in NOT_TO_BE_SEEN for row in rows(sets / f"{name}.jsonl.xz") for text in texts(row)]
    for split in ("valid", "test"):
        with lzma.open(sets / "wikitext2" / f"{split}.txt.xz", "rt", encoding="utf-8") as file:
            unseen += file
    held_out = np.unique(np.concatenate([runs.of(text) for text in unseen]))
    told, train = {}, []
    for pattern, licence in CORPUS.items():
        numbers = {"licence": licence, "documents": 0, "words": 0, "characters": 0, "characters left out": 0}
        for path in sorted((sets / "corpus").glob(f"{pattern}.jsonl.xz")):
            for row in rows(path):
                text = cleaned(row["text"], runs, held_out)
                numbers["characters left out"] += len(row["text"]) - len(text)
                if len(text.split()) >= 20:
                    numbers["documents"] += 1
                    numbers["words"] += len(text.split())
                    numbers["characters"] += len(text)
                    train.append({"text": text})
        told[pattern.removesuffix("-0*")] = numbers
    random.Random(0).shuffle(train)
    write(out / "base" / "train.jsonl", train)
    kept = []
    for kind, source in HELD_OUT.items():
        found = [{"text": row["text"]} for row in rows(sets / "corpus" / "validation.jsonl.xz")
                 if row["source"].startswith(source) and not any(words in row["text"] for words in READ_ALL_THE_SAME)]
        write(out / "held-out" / f"{kind}.jsonl", found)
        kept += found
    write(out / "base" / "validation.jsonl", random.Random(0).sample(kept, min(60, len(kept))))
    return told


CHAT = {  # set: (licence, rows at most, words in a conversation at most)
    "self_instruct": ("Apache 2.0", 427, 200),
    "gpteacher_roleplay": ("MIT", 3000, 160),
    "sgd_chat": ("CC BY-SA 4.0", 2000, 120),
    "medquad": ("CC BY 4.0", 1500, 130),
    "squad": ("CC BY-SA 4.0", 1500, 150),
}


def talks(name: str, row: dict[str, Any], most: int) -> list[dict[str, Any]]:
    """A row of a set as a conversation of at most `most` words that ends with an answer; empty where there is none."""
    if "messages" in row:
        said, words = [], 0
        for one in row["messages"]:
            words += len(turns.words(one).split())
            if words > most:
                break
            said.append(one)
        while said and said[-1]["role"] != "assistant":
            said.pop()
        return said
    if name == "squad":
        asked, answer = f"{row['context']}\n\n{row['question']}", row["answers"]["text"][0]
    elif "question" in row:
        asked, answer = row["question"], row["answer"]
    else:
        asked, answer = "\n\n".join(part for part in (row["instruction"], row["input"]) if part), row["output"]
    if not answer.strip() or not asked.strip() or len(f"{asked} {answer}".split()) > most:
        return []
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer.strip()}]


def chat(sets: Path, out: Path) -> dict[str, Any]:
    """Conversations; of each set the first 60 that are not trained on (those of its test file, where it has one) are held out."""
    told, train, held_out = {}, [], []
    for name, (licence, number, most) in CHAT.items():
        found = [{"messages": said} for row in rows(sets / name / "train.jsonl.xz") if (said := talks(name, row, most))]
        random.Random(0).shuffle(found)
        apart = sets / name / "test.jsonl.xz"
        if apart.exists():
            kept = [{"messages": said} for row in rows(apart) if (said := talks(name, row, most))][:60]
        else:
            kept, found = found[:60], found[60:]
        train += found[:number]
        held_out += kept
        words = sum(len(turns.words(one).split()) for row in found[:number] for one in row["messages"])
        told[name] = {"licence": licence, "conversations": len(found[:number]), "words": words}
    asked = {row["messages"][0]["content"].lower() for row in held_out}
    train = [row for row in train if row["messages"][0]["content"].lower() not in asked]
    random.Random(0).shuffle(train)
    write(out / "chat" / "train.jsonl", train)
    write(out / "chat" / "validation.jsonl", held_out)
    return told


if __name__ == "__main__":
    sets, out = Path(sys.argv[1]), Path(sys.argv[2])
    told = {"base": base(sets, out, Runs()), "chat": chat(sets, out)}
    (out / "sources.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=2))
