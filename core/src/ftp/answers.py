"""What hooks give back, checked by type before it travels, so that the plugin at fault is named.

The table `HOOKS` says what each hook gives; the functions of a `Loss` and of a `Model` are checked
each time that they are called, and what they raise is told in their plugin's name. Nothing here
looks at whether numbers are right: the kit does (`ftp check`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ftp.errors import PluginError, UserError, VerifyError, describe
from ftp.host import faults
from ftp.types import (
    Batch,
    Goal,
    Head,
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
    return is_out_of_memory or isinstance(error, UserError | PluginError | VerifyError)


@contextlib.contextmanager
def named(source: Source, hook: str) -> Iterator[None]:
    """Name the plugin whose function raises in what is done here."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if passes_through(error):
            raise
        raise source.failure(hook, error) from error


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _is_scalar(value: Any) -> bool:
    return _is_tensor(value) and value.numel() == 1


def _are_numbers(value: Any) -> bool:
    """Whether a list holds numbers alone. By their few types, as there may be a million of them."""
    if not _is_list(value):
        return False
    kinds = set(map(type, value))
    return bool not in kinds and all(issubclass(kind, numbers.Real) for kind in kinds)


def _are_token_ids(value: Any) -> bool:
    if hasattr(value, "tolist"):  # numpy and torch
        value = value.tolist()
    if not _is_list(value):
        return False
    kinds = set(map(type, value))
    return bool not in kinds and all(issubclass(kind, numbers.Integral) for kind in kinds)


def _is_module(value: Any) -> bool:
    import torch

    return isinstance(value, torch.nn.Module)


def _is_dataset(value: Any) -> bool:
    import datasets

    return isinstance(value, datasets.Dataset | datasets.IterableDataset)


def one_of(words: Sequence[str]) -> Kind:
    return Kind(
        f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words
    )


def words_of(known: Sequence[str] = ()) -> Kind:
    """A text or a tuple of texts, each one of `known` where some are."""
    word = one_of(known) if known else TEXT

    def holds(value: Any) -> bool:
        is_collection = isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)
        return all(map(word.holds, value)) if is_collection else word.holds(value)

    return Kind(f"{word.words}, or a tuple of such", holds)


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
FINITE = Kind("a finite number", lambda value: _is_number(value) and math.isfinite(value))
WHOLE = Kind("a whole number", _is_whole)
COUNT = Kind("a whole number from 0", lambda value: _is_whole(value) and value >= 0)
BOOLEAN = Kind("True or False", lambda value: isinstance(value, bool))
MAPPING = Kind("a dictionary", lambda value: isinstance(value, Mapping))
FUNCTION = Kind("a function", callable)
TENSOR = Kind("a tensor", _is_tensor)
SCALAR = Kind("a tensor of one number", _is_scalar)
TOTAL = Kind(
    "a tensor of one floating-point number",
    lambda value: _is_scalar(value) and value.is_floating_point(),
)
MODULE = Kind("a torch.nn.Module", _is_module)
TOKENIZER = Kind("a tokenizer", lambda value: callable(value) and hasattr(value, "decode"))
SCALARS = _mapping_to(SCALAR, "a dictionary of name -> tensor of one number")
TEXTS = _list_of(TEXT, "a list of texts")
WHOLES = Kind("a list of whole numbers", _are_token_ids)
OPTIONS = Kind(
    "a dictionary of option -> value",
    lambda value: isinstance(value, Mapping) and all(map(TEXT.holds, value)),
)
NUMBERS = Kind(
    "a list of finite numbers",
    lambda value: _list_of(FINITE, "").holds(value.tolist() if hasattr(value, "tolist") else value),
)

