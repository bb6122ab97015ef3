"""The text of `--peft.options` as values: a JSON object, or `name=value,name=[a,b]`. Imports nothing heavy."""

from __future__ import annotations

import json
import re

from ftp import Problem, UserError


def parse(text: str) -> dict[str, object]:
    """Names with their values. Raises `UserError` for what cannot be read, or a name that is given twice."""
    text = text.strip()
    if not text:
        return {}
    # JSON says a name twice without a word, and keeps the last value
    if text.startswith("{"):
        try:
            return dict(json.loads(text, object_pairs_hook=_without_twins))
        except ValueError as error:
            raise UserError(f"--peft.options: not JSON ({error})", 'as in {"r": 8, "bias": "none"}, or r=8') from error
    pairs: list[tuple[str, object]] = []
    problems = []
    for part in split(text):
        name, equals, value = part.partition("=")
        if not equals or not re.fullmatch(r"\w+", name.strip()):
            problems.append(Problem(f"--peft.options {part.strip()}: not name=value", "as in r=8,target_modules=[query,value]"))
        else:
            pairs.append((name.strip(), _value(value.strip())))
    if problems:
        raise UserError(problems)
    return _without_twins(pairs)


def split(text: str) -> list[str]:
    """A text at its commas, less those within brackets or quotes."""
    parts = [""]
    depth = 0
    quote = ""  # the mark that began a quotation
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts


WORDS = {"true": True, "false": False, "none": None}
"""Python's spellings, beside those of JSON."""


def _value(text: str) -> object:
    """`8`, `0.5`, `true`, `null`, `[query,value]`, or a text."""
    try:
        value: object = json.loads(text)
        return value
    except ValueError:
        pass
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if text.startswith("[") and text.endswith("]"):
        return [_value(part.strip()) for part in split(text[1:-1]) if part.strip()]
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if is_quoted else text


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--peft.options: {name} is given twice", "keep one of the two")
    return dict(pairs)
