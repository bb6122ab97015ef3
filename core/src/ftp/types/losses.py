"""What an objective is, and what it takes and gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ftp.types.predictions import Prediction
from ftp.types.rows import EncodedRow, Row, RowT
from ftp.types.scores import Goal

if TYPE_CHECKING:
    import torch

    from ftp.net.logits import Logits


@dataclass(frozen=True)
class Batch:
    """Some encoded rows as tensors, ready for `Loss.compute`.

    Attributes:
        inputs: whatever `compute` of the same objective reads.
        count: number of terms that `LossOut.total` sums (rows, or trained tokens); the step divides once by the count over all
            ranks and micro-batches.
        rows: number of rows.
        tokens: number of tokens computed, for the throughput shown.
    """

    inputs: Mapping[str, Any]
    count: int
    rows: int
    tokens: int = 0


@dataclass(frozen=True)
class LossOut:
    """What `Loss.compute` gives for one batch.

    Attributes:
        total: the SUM of the loss over the batch's `count` terms, never a mean: a scalar with its gradient.
        metrics: sums, shown as means over rows (or as `Loss.metrics` says).
        row_losses: `[rows]`, sum of the loss of each row.
        row_counts: `[rows]`, number of terms of each row.
        outputs: what `Loss.answer` needs to answer without a second forward pass (logits, as a rule).
        logits: for a wrapper, where each term is the choice of one class; None where it is not.
        targets: `[terms] int64`, the class of each term; None as `logits`.
    """

    total: torch.Tensor
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)
    row_losses: torch.Tensor | None = None
    row_counts: torch.Tensor | None = None
    outputs: Any = None
    logits: Logits | None = None
    targets: torch.Tensor | None = None


@dataclass(frozen=True)
class Metric:
    """What a metric of `LossOut` is.

    Attributes:
        goal: which way it is better.
        over: what it is a mean of, rows or the terms of the loss (trained tokens), so that a share of tokens is that of all
            tokens, not a mean of means.
    """

    goal: Goal = "none"
    over: Literal["rows", "terms"] = "rows"


class Loss(Protocol[RowT]):
    """An objective: how rows become numbers, and what is minimised.

    Inherit from it, and write `encode`, `collate`, `compute`, `ask` and `answer`; what else there is has a default. Another loss
    with some functions exchanged: `ftp.losses.wrapped`.

    Attributes:
        name: for logs.
        key: whatever changes what `encode` gives, for the cache; core adds the source of the loss's own modules.
        metrics: what the metrics of `LossOut` are, by name; one that is not named is a mean over rows that has no goal.
        extra: a module trained and saved beside the network (a value head).
        over: what the loss is a sum over. "terms": rows or tokens, each for itself. "batch": the loss of a row depends on
            which rows stand beside it (negatives in the batch), so that core never splits the rows that a rank has in an update.
        has_answers: False where it only scores, so that there is neither `ask` nor `answer`.
        makes_rows: whether the model makes its own training rows by `rollout` (RLHF).
        reuse: how many updates each row of a rollout serves.
    """

    name: str = ""
    key: str = ""
    metrics: Mapping[str, Metric] = {}
    extra: torch.nn.Module | None = None
    over: Literal["terms", "batch"] = "terms"
    has_answers: bool = True
    makes_rows: bool = False
    reuse: int = 1

    def encode(self, rows: Sequence[Row], /) -> Iterable[RowT]:
        """Rows of the task's form as rows to learn from; called once, and cached.

        One row may become none, one or several: then `row` says which of `rows` each was made of, counted from 0. Where some
        of an answer does not fit (`answer_cut`), that is an error unless `--truncated-answers` allows it.
        """
        raise NotImplementedError

    def encode_to_score(self, rows: Sequence[Row], /) -> Iterable[RowT]:
        """Held-out rows, each for itself, so that it has a loss and an answer of its own: other rows than `encode` gives where
        that lays several in one."""
        return self.encode(rows)

    def ask(self, rows: Sequence[Row], /) -> Iterable[EncodedRow]:
        """Rows to be answered, which need no labels."""
        raise TypeError(f"{type(self).__name__} says that it has answers, and has no method `ask`")

    def collate(self, rows: Sequence[RowT], /) -> Batch:
        """Encoded rows, all to learn from or all `asked`, as tensors."""
        raise NotImplementedError

    def compute(self, batch: Batch, /) -> LossOut:
        """The loss of a batch, inside the run's precision."""
        raise NotImplementedError

    def answer(self, batch: Batch, out: LossOut | None, /) -> list[Prediction]:
        """One answer to each encoded row. `out`: what `compute` gave; None where rows were `asked`."""
        raise TypeError(f"{type(self).__name__} says that it has answers, and has no method `answer`")

    def merge(self, predictions: Sequence[Prediction], encoded: Sequence[RowT], /) -> Prediction:
        """The answers to the encoded rows that were made of one row (windows of a long context) as one."""
        return predictions[0] if len(predictions) == 1 else Prediction(None)

    def write_beside(self, folder: Path, /) -> None:
        """Write what others need beside the weights to use them as this loss means it (how vectors are pooled); nothing by
        default. `ftp merge` copies these files."""
        return

    def rollout(self, prompts: Sequence[RowT], number: int, /) -> Sequence[Sequence[RowT]]:
        """Where the model makes its own rows: encoded rows of one rank, which are prompts, as the rows to train on in each of
        the next `reuse` updates, drawn from nothing but the weights, the seed and `number` (from 0; -1 for a trial).

        All ranks call it together, some maybe without prompts; `collate` and `compute` take both kinds of rows, and prompts
        only without gradients (evaluation). No checkpoint lies between updates of one rollout.
        """
        raise TypeError(f"{type(self).__name__} says that it makes rows, and has no method `rollout`")