FIELDS: Mapping[type, Mapping[str, Kind]] = {
    Model: {
        "net": MODULE,
        "tokenizer": TOKENIZER,
        "head": one_of(get_args(Head)),
        "labels": TEXTS,
        "fresh": TEXTS,
        "reference": _or_none(FUNCTION),
        "save": _or_none(FUNCTION),
        "packed": BOOLEAN,
        "name": TEXT,
        "fresh_tokens": WHOLES,
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
    Metric: {"goal": one_of(get_args(Goal)), "over": one_of(("rows", "terms"))},
    Batch: {"inputs": MAPPING, "count": COUNT, "rows": COUNT, "tokens": COUNT},
    LossOut: {
        "total": TOTAL,
        "metrics": SCALARS,
        "row_losses": _or_none(TENSOR),
        "row_counts": _or_none(TENSOR),
    },
    Prediction: {"scores": _or_none(Kind("a tuple of numbers", _are_numbers))},
    StepOut: {
        "loss": SCALAR,
        "metrics": SCALARS,
        "grad_norm": _or_none(
            Kind("a number", lambda value: _is_number(value) or SCALAR.holds(value))
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
        "sha256": _mapping_to(TEXT, "a dictionary of file name -> digest"),
        "default_for": _list_of(one_of(get_args(Head)), f"a list of {', '.join(get_args(Head))}"),
        "summary": TEXT,
        "suggests": OPTIONS,
    },
}
"""The fields of each answer that are checked, and what they hold."""

Check = Callable[[Any], Mismatch | None]


def an(value: Any) -> str:
    """A value's type with its article: `a str`, `an int`, `None`."""
    if value is None:
        return "None"
    return _with_article(type(value).__name__)


def _with_article(name: str) -> str:
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"


def instance(kind: type) -> Check:
    """Checks that a value is a `kind` whose fields hold what `FIELDS` says."""

    def check(value: Any) -> Mismatch | None:
        if not isinstance(value, kind):
            return Mismatch(an(value), _with_article(kind.__name__))
        for name, field in FIELDS[kind].items():
            content = getattr(value, name, None)  # a subclass may have set none
            if not field.holds(content):
                shown = (
                    f"{content!r:.40}" if isinstance(content, str | int | float) else an(content)
                )
                return Mismatch(f"{_with_article(kind.__name__)} whose {name} is {shown}", field.words)
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
    """A plugin's answer as it may travel: itself, or a `Loss` or `Model` whose functions are checked.

    Raises:
        PluginError: it is not what the hook gives.
    """
    mismatch = HOOKS[hook](value)
    if mismatch is not None:
        raise source.error(hook, mismatch)
    return _with_checked_functions(value, source)


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


# --- functions that an answer carries ---


def _anything(result: Any) -> Mismatch | None:
    """Checks what nobody reads."""
    return None


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
    "save": _anything,
}
"""What each function gives; `encode`, which may be lazy, is checked row by row."""


def _wrong_size(name: str, result: Any, arguments: Sequence[Any]) -> Mismatch | None:
    """Whether a result is for another number of rows than it was asked for."""
    first: Any = arguments[0] if arguments else None
    if name == "collate" and _is_list(first) and result.rows != len(first):
        return Mismatch(f"a Batch of {result.rows} rows", f"one of the {len(first)} that it was given")
    if not isinstance(first, Batch):
        return None
    if name == "answer" and len(result) != first.rows:
        return Mismatch(f"{len(result)} predictions", f"one for each of {first.rows} rows")
    for field in ("row_losses", "row_counts") if name == "compute" else ():
        values = getattr(result, field)
        if values is not None and tuple(values.shape) != (first.rows,):
            shape = "x".join(map(str, values.shape)) or "no"
            return Mismatch(f"a LossOut whose {field} has shape {shape}", f"one number for each of {first.rows} rows")
    return None


@dataclass(frozen=True)
class Checked:
    """A function of a `Loss` or `Model` that checks what it gives, in the name of the plugin it came from."""

    function: Callable[..., Any]
    name: str
    source: Source

    @property
    def hook(self) -> str:
        """What the function is, in messages."""
        return "Model.save (of build_model)" if self.name == "save" else f"Loss.{self.name} (of make_loss)"

    def __call__(self, *arguments: Any, **values: Any) -> Any:
        with named(self.source, self.hook):
            try:
                result = self.function(*arguments, **values)
            except OSError as error:
                # what the disk refuses is the machine's fault, and is told by whoever saves
                problem = faults.in_words(error) if self.name == "save" else None
                if problem is None:
                    raise
                raise problem from error
        if self.name == "encode":
            return self._encoded(result)
        mismatch = RESULTS[self.name](result) or _wrong_size(self.name, result, arguments)
        if mismatch is not None:
            raise self.source.error(self.hook, mismatch)
        return result

    def _encoded(self, rows: Any) -> Iterable[Any]:
        """Encoded rows as they were given: a list at once, anything lazy while it is read."""
        if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | Mapping):
            raise self.source.error(self.hook, Mismatch(an(rows), ENCODED))
        if not _is_list(rows):
            return self._while_read(rows)
        for row in rows:
            self._check_row(row)
        return rows

    def _while_read(self, rows: Iterable[Any]) -> Iterator[Any]:
        remaining = iter(rows)
        while True:
            with named(self.source, self.hook):
                row = next(remaining, END)
            if row is END:
                return
            self._check_row(row)
            yield row

    def _check_row(self, row: Any) -> None:
        if not isinstance(row, Mapping):
            raise self.source.error(self.hook, Mismatch(f"{an(row)} as a row", ENCODED))
        if row.get("left_out"):
            return
        if "input_ids" not in row:
            columns = ", ".join(map(str, row))
            raise self.source.error(self.hook, Mismatch(f"a row without input_ids (it has: {columns})", ENCODED))
        if not WHOLES.holds(row["input_ids"]):
            raise self.source.error(
                self.hook, Mismatch(f"a row whose input_ids is {row['input_ids']!r:.40}", WHOLES.words)
            )


