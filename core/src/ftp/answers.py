"""What hooks give back, checked by type before it travels, so that the plugin at fault is named.

The table `HOOKS` says what each hook gives; the functions of a `Loss` are checked each time that
they are called, and what they raise is told in their plugin's name. Nothing here looks at whether
numbers are right: the kit does (`ftp check`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from ftp.errors import PluginError, UserError, describe
from ftp.types import (
    Batch,
    Goal,
    Head,
    Level,
    Loss,
    LossOut,
    Metric,
    Model,
    Prediction,
    Reward,
    Risk,
    Score,
    StepOut,
    Stop,
)


@dataclass(frozen=True)
class Kind:
    """What a value should be, in words, and the test for it."""

    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Mismatch:
    """What was given, and what is right instead; both in words."""

    given: str
    right: str


@dataclass(frozen=True)
class Source:
    """The plugin that an answer comes from."""

    plugin: str
    package: str

    def error(self, hook: str, mismatch: Mismatch) -> PluginError:
        """The error that names plugin, package and hook."""
        return PluginError(f"{self} gave {mismatch.given} to {hook}, not {mismatch.right}")

    def failure(self, hook: str, error: BaseException) -> PluginError:
        """The error for what a plugin raised in a hook or in a function that it gave."""
        return PluginError(f"{self} failed in {hook}: {describe(error)}")

    def __str__(self) -> str:
        return f"plugin '{self.plugin}' ({self.package})"


def passes_through(error: BaseException) -> bool:
    """Whether an exception travels as it is: it is in words already, or the loop answers it.

    Out of memory is handled by the loop (it splits the batch), whoever's code asked for the memory.
    """
    is_out_of_memory = type(error).__name__ == "OutOfMemoryError"  # not by class: torch is not imported for this
    return is_out_of_memory or isinstance(error, UserError | PluginError)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _is_module(value: Any) -> bool:
    import torch

    return isinstance(value, torch.nn.Module)


def _is_dataset(value: Any) -> bool:
    import datasets

    return isinstance(value, datasets.Dataset | datasets.IterableDataset)


def _one_of(words: Sequence[str]) -> Kind:
    return Kind(
        f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words
    )


def _or_none(kind: Kind) -> Kind:
    return Kind(f"{kind.words}, or None", lambda value: value is None or kind.holds(value))


def _list_of(kind: Kind, words: str) -> Kind:
    return Kind(words, lambda value: _is_list(value) and all(map(kind.holds, value)))


def _mapping_to(kind: Kind, words: str) -> Kind:
    def holds(value: Any) -> bool:
        return (
            isinstance(value, Mapping)
            and all(isinstance(name, str) for name in value)
            and all(map(kind.holds, value.values()))
        )

    return Kind(words, holds)


TEXT = Kind("a text", lambda value: isinstance(value, str))
NUMBER = Kind("a number", _is_number)
NUMBER_OR_NONE = _or_none(NUMBER)
WHOLE = Kind("a whole number", _is_whole)
MAPPING = Kind("a dictionary", lambda value: isinstance(value, Mapping))
FUNCTION = Kind("a function", callable)
TENSOR = Kind("a tensor", _is_tensor)
SCALAR = Kind("a tensor of one number", lambda value: _is_tensor(value) and value.numel() == 1)
MODULE = Kind("a torch.nn.Module", _is_module)
TENSORS = _mapping_to(TENSOR, "a dictionary of name -> tensor")
TEXTS = _list_of(TEXT, "a list of texts")
NUMBERS = Kind(
    "a list of numbers",
    lambda value: _list_of(NUMBER, "").holds(value.tolist() if hasattr(value, "tolist") else value),
)

FIELDS: Mapping[type, Mapping[str, Kind]] = {
    Model: {
        "net": MODULE,
        "head": _one_of(get_args(Head)),
        "labels": TEXTS,
        "fresh": TEXTS,
        "reference": _or_none(FUNCTION),
        "save": _or_none(FUNCTION),
    },
    Loss: {
        "encode": FUNCTION,
        "collate": FUNCTION,
        "compute": FUNCTION,
        "answer": _or_none(FUNCTION),
        "merge": _or_none(FUNCTION),
        "rollout": _or_none(FUNCTION),
        "reuse": Kind("a whole number from 1", lambda value: _is_whole(value) and value >= 1),
        "extra": _or_none(MODULE),
        "key": TEXT,
        "metrics": _mapping_to(
            Kind("a Metric", lambda value: isinstance(value, Metric)),
            "a dictionary of name -> Metric",
        ),
        "name": TEXT,
    },
    Batch: {"inputs": MAPPING, "count": WHOLE, "rows": WHOLE, "tokens": WHOLE},
    LossOut: {
        "total": SCALAR,
        "metrics": TENSORS,
        "row_losses": _or_none(TENSOR),
        "row_counts": _or_none(TENSOR),
    },
    Prediction: {"scores": _or_none(Kind("a tuple of numbers", _is_list))},
    StepOut: {
        "loss": SCALAR,
        "metrics": TENSORS,
        "grad_norm": _or_none(
            Kind("a number", lambda value: _is_number(value) or SCALAR.holds(value))
        ),
        "count": WHOLE,
        "rows": WHOLE,
        "tokens": WHOLE,
    },
    Score: {
        "name": TEXT,
        "value": NUMBER,
        "goal": _one_of(get_args(Goal)),
        "split": TEXT,
        "n": WHOLE,
    },
    Risk: {
        "name": TEXT,
        "level": _one_of(get_args(Level)),
        "finding": TEXT,
        "evidence": MAPPING,
        "advice": TEXTS,
        "stage": TEXT,
    },
    Reward: {"name": TEXT, "values": NUMBERS, "weight": NUMBER},
    Stop: {"reason": TEXT},
}
"""The fields of each answer that are checked, and what they hold."""

Check = Callable[[Any], Mismatch | None]


def an(value: Any) -> str:
    """A value's type with its article: `a str`, `an int`, `None`."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"


