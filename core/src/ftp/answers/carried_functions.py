"""The functions that a `Loss` and a `Model` carry: what they give is checked each time that they are called, and what they
raise is told in their plugin's name."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ftp.answers import source_code
from ftp.answers.fields import Check, an, instance, is_loss, listed
from ftp.answers.kinds import WHOLES, is_list, is_module
from ftp.answers.origin import Mismatch, Source, named
from ftp.answers.wrapped_loss import Changes, wrapped
from ftp.errors import PluginError
from ftp.host import faults
from ftp.types import Batch, Loss, LossOut, Model, Prediction

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

AnswerT = TypeVar("AnswerT")

END = object()
"""Stands behind the last of rows that are read lazily."""
ENCODED = "encoded rows (dictionaries with input_ids)"
FUNCTIONS = ("encode", "encode_to_score", "ask", "collate", "compute", "answer", "merge", "rollout", "write_beside")
"""The functions of a loss."""
ENCODING = ("encode", "encode_to_score", "ask")
"""Those of them that give rows, maybe lazily, which are checked row by row."""
WRITING = ("save", "write_beside")
"""Functions that write files."""


def _anything(result: object) -> Mismatch | None:
    """Checks what nobody reads."""
    return None


def _rows_of_updates(result: object) -> Mismatch | None:
    """Checks what `rollout` gives: the rows of each update."""
    right = "a list of rows (dictionaries with input_ids) for each update"
    if not is_list(result):
        return Mismatch(an(result), right)
    for rows in result:
        if not is_list(rows):
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
    "rollout": _rows_of_updates,
    "write_beside": _anything,
    "save": _anything,
}
"""What each function gives, but those in `ENCODING`."""


def _wrong_size(name: str, result: object, arguments: Sequence[object]) -> Mismatch | None:
    """Whether a result is for another number of rows than it was asked for."""
    asked = arguments[0] if arguments else None
    if isinstance(result, Batch) and is_list(asked) and result.rows != len(asked):
        return Mismatch(f"a Batch of {result.rows} rows", f"one of the {len(asked)} that it was given")
    # a batch of no rows is a row that stands in on a process without any, and weighs nothing
    if not isinstance(asked, Batch) or not asked.rows:
        return None
    if name == "answer" and is_list(result) and len(result) != asked.rows:
        return Mismatch(f"{len(result)} predictions", f"one for each of {asked.rows} rows")
    if isinstance(result, LossOut):
        return _wrong_shape(result, asked.rows)
    return None


def _wrong_shape(out: LossOut, rows: int) -> Mismatch | None:
    """Whether values of each row are a tensor of another shape, which would be broadcast in silence."""
    for field in ("row_losses", "row_counts"):
        values: torch.Tensor | None = getattr(out, field)
        if values is not None and tuple(values.shape) != (rows,):
            shape = "x".join(map(str, values.shape)) or "no"
            return Mismatch(f"a LossOut whose {field} has shape {shape}", f"one number for each of {rows} rows")
    return None


@dataclass(frozen=True)
class Checked:
    """A function of a `Loss` or `Model` that checks what it gives, in the name of the plugin it came from."""

    function: Callable[..., object]
    name: str
    source: Source

    @property
    def hook(self) -> str:
        """What the function is, in messages."""
        return "Model.save (of build_model)" if self.name == "save" else f"Loss.{self.name} (of make_loss)"

    def __call__(self, *arguments: object, **values: object) -> Any:
        """Call the function. Raises `PluginError` where it gives something else than it should."""
        with named(self.source, self.hook):
            try:
                result = self.function(*arguments, **values)
            except OSError as error:
                # what the disk refuses is the machine's fault, and is told by whoever saves
                problem = faults.in_words(error) if self.name in WRITING else None
                if problem is None:
                    raise
                raise problem from error
        if self.name in ENCODING:
            return self._encoded(result)
        mismatch = RESULTS[self.name](result) or _wrong_size(self.name, result, arguments)
        if mismatch is not None:
            raise self.source.error(self.hook, mismatch)
        return result

    def _encoded(self, rows: object) -> Iterable[object]:
        """Encoded rows as they were given: a list at once, anything lazy while it is read."""
        if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | Mapping):
            raise self._error(an(rows), ENCODED)
        if not is_list(rows):
            return self._while_read(rows)
        for row in rows:
            self._check_row(row)
        return rows

    def _while_read(self, rows: Iterable[object]) -> Iterator[object]:
        """Lazy rows, each checked as it is read; what reading one raises is told in the plugin's name."""
        remaining = iter(rows)
        while True:
            with named(self.source, self.hook):
                row = next(remaining, END)
            if row is END:
                return
            self._check_row(row)
            yield row

    def _check_row(self, row: object) -> None:
        """Raise `PluginError` for an encoded row without tokens, but for one that says why it is left out."""
        if not isinstance(row, Mapping):
            raise self._error(f"{an(row)} as a row", ENCODED)
        if row.get("left_out"):
            return
        if "input_ids" not in row:
            columns = ", ".join(map(str, row))
            raise self._error(f"a row without input_ids (it has: {columns})", ENCODED)
        if not WHOLES.holds(row["input_ids"]):
            raise self._error(f"a row whose input_ids is {row['input_ids']!r:.40}", WHOLES.words)

    def _error(self, actual: str, right: str) -> PluginError:
        return self.source.error(self.hook, Mismatch(actual, right))


