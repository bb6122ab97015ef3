"""The fields of each answer and what they hold; checks of one answer and of a list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeGuard, get_args

from ftp.answers.kinds import (
    BOOLEAN,
    COUNT,
    FINITE,
    FUNCTION,
    MAPPING,
    MODULE,
    NUMBER,
    NUMBERS,
    OPTIONS,
    SCALAR,
    SCALARS,
    TENSOR,
    TEXT,
    TEXTS,
    TOKENIZER,
    TOTAL,
    WHOLES,
    Kind,
    RegisteredName,
    are_numbers,
    is_list,
    is_number,
    is_whole,
    list_of,
    mapping_to,
    one_of,
    or_none,
)
from ftp.answers.origin import Mismatch
from ftp.heads import all_heads
from ftp.types import (
    Batch,
    Goal,
    Level,
    Loss,
    LossOut,
    Metric,
    Model,
    Offer,
    Prediction,
    Reward,
    Risk,
    Score,
    StepOut,
    Stop,
)

FIELDS: Mapping[type, Mapping[str, Kind]] = {
    Model: {
        "net": MODULE,
        "tokenizer": TOKENIZER,
        "head": RegisteredName(all_heads),
        "labels": TEXTS,
        "fresh": TEXTS,
        "has_fitted_head": BOOLEAN,
        "averaging": TEXTS,
        "reference": or_none(FUNCTION),
        "save": or_none(FUNCTION),
        "packed": BOOLEAN,
        "name": TEXT,
        "fresh_tokens": WHOLES,
    },
    Loss: {
        "encode": FUNCTION,
        "encode_to_score": FUNCTION,
        "ask": FUNCTION,
        "collate": FUNCTION,
        "compute": FUNCTION,
        "answer": FUNCTION,
        "merge": FUNCTION,
        "rollout": FUNCTION,
        "write_beside": FUNCTION,
        "over": one_of(("terms", "batch")),
        "has_answers": BOOLEAN,
        "makes_rows": BOOLEAN,
        "reuse": Kind("a whole number from 1", lambda value: is_whole(value) and value >= 1),
        "extra": or_none(MODULE),
        "key": TEXT,
        "metrics": mapping_to(
            Kind("a Metric", lambda value: isinstance(value, Metric)),
            "a dictionary of name -> Metric",
        ),
        "name": TEXT,
    },
    Metric: {"goal": one_of(get_args(Goal)), "over": one_of(("rows", "terms"))},
    Batch: {"inputs": MAPPING, "count": COUNT, "rows": COUNT, "tokens": COUNT},
    LossOut: {
        "total": TOTAL,
        "metrics": SCALARS,
        "row_losses": or_none(TENSOR),
        "row_counts": or_none(TENSOR),
        "targets": or_none(TENSOR),
    },
    Prediction: {"scores": or_none(Kind("a tuple of numbers", are_numbers))},
    StepOut: {
        "loss": SCALAR,
        "metrics": SCALARS,
        "grad_norm": or_none(
            Kind("a number", lambda value: is_number(value) or SCALAR.holds(value))
        ),
        "count": COUNT,
        "rows": COUNT,
        "tokens": COUNT,
    },
    Score: {
        "name": TEXT,
        "value": NUMBER,
        "goal": one_of(get_args(Goal)),
        "split": TEXT,
        "n": COUNT,
    },
    Risk: {
        "name": TEXT,
        "level": one_of(get_args(Level)),
        "finding": TEXT,
        "evidence": MAPPING,
        "advice": TEXTS,
        "stage": TEXT,
    },
    Reward: {"name": TEXT, "values": NUMBERS, "weight": FINITE},
    Stop: {"reason": TEXT},
    Offer: {
        "folder": Kind("a Path", lambda value: isinstance(value, Path)),
        "sha256": mapping_to(TEXT, "a dictionary of file name -> digest"),
        "default_for": list_of(RegisteredName(all_heads), "a list of heads"),
        "summary": TEXT,
        "suggests": OPTIONS,
    },
}
"""The fields of each answer that are checked, and what they hold."""

Check = Callable[[object], Mismatch | None]


def an(value: object) -> str:
    """A value's type with its article: `a str`, `an int`, `None`."""
    if value is None:  # not "a NoneType"
        return "None"
    return _with_article(type(value).__name__)


def _with_article(name: str) -> str:
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"


def instance(kind: type) -> Check:
    """Checks that a value is a `kind` whose fields hold what `FIELDS` says."""

    def check(value: object) -> Mismatch | None:
        if not isinstance(value, kind):
            return Mismatch(an(value), _with_article(kind.__name__))
        return _wrong_field(value, kind)

    return check


def of(kind: Kind) -> Check:
    """Checks that a value is of a kind."""

    def check(value: object) -> Mismatch | None:
        return None if kind.holds(value) else Mismatch(an(value), kind.words)

    return check


def is_loss(value: object) -> TypeGuard[Loss]:
    """Whether something is meant as a loss: any object that computes one, as `Loss` is a protocol."""
    # one that is wrong in a function has the others
    functions = [getattr(value, name, None) for name in ("collate", "compute")]
    return any(map(callable, functions)) and not isinstance(value, type)


def a_loss(value: object) -> Mismatch | None:
    """Checks a loss."""
    return _wrong_field(value, Loss) if is_loss(value) else Mismatch(an(value), "a Loss")


def _wrong_field(value: object, kind: type) -> Mismatch | None:
    """The first field of an answer that does not hold what it should: a dataclass takes any value for a field, and what is
    wrong would show far away from the plugin."""
    for name, field in FIELDS[kind].items():
        content = getattr(value, name, None)  # a subclass may have set none
        if not field.holds(content):
            is_short = isinstance(content, str | int | float)
            shown = f"{content!r:.40}" if is_short else an(content)
            return Mismatch(f"{_with_article(kind.__name__)} whose {name} is {shown}", field.words)
    return None


def listed(kind: type) -> Check:
    """Checks that a value is a list of `kind`."""
    check_item = instance(kind)

    def check(value: object) -> Mismatch | None:
        if not is_list(value):
            return Mismatch(an(value), f"a list of {kind.__name__}")
        for item in value:
            if not isinstance(item, kind):
                return Mismatch(f"a list with {an(item)} in it", f"a list of {kind.__name__}")
            if (mismatch := check_item(item)) is not None:
                return mismatch
        return None

    return check
