"""Rows in which the words that plugins of a run hide are crossed out. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftp.types import Row, Run


def crossed_out(run: Run, row: Row) -> Row:
    """A row with an x for each letter of the words that plugins of the run hide, so that all
    positions in it stay what they were."""
    safe = {name: _crossed_out_value(run, value) for name, value in row.items()}
    answers = safe.get("answers")
    context = safe.get("context")
    if isinstance(answers, Mapping) and isinstance(context, str):
        safe["answers"] = {**answers, "text": _crossed_out_answers(row, context)}
    return safe


def _crossed_out_value(run: Run, value: object) -> object:
    if isinstance(value, str):
        return _crossed_out_text(value, run.hidden(value))
    if isinstance(value, list):
        return [_crossed_out_value(run, inner) for inner in value]
    if isinstance(value, Mapping):
        return crossed_out(run, value)
    return value


def _crossed_out_text(text: str, hidden: str) -> str:
    """A text with an x for each letter of the words that are not in what was left of it."""
    words = re.split(r"(\s+)", text)
    left = re.split(r"(\s+)", hidden)
    kept: set[int] = set()
    for block in SequenceMatcher(None, words, left, autojunk=False).get_matching_blocks():
        kept.update(range(block.a, block.a + block.size))
    parts = []
    for index, word in enumerate(words):
        parts.append(word if index in kept else re.sub(r"\S", "x", word))
    return "".join(parts)


def _crossed_out_answers(row: Row, safe_context: str) -> list[str]:
    """The answers of a question, crossed out as the context is where they stand in it."""
    answers = row["answers"]
    texts = []
    for start, text in zip(answers["answer_start"], answers["text"], strict=True):
        stands_there = row["context"].startswith(text, start)
        texts.append(safe_context[start : start + len(text)] if stands_there else text)
    return texts
