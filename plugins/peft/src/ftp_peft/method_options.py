"""The text of `--peft.options` as values: a JSON object, or `name=value,name=[a,b]`. Imports nothing heavy."""

from __future__ import annotations

import json
import re
from typing import Any

from ftp import Problem, UserError


def parse(text: str) -> dict[str, Any]:
    """Names with their values. Raises `UserError` for what cannot be read, or a name that is given twice."""
    text = text.strip()
    if not text:
        return {}
    if text.startswith("{"):
        try:
            found = json.loads(text, object_pairs_hook=_once)
        except ValueError as error:
            raise UserError(f"--peft.options: not JSON ({error})", 'as in {"r": 8, "bias": "none"}, or r=8') from error
        return dict(found)
    pairs, problems = [], []
    for part in split(text):
        name, equals, value = part.partition("=")
        if not equals or not re.fullmatch(r"\w+", name.strip()):
            problems.append(Problem(f"--peft.options {part.strip()}: not name=value", "as in r=8,target_modules=[query,value]"))
        else:
            pairs.append((name.strip(), _value(value.strip())))
    if problems:
        raise UserError(problems)
    return _once(pairs)


def split(text: str) -> list[str]:
    """A text at its commas, less those within brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        depth += (sign in "[{(") - (sign in "]})") if not quote else 0
        if sign == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _value(text: str) -> Any:
    """`8`, `0.5`, `true`, `null`, `[query,value]`, or a text."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    if text.startswith("[") and text.endswith("]"):
        return [_value(part.strip()) for part in split(text[1:-1]) if part.strip()]
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"--peft.options: {twice} is given twice", "keep one of the two")
    return found
