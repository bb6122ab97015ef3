"""Kinds of values: a text, a finite number, a list of texts ..., each in words and with the test for it.

Nothing here knows a hook or an answer. torch and datasets are imported by the tests that ask for their types.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Kind:
    """What a value should be, in words, and the test for it."""

    words: str
    holds: Callable[[object], bool]


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number. In Python True and False are whole numbers; in an answer they are a mistake."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_collection(value: object) -> TypeGuard[Iterable[object]]:
    """Whether a value is a list, a tuple or a set; a text is none."""
    return isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)


def _is_tensor(value: object) -> TypeGuard[torch.Tensor]:
    import torch

    return isinstance(value, torch.Tensor)


def _is_scalar(value: object) -> TypeGuard[torch.Tensor]:
    return _is_tensor(value) and value.numel() == 1


def are_numbers(value: object) -> bool:
    """Whether a list holds numbers alone."""
    return is_list(value) and _are_all(value, numbers.Real)


def _are_wholes(value: object) -> bool:
    """Whether a list, or an array of one dimension, holds whole numbers alone."""
    values = _as_list(value)
    return is_list(values) and _are_all(values, numbers.Integral)


def _are_finite(value: object) -> bool:
    """Whether a list, or an array of one dimension, holds finite numbers alone."""
    values = _as_list(value)
    return is_list(values) and all(map(FINITE.holds, values))


def _as_list(value: object) -> object:
    """An array of numpy or torch as a list, and anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _are_all(values: Sequence[object], number: type) -> bool:
    """Whether all values are numbers of a type, and none is True or False."""
    # by their few types, as there may be a million values
    types = set(map(type, values))
    return bool not in types and all(issubclass(kind, number) for kind in types)


def is_module(value: object) -> TypeGuard[torch.nn.Module]:
    import torch

    return isinstance(value, torch.nn.Module)


def is_dataset(value: object) -> bool:
    import datasets

    return isinstance(value, datasets.Dataset | datasets.IterableDataset)


def is_optimizer(value: object) -> bool:
    import torch

    return isinstance(value, torch.optim.Optimizer)


class RegisteredName(Kind):
    """The name of something that packages register; which names there are is known only when that is asked."""

    names: Callable[[], Iterable[str]]
    or_several: bool

    def __init__(self, names: Callable[[], Iterable[str]], *, or_several: bool = False) -> None:
        def holds(value: object) -> bool:
            if or_several and _is_collection(value):
                return all(map(holds, value))
            return isinstance(value, str) and value in set(names())

        # a kind is frozen
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "holds", holds)
        object.__setattr__(self, "or_several", or_several)

    @property
    def words(self) -> str:
        """The names that there are."""
        several = ", or a tuple of such" if self.or_several else ""
        return f"one of {', '.join(self.names())}{several}"


def one_of(words: Sequence[str]) -> Kind:
    """One of these words."""
    return Kind(
        f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words
    )


def words_of(known: Sequence[str] = ()) -> Kind:
    """A text or a tuple of texts, each one of `known` where some are."""
    # without words to choose from any text will do
    word = one_of(known) if known else TEXT

    def holds(value: object) -> bool:
        if _is_collection(value):
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

    def holds(value: object) -> bool:
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
NUMBERS = Kind("a list of finite numbers", _are_finite)
