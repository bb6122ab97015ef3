"""Rows of a data set, as they are read and as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from typing_extensions import TypeVar

from ftp.types.tasks import Form

if TYPE_CHECKING:
    from datasets import Dataset

Row = Mapping[str, Any]
"""One row of a data set."""


class EncodedRow(TypedDict, total=False):
    """One row as token ids. A loss adds the columns that its own `collate` reads, in a subclass.

    Attributes:
        input_ids: the tokens; missing only where a row is `left_out`.
        token_type_ids: where the network reads them.
        row: number of the row that it was made of, from 0.
        length: number of tokens; core counts `input_ids` where a loss does not say.
        cut: number of tokens that did not fit.
        answer_cut: how many of these are of the answer.
        left_out: why there are no tokens; such rows are counted and shown.
        draw: in training, a number of (seed, step) that is the same on every rank, to draw from what is random in a row; set
            by core.
        asked: True in a row that `ask` encoded, which has nothing to learn; set by core.
    """

    input_ids: list[int]
    token_type_ids: list[int]
    row: int
    length: int
    cut: int
    answer_cut: int
    left_out: str
    draw: int
    asked: bool


RowT = TypeVar("RowT", bound=EncodedRow, default=Any)
"""The encoded rows of a loss."""


@dataclass(frozen=True)
class Data:
    """The rows of a run by split name: `train`, `validation`, and where given `test`, `general`.

    Attributes:
        splits: name of a split -> its rows. Each has the columns of `form`; other columns are kept, as risk checks read them.
        form: the columns that the objective reads.
        labels: names of the classes in the order of their numbers; empty where the form has none.
        domains: where several domains give rows, those of each domain alone, by split; empty where there is one. Then the
            rows of all splits have the name of their domain in the column `from_domain`.
    """

    splits: Mapping[str, Dataset]
    form: Form
    labels: tuple[str, ...] = ()
    domains: Mapping[str, Mapping[str, Dataset]] = field(default_factory=dict)
