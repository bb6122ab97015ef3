"""Kinds of values: a text, a finite number, a list of texts ..., each in words and with the test for it.

Nothing here knows a hook or an answer. torch and datasets are imported by the tests that ask for their types.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What a value should be, in words, and the test for it."""

    words: str
    holds: Callable[[Any], bool]


# In Python True and False are whole numbers; in an answer they are a mistake.
def is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _is_scalar(value: Any) -> bool:
    return _is_tensor(value) and value.numel() == 1


def are_numbers(value: Any) -> bool:
    """Whether a list holds numbers alone."""
    return is_list(value) and _are_all(value, numbers.Real)


def _are_wholes(value: Any) -> bool:
    """Whether a list, or an array of one dimension, holds whole numbers alone."""
    if hasattr(value, "tolist"):  # numpy and torch
        value = value.tolist()
    return is_list(value) and _are_all(value, numbers.Integral)


def _are_all(values: Sequence[Any], number: type) -> bool:
    """Whether all values are numbers of a type, and none is True or False. By their few types, as there may be a million."""
    types = set(map(type, values))
    return bool not in types and all(issubclass(kind, number) for kind in types)


def is_module(value: Any) -> bool:
    import torch

    return isinstance(value, torch.nn.Module)


def is_dataset(value: Any) -> bool:
    import datasets

    return isinstance(value, datasets.Dataset | datasets.IterableDataset)


def is_optimizer(value: Any) -> bool:
    import torch

    return isinstance(value, torch.optim.Optimizer)


class RegisteredName(Kind):
    """The name of something that packages register; which names there are is known only when that is asked."""

    def __init__(self, names: Callable[[], Iterable[str]], *, or_several: bool = False) -> None:
        def holds(value: Any) -> bool:
            is_collection = isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)
            if or_several and is_collection:
                return all(map(holds, value))
            return isinstance(value, str) and value in set(names())

        object.__setattr__(self, "names", names)
        object.__setattr__(self, "holds", holds)
        object.__setattr__(self, "or_several", or_several)

    @property
    def words(self) -> str:
        """The names that there are."""
        several = ", or a tuple of such" if self.or_several else ""  # type: ignore[attr-defined]
        return f"one of {', '.join(self.names())}{several}"  # type: ignore[attr-defined]


def one_of(words: Sequence[str]) -> Kind:
    """One of these words."""
    return Kind(
        f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words
    )


def words_of(known: Sequence[str] = ()) -> Kind:
    """A text or a tuple of texts, each one of `known` where some are."""
    # without words to choose from any text will do
    word = one_of(known) if known else TEXT

    def holds(value: Any) -> bool:
        is_collection = isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)
        if is_collection:
            return all(map(word.holds, value))
        return word.holds(value)

    return Kind(f"{word.words}, or a tuple of such", holds)


def or_none(kind: Kind) -> Kind:
    """What is of the kind, or None."""
    return Kind(f"{kind.words}, or None", lambda value: value is None or kind.holds(value))


def list_of(kind: Kind, words: str) -> Kind:
    """A list of what is of the kind."""
    return Kind(words, lambda value: is_list(value) and all(map(kind.holds, value)))


def mapping_to(kind: Kind, words: str) -> Kind:
    """A dictionary of name -> what is of the kind."""

    def holds(value: Any) -> bool:
        return (
            isinstance(value, Mapping)
            and all(isinstance(name, str) for name in value)
            and all(map(kind.holds, value.values()))
        )

    return Kind(words, holds)


TEXT = Kind("a text", lambda value: isinstance(value, str))
NUMBER = Kind("a number", is_number)
NUMBER_OR_NONE = or_none(NUMBER)
FINITE = Kind("a finite number", lambda value: is_number(value) and math.isfinite(value))
WHOLE = Kind("a whole number", is_whole)
COUNT = Kind("a whole number from 0", lambda value: is_whole(value) and value >= 0)
BOOLEAN = Kind("True or False", lambda value: isinstance(value, bool))
MAPPING = Kind("a dictionary", lambda value: isinstance(value, Mapping))
FUNCTION = Kind("a function", callable)
TENSOR = Kind("a tensor", _is_tensor)
SCALAR = Kind("a tensor of one number", _is_scalar)
TOTAL = Kind(
    "a tensor of one floating-point number",
    lambda value: _is_scalar(value) and value.is_floating_point(),
)
CONTEXT = Kind("a context manager", lambda value: isinstance(value, AbstractContextManager))
OPTIMIZER = Kind("a torch.optim.Optimizer", is_optimizer)
MODULE = Kind("a torch.nn.Module", is_module)
TOKENIZER = Kind("a tokenizer", lambda value: callable(value) and hasattr(value, "decode"))
SCALARS = mapping_to(SCALAR, "a dictionary of name -> tensor of one number")
TEXTS = list_of(TEXT, "a list of texts")
WHOLES = Kind("a list of whole numbers", _are_wholes)
UPDATES = Kind(
    "a list of updates, each a list of whole numbers",
    lambda value: is_list(value) and all(map(_are_wholes, value)),
)
OPTIONS = Kind(
    "a dictionary of option -> value",
    lambda value: isinstance(value, Mapping) and all(map(TEXT.holds, value)),
)
NUMBERS = Kind(
    "a list of finite numbers",
    lambda value: list_of(FINITE, "").holds(value.tolist() if hasattr(value, "tolist") else value),
)