@dataclass(frozen=True)
class CheckedReference:
    """`Model.reference` of a plugin: what it raises on the way in or out is told in the plugin's name.

    What is raised inside the `with` is not the plugin's, and is never swallowed by it.
    """

    function: Callable[[], object]
    source: Source

    @contextlib.contextmanager
    def __call__(self) -> Iterator[PreTrainedModel]:
        hook = "Model.reference (of build_model)"
        with named(self.source, hook):
            context = self.function()
        if not isinstance(context, AbstractContextManager):
            raise self.source.error(hook, Mismatch(an(context), "a context manager that yields the network"))
        with named(self.source, hook):
            net = context.__enter__()
        # by hand and not by `with`: only what the plugin raises itself is told in its name
        try:
            if not is_module(net):
                raise self.source.error(hook, Mismatch(an(net), "a context manager that yields the network"))
            yield net
        except BaseException as error:
            with named(self.source, hook):
                _leave(context, error)
            raise
        with named(self.source, hook):
            context.__exit__(None, None, None)


def _leave(context: AbstractContextManager[object], error: BaseException) -> None:
    """Let a context manager put back what it changed. Raises what it raises itself, but not `error` anew."""
    try:
        context.__exit__(type(error), error, error.__traceback__)
    except BaseException as other:
        if other is not error:
            raise


def with_checked_functions(answer: AnswerT, source: Source) -> AnswerT | Model | Loss:
    """The same answer, each function in it checked in the name of the plugin that it came from."""
    if isinstance(answer, Model):
        return _checked_model(answer, source)
    return _checked_loss(answer, source) if is_loss(answer) else answer


# What is checked already came from another plugin, whose answer this one passes on.
def _checked_model(model: Model, source: Source) -> Model:
    save = model.save
    if save is not None and not isinstance(save, Checked):
        save = Checked(save, "save", source)
    reference = model.reference
    if reference is not None and not isinstance(reference, CheckedReference):
        reference = CheckedReference(reference, source)
    if save is model.save and reference is model.reference:
        return model
    return dataclasses.replace(model, save=save, reference=reference)


def _checked_loss(loss: Loss, source: Source) -> Loss:
    functions: dict[str, Checked] = {}
    for name in FUNCTIONS:
        function = getattr(loss, name)
        if not isinstance(function, Checked):
            functions[name] = Checked(function, name, source)
    # rows that an earlier version of these functions encoded are not theirs
    changes = cast(Changes, functions)
    encoding = [loss_function.function for name, loss_function in functions.items() if name in ENCODING]
    if encoding and loss.key:
        changes["key"] = f"{loss.key}-{source_code.digest_of(encoding)}"
    return wrapped(loss, **changes)