def instance(kind: type) -> Check:
    """Checks that a value is a `kind` whose fields hold what `FIELDS` says."""

    def check(value: Any) -> Mismatch | None:
        if not isinstance(value, kind):
            return Mismatch(an(value), f"a {kind.__name__}")
        for name, field in FIELDS[kind].items():
            content = getattr(value, name)
            if not field.holds(content):
                shown = (
                    f"{content!r:.40}" if isinstance(content, str | int | float) else an(content)
                )
                return Mismatch(f"a {kind.__name__} whose {name} is {shown}", field.words)
        return None

    return check


def listed(kind: type) -> Check:
    """Checks that a value is a list of `kind`."""
    check_item = instance(kind)

    def check(value: Any) -> Mismatch | None:
        if not _is_list(value):
            return Mismatch(an(value), f"a list of {kind.__name__}")
        for item in value:
            if not isinstance(item, kind):
                return Mismatch(f"a list with {an(item)} in it", f"a list of {kind.__name__}")
            if (mismatch := check_item(item)) is not None:
                return mismatch
        return None

    return check


def splits(value: Any) -> Mismatch | None:
    """Checks the answer to load_data."""
    right = "a dictionary of split name -> datasets.Dataset"
    if not isinstance(value, Mapping):
        return Mismatch(an(value), right)
    for name, rows in value.items():
        if not isinstance(name, str):
            return Mismatch(f"a dictionary with the key {name!r:.40}", right)
        if not _is_dataset(rows):
            return Mismatch(f"{an(rows)} for the split '{name}'", right)
    return None


HOOKS: Mapping[str, Check] = {
    "load_data": splits,
    "build_model": instance(Model),
    "make_loss": instance(Loss),
    "train_step": instance(StepOut),
    "evaluate": listed(Score),
    "check_risks": listed(Risk),
    "reward": instance(Reward),
    "on_event": instance(Stop),
}
"""What each hook gives."""


