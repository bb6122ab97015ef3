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
        for field in value.values():
            yield from texts(field)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


class Runs:
    """Runs of `WORDS` words as numbers."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}
        self.random = random.Random(0)

    def of(self, text: str) -> np.ndarray:
        """A number for each run in the text (64 bits, so two runs hardly ever share one)."""
        numbers = []
        for word in re.findall(r"\w+", text.lower()):
            numbers.append(self.number.setdefault(word, self.random.getrandbits(63)))
        num_runs = len(numbers) - WORDS + 1
        if num_runs < 1:
            return np.empty(0, dtype=np.uint64)
        values = np.array(numbers, dtype=np.uint64)
        hashes = np.zeros(num_runs, dtype=np.uint64)
        # a polynomial hash that wraps at 64 bits; its factor is 2^64 over the golden ratio (Knuth, volume 3, 6.4)
        for offset in range(WORDS):
            hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + values[offset : num_runs + offset]
        return hashes


def cleaned(text: str, runs: Runs, held_out: np.ndarray) -> str:
    """The text without paragraphs that are held out."""
    kept = []
    for paragraph in text.split("\n"):
        hashes = runs.of(paragraph)
        nearest = np.searchsorted(held_out, hashes).clip(max=len(held_out) - 1)
        if not len(hashes) or (held_out[nearest] == hashes).mean() < SHARE:
            kept.append(paragraph)
    return "\n".join(kept)


def write(path: Path, documents: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(document, ensure_ascii=False) + "\n" for document in documents]
    path.write_text("".join(lines), encoding="utf-8")


def held_out_texts(sets: Path) -> Iterator[str]:
    """Every text of the sets that a trained model is measured on."""
    for name in NOT_TO_BE_SEEN:
        for row in rows(sets / f"{name}.jsonl.xz"):
            yield from texts(row)
    for split in ("valid", "test"):
        with lzma.open(sets / "wikitext2" / f"{split}.txt.xz", "rt", encoding="utf-8") as file:
            yield from file


def base(sets: Path, out: Path, runs: Runs) -> dict[str, Any]:
    """Plain text without what is held out."""
    held_out = np.unique(np.concatenate([runs.of(text) for text in held_out_texts(sets)]))
    sources = {}
    train = []
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
        sources[pattern.removesuffix("-0*")] = numbers
    random.Random(0).shuffle(train)
    write(out / "base" / "train.jsonl", train)
    validation = []
    for kind, source in HELD_OUT.items():
        documents = []
        for row in rows(sets / "corpus" / "validation.jsonl.xz"):
            is_read = any(words in row["text"] for words in READ_ALL_THE_SAME)
            if row["source"].startswith(source) and not is_read:
                documents.append({"text": row["text"]})
        write(out / "held-out" / f"{kind}.jsonl", documents)
        validation += documents
    # a sample of 60 documents: an evaluation is done many times in a run
    write(out / "base" / "validation.jsonl", random.Random(0).sample(validation, min(60, len(validation))))
    return sources


CHAT = {  # set: (licence, rows at most, words in a conversation at most)
    "self_instruct": ("Apache 2.0", 427, 200),
    "gpteacher_roleplay": ("MIT", 3000, 160),
    "sgd_chat": ("CC BY-SA 4.0", 2000, 120),
    "medquad": ("CC BY 4.0", 1500, 130),
    "squad": ("CC BY-SA 4.0", 1500, 150),
}


def conversation(name: str, row: dict[str, Any], most: int) -> list[dict[str, Any]]:
    """A row of a set as messages of at most `most` words that end with an answer; empty where there are none."""
    if "messages" in row:
        return shortened(row["messages"], most)
    if name == "squad":
        question = f"{row['context']}\n\n{row['question']}"
        answer = row["answers"]["text"][0]
    elif "question" in row:
        question = row["question"]
        answer = row["answer"]
    else:
        question = "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
        answer = row["output"]
    if not answer.strip() or not question.strip() or len(f"{question} {answer}".split()) > most:
        return []
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer.strip()}]


def shortened(messages: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """The first turns with at most `most` words together, up to the last answer among them."""
    kept: list[dict[str, Any]] = []
    num_words = 0
    for turn in messages:
        num_words += len(turns.words(turn).split())
        if num_words > most:
            break
        kept.append(turn)
    while kept and kept[-1]["role"] != "assistant":
        kept.pop()
    return kept


def conversations(name: str, path: Path, most: int) -> list[dict[str, Any]]:
    """The rows of a file that are conversations."""
    talks = (conversation(name, row, most) for row in rows(path))
    return [{"messages": messages} for messages in talks if messages]


def chat(sets: Path, out: Path) -> dict[str, Any]:
    """Conversations; of each set the first 60 that are not trained on (those of its test file, where it has one) are held out."""
    sources = {}
    train, held_out = [], []
    for name, (licence, number, most) in CHAT.items():
        talks = conversations(name, sets / name / "train.jsonl.xz", most)
        random.Random(0).shuffle(talks)
        test_file = sets / name / "test.jsonl.xz"
        if test_file.exists():
            held_out += conversations(name, test_file, most)[:60]
        else:
            held_out += talks[:60]
            talks = talks[60:]
        train += talks[:number]
        num_words = 0
        for row in talks[:number]:
            num_words += sum(len(turns.words(turn).split()) for turn in row["messages"])
        sources[name] = {"licence": licence, "conversations": len(talks[:number]), "words": num_words}
    # a question that is asked in training would be answered from memory
    questions = {row["messages"][0]["content"].lower() for row in held_out}
    train = [row for row in train if row["messages"][0]["content"].lower() not in questions]
    random.Random(0).shuffle(train)
    write(out / "chat" / "train.jsonl", train)
    write(out / "chat" / "validation.jsonl", held_out)
    return sources


def main(sets: Path, out: Path) -> None:
    sources = {"base": base(sets, out, Runs()), "chat": chat(sets, out)}
    (out / "sources.json").write_text(json.dumps(sources, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(sources, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
