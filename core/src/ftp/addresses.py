"""Secrets in addresses: tokens and passwords that a user gives in `--data` or another option, and that are never written down.

`https://ann:SECRET@host/rows.csv` is written as `https://ann:${FTP_SECRET}@host/rows.csv` in a recipe, and `***` stands for the
secret in everything else. A resume takes it from the environment (`FTP_SECRET=... ftp run --resume DIR`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

VARIABLE = "FTP_SECRET"
"""The environment variable of the first secret of a run; those of others end in _2, _3, ..."""
REFERENCE = re.compile(r"\$\{(FTP_SECRET(?:_\d+)?)\}")
SHORTEST = 4
"""Letters of a secret that is also looked for outside of its address: fewer could stand in any word."""

# user:SECRET@host, or TOKEN@host of a web address
_USER = re.compile(r"(?<=://)(?:[^\s/@:?#]*:)?(?P<secret>[^\s/@?#]+)(?=@)")
_QUERY = re.compile(r"(?i)[?&;][\w.-]*(?:token|key|secret|passw(?:or)?d|pwd|signature|credential|sig|auth)="
                    r"(?P<secret>[^&;#\s\"']+)")
# tokens that say by their first letters whose they are: of the Hugging Face hub, GitHub, GitLab, Slack, AWS and others
_TOKEN = re.compile(r"\b(?P<secret>hf_\w{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abp]-[\w-]{16,}|"
                    r"(?:AKIA|ASIA)[A-Z0-9]{16}|sk-[\w-]{20,})\b")
_known: dict[str, None] = {}


def secrets(text: str) -> list[str]:
    """The secrets of an address, in order."""
    spans: set[tuple[int, int]] = set()  # a token may well be the value of a query as well
    for pattern in (_USER, _QUERY, _TOKEN):
        spans.update(match.span("secret") for match in pattern.finditer(text))
    in_order = [text[start:end] for start, end in sorted(spans)]
    return [secret for secret in in_order if not REFERENCE.search(secret)]


def remember(values: Iterable[object]) -> None:
    """Keep the secrets of a run's options in mind, and in the environment for the processes that it starts."""
    for value in values:
        for text in _texts(value):
            _known.update(dict.fromkeys(secrets(text)))
    # each under the first name that is free, or that holds it already
    for secret in _known:
        number = 1
        while os.environ.setdefault(_variable(number), secret) != secret:  # that name has another one
            number += 1


def without(text: str, instead: str = "***") -> str:
    """A text that may be shown or kept: every secret that is known is replaced."""
    # the longest first: a secret may stand in another
    for secret in sorted(_known, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, instead)
    return text


def masked(text: str) -> str:
    """A message with all that looks like a secret of an address replaced, known or not."""
    for secret in secrets(text):
        text = text.replace(secret, "***")
    return without(text)


def written(value: object) -> object:
    """An option's value as a recipe may have it: each secret is the name of its environment variable."""
    if isinstance(value, list | tuple):
        return type(value)(written(part) for part in value)
    if not isinstance(value, str):
        return value
    for secret in secrets(value):
        holding = [name for name in _variables() if os.environ[name] == secret]
        variable = holding[0] if holding else VARIABLE
        value = value.replace(secret, f"${{{variable}}}")
    return value


def filled(value: object) -> object:
    """An option's value with the secrets of the environment in their places; what is not there is left."""
    if isinstance(value, list | tuple):
        return type(value)(filled(part) for part in value)
    if not isinstance(value, str):
        return value
    return REFERENCE.sub(lambda match: os.environ.get(match[1], match[0]), value)


def missing(value: object) -> list[str]:
    """The environment variables that an option's value names and that are not there."""
    names: list[str] = []
    for text in _texts(value):
        names += REFERENCE.findall(text)
    return [name for name in names if name not in os.environ]


def _texts(value: object) -> list[str]:
    """An option's value where it is a text, or the texts in a list of them."""
    parts = value if isinstance(value, list | tuple) else [value]
    return [part for part in parts if isinstance(part, str)]


def _variable(number: int) -> str:
    """The name of the variable of a run's first, second, ... secret."""
    return VARIABLE if number == 1 else f"{VARIABLE}_{number}"


def _variables() -> list[str]:
    """The variables with secrets that the environment has."""
    return sorted(name for name in os.environ if REFERENCE.fullmatch(f"${{{name}}}"))