def checked(hook: str, value: Any, source: Source) -> Any:
    """A plugin's answer as it may travel: itself, or a `Loss` whose functions are checked.

    Raises:
        PluginError: it is not what the hook gives.
    """
    mismatch = HOOKS[hook](value)
    if mismatch is not None:
        raise source.error(hook, mismatch)
    return _with_checked_functions(value, source) if hook == "make_loss" else value


def checked_list(hook: str, values: Any, source: Source) -> Any:
    """What a wrapper of a collected hook gives back: the list of all answers."""
    if not isinstance(values, list):
        raise source.error(
            hook,
            Mismatch(
                an(values),
                "the list of answers that it was given (a wrapper ends with `return answers`)",
            ),
        )
    for value in values:
        checked(hook, value, source)
    return values


# --- the functions of a Loss ---


def _rows(result: Any) -> Mismatch | None:
    """Checks what `rollout` gives: the rows of each update."""
    right = "a list of rows (dictionaries with input_ids) for each update"
    if not _is_list(result):
        return Mismatch(an(result), right)
    for rows in result:
        if not _is_list(rows):
            return Mismatch(f"a list with {an(rows)} in it", right)
        for row in rows:
            if not isinstance(row, Mapping):
                return Mismatch(f"{an(row)} as a row", right)
    return None


RESULTS: Mapping[str, Check] = {
    "collate": instance(Batch),
    "compute": instance(LossOut),
    "answer": listed(Prediction),
    "merge": instance(Prediction),
    "rollout": _rows,
}
"""What each function of a `Loss` gives; `encode`, which may be lazy, is checked row by row."""


@dataclass(frozen=True)
class Checked:
    """A function of a `Loss` that checks what it gives, in the name of the plugin it came from."""

    function: Callable[..., Any]
    name: str
    source: Source

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        hook = f"Loss.{self.name} (of make_loss)"
        with self._named(hook):
            result = self.function(*arguments, **named)
        if self.name == "encode":
            return self._encoded(result, hook)
        mismatch = RESULTS[self.name](result)
        if mismatch is not None:
            raise self.source.error(hook, mismatch)
        return result

    @contextlib.contextmanager
    def _named(self, hook: str) -> Iterator[None]:
        """Name the plugin whose function raises."""
        try:
            yield
        except (Exception, SystemExit) as error:
            if passes_through(error):
                raise
            raise self.source.failure(hook, error) from error

    def _encoded(self, rows: Any, hook: str) -> Iterable[Any]:
        """Encoded rows as they were given: a list at once, anything lazy while it is read."""
        if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | Mapping):
            raise self.source.error(hook, Mismatch(an(rows), ENCODED))
        if not _is_list(rows):
            return self._while_read(rows, hook)
        for row in rows:
            self._check_row(row, hook)
        return rows

    def _while_read(self, rows: Iterable[Any], hook: str) -> Iterator[Any]:
        remaining = iter(rows)
        while True:
            with self._named(hook):
                row = next(remaining, END)
            if row is END:
                return
            self._check_row(row, hook)
            yield row

    def _check_row(self, row: Any, hook: str) -> None:
        if not isinstance(row, Mapping):
            raise self.source.error(hook, Mismatch(f"{an(row)} as a row", ENCODED))
        if "input_ids" not in row and not row.get("left_out"):
            raise self.source.error(
                hook,
                Mismatch(f"a row without input_ids (it has: {', '.join(map(str, row))})", ENCODED),
            )


END = object()
"""Stands behind the last of rows that are read lazily."""
ENCODED = "encoded rows (dictionaries with input_ids)"


def _with_checked_functions(loss: Loss, source: Source) -> Loss:
    """The same loss, each of its functions checked in the name of the plugin that it came from."""
    functions: dict[str, Any] = {}
    for name in ("encode", *RESULTS):
        function = getattr(loss, name)
        if function is not None and not isinstance(function, Checked):
            functions[name] = Checked(function, name, source)
    return dataclasses.replace(loss, **functions) if functions else loss