@dataclass(frozen=True)
class CheckedReference:
    """`Model.reference` of a plugin: what it raises on the way in or out is told in the plugin's name.

    What is raised inside the `with` is not the plugin's, and is never swallowed by it.
    """

    function: Callable[[], Any]
    source: Source

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Any]:
        hook = "Model.reference (of build_model)"
        with named(self.source, hook):
            context = self.function()
        if not isinstance(context, AbstractContextManager):
            raise self.source.error(hook, Mismatch(an(context), "a context manager that yields the network"))
        with named(self.source, hook):
            net = context.__enter__()
        try:
            if not _is_module(net):
                raise self.source.error(hook, Mismatch(an(net), "a context manager that yields the network"))
            yield net
        except BaseException as error:
            with named(self.source, hook):
                _leave(context, error)
            raise
        with named(self.source, hook):
            context.__exit__(None, None, None)


def _leave(context: AbstractContextManager[Any], error: BaseException) -> None:
    """Let a context manager put back what it changed. Raises what it raises itself, but not `error` anew."""
    try:
        context.__exit__(type(error), error, error.__traceback__)
    except BaseException as other:
        if other is not error:
            raise


END = object()
"""Stands behind the last of rows that are read lazily."""
ENCODED = "encoded rows (dictionaries with input_ids)"
FUNCTIONS: Mapping[type, Sequence[str]] = {
    Loss: ("encode", "collate", "compute", "answer", "merge", "rollout"),
    Model: ("save",),
}
"""The functions that an answer carries, beside `Model.reference`."""


def _with_checked_functions(answer: Any, source: Source) -> Any:
    """The same answer, each function in it checked in the name of the plugin that it came from."""
    functions: dict[str, Any] = {}
    for name in FUNCTIONS.get(type(answer), ()):
        function = getattr(answer, name)
        if function is not None and not isinstance(function, Checked):
            functions[name] = Checked(function, name, source)
    if isinstance(answer, Model) and answer.reference is not None and not isinstance(answer.reference, CheckedReference):
        functions["reference"] = CheckedReference(answer.reference, source)
    return dataclasses.replace(answer, **functions) if functions else answer
