"""A loss with some of its functions exchanged: what wrappers of `make_loss` give back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, Unpack

from ftp.types import Batch, EncodedRow, Loss, LossOut, Metric, Prediction, Row
from ftp.types.rows import RowT

if TYPE_CHECKING:
    import torch


class Changes(TypedDict, Generic[RowT], total=False):
    """What `wrapped` may exchange; see `ftp.types.Loss`."""

    encode: Callable[[Sequence[Row]], Iterable[RowT]]
    encode_to_score: Callable[[Sequence[Row]], Iterable[RowT]]
    ask: Callable[[Sequence[Row]], Iterable[EncodedRow | RowT]]
    collate: Callable[[Sequence[RowT]], Batch]
    compute: Callable[[Batch], LossOut]
    answer: Callable[[Batch, LossOut | None], list[Prediction]]
    merge: Callable[[Sequence[Prediction], Sequence[RowT]], Prediction]
    rollout: Callable[[Sequence[RowT], int], Sequence[Sequence[RowT]]]
    write_beside: Callable[[Path], None]
    name: str
    key: str
    metrics: Mapping[str, Metric]
    extra: torch.nn.Module | None
    over: Literal["terms", "batch"]
    has_answers: bool
    makes_rows: bool
    reuse: int


@dataclass(frozen=True)
class WrappedLoss(Loss[RowT]):
    """A loss whose functions are those of others."""

    encode: Callable[[Sequence[Row]], Iterable[RowT]]
    encode_to_score: Callable[[Sequence[Row]], Iterable[RowT]]
    ask: Callable[[Sequence[Row]], Iterable[EncodedRow | RowT]]
    collate: Callable[[Sequence[RowT]], Batch]
    compute: Callable[[Batch], LossOut]
    answer: Callable[[Batch, LossOut | None], list[Prediction]]
    merge: Callable[[Sequence[Prediction], Sequence[RowT]], Prediction]
    rollout: Callable[[Sequence[RowT], int], Sequence[Sequence[RowT]]]
    write_beside: Callable[[Path], None]
    name: str
    key: str
    extra: torch.nn.Module | None
    over: Literal["terms", "batch"]
    has_answers: bool
    makes_rows: bool
    reuse: int
    metrics: Mapping[str, Metric] = field(default_factory=dict)


def wrapped(loss: Loss[RowT], **changes: Unpack[Changes[RowT]]) -> Loss[RowT]:
    """The same loss with some functions or attributes exchanged, as in `wrapped(loss, compute=compute)`.

    Where held-out rows are encoded as those to learn from, a new `encode` is for both.

    Args:
        loss: the loss to wrap, which stays as it is.
        changes: new functions and attributes by their names in `ftp.types.Loss`.
    """
    # not `vars`: functions are methods of the loss, and most attributes are those of the class
    names = [field.name for field in dataclasses.fields(WrappedLoss)]
    parts: dict[str, Any] = {name: getattr(loss, name) for name in names}
    is_inherited = not isinstance(loss, WrappedLoss) and type(loss).encode_to_score is Loss.encode_to_score
    if "encode" in changes and (is_inherited or parts["encode_to_score"] == parts["encode"]):
        parts["encode_to_score"] = changes["encode"]
    return WrappedLoss(**{**parts, **changes})
