"""Rewards as Python functions: ftp run --plugins rlhf,lora,chat --rlhf.reward examples/rlhf/judge.py:short"""

from __future__ import annotations

from typing import Any


def short(completions: list[str], **columns: Any) -> list[float]:
    """About twelve words are best; less is lost for a word too few than for ten too many."""
    return [1.0 - abs(len(text.split()) - 12) / 24 for text in completions]


def varied(completions: list[str], **columns: Any) -> list[float]:
    """The share of words that were not said before, which small models forget: from 0 to 1."""
    return [len({word.lower() for word in text.split()}) / max(1, len(text.split())) for text in completions]
