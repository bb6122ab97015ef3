"""Encoded rows as tensors. Heavy: imports torch.

Two layouts, and every function of this folder takes either:

- packed: rows end to end in one line, `input_ids` [1, tokens], positions that restart, nothing padded; each row attends
  to itself alone (`ftp.net.packed_attention`). For networks of which `ftp.net.packing.can_pack` says so, having measured it.
- padded: `input_ids` [rows, longest] with an `attention_mask`, for every network.

A **slot** is a place in `input_ids.flatten()`; what `first`, `last` and `targets` give are slots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

__all__ = ["IGNORED", "bounds", "lay", "real", "rows"]

Inputs = Mapping[str, Tensor]
"""What `lay` gives."""

Columns = Mapping[str, tuple[Sequence[Sequence[int]], int]]
"""Columns of rows by name, each with the value that fills its padding."""

IGNORED = -100
"""The label of a token that is not trained."""


def lay(
    rows: Sequence[Sequence[int]],
    *,
    packed: bool,
    pad_id: int,
    padding_side: str = "right",
    beside: Columns | None = None,
    device: torch.device | str | None = None,
) -> dict[str, Tensor]:
    """Lay token ids out as tensors: rows end to end, or side by side.

    Args:
        rows: the token ids of each row, none of them empty.
        packed: whether rows lie end to end; for networks of which `can_pack` says so.
        pad_id: the token that fills padding.
        padding_side: "left" or "right" of a row; packed rows have none.
        beside: further columns of the same lengths with the value that fills their padding, as in
            `{"labels": (labels, -100)}`; None: no others.
        device: where the tensors go; None: they stay on the CPU.

    Returns:
        int64 tensors of one shape, `[1, tokens]` or `[rows, longest]`, by name.

        - packed: `input_ids`, `position_ids`, `row_starts` `[rows + 1] int32` (where each row begins, and the end) and
          `extent`, an empty tensor `[0, longest, filler]` whose size tells, without asking the device, the length of the
          longest row and how many slots behind the last row are filled up (on a CPU, see `filler_slots`);
        - padded: `input_ids`, `attention_mask`, and with `padding_side="left"` also `position_ids`.

    Raises:
        ValueError: no rows, an empty row, or a column whose lengths differ from the tokens'.
    """
    lengths = [len(row) for row in rows]
    if not lengths or min(lengths) == 0:
        raise ValueError("every batch needs a row, and every row needs a token")
    columns = {"input_ids": (rows, pad_id), **(beside or {})}
    for name, (column, _) in columns.items():
        if [len(row) for row in column] != lengths:
            raise ValueError(f"the rows of '{name}' are not as long as those of 'input_ids'")
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side is 'left' or 'right', not {padding_side!r}")
    is_on_cpu = device is None or torch.device(device).type == "cpu"
    if packed:
        laid = _end_to_end(columns, lengths, filler_slots(sum(lengths)) if is_on_cpu else 0)
    else:
        laid = _side_by_side(columns, lengths, padding_side)
    return laid if device is None else to_device(laid, device)


def _end_to_end(columns: Columns, lengths: Sequence[int], filler: int) -> dict[str, Tensor]:
    """Packed columns, with `filler` slots behind the last row."""
    longest = max(lengths)
    laid: dict[str, Tensor] = {}
    for name, (column, fill) in columns.items():
        laid[name] = torch.tensor([[*chain.from_iterable(column), *[fill] * filler]])
    # filler takes positions of rows, as a table of positions may have no others
    filler_positions = (slot % longest for slot in range(filler))
    laid["position_ids"] = torch.tensor([[*chain.from_iterable(map(range, lengths)), *filler_positions]])
    laid["row_starts"] = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    laid["extent"] = torch.empty(0, longest, filler)
    return laid


def _side_by_side(columns: Columns, lengths: Sequence[int], padding_side: str) -> dict[str, Tensor]:
    """Padded columns."""
    longest = max(lengths)
    is_left = padding_side == "left"
    laid: dict[str, Tensor] = {}
    for name, (column, fill) in columns.items():
        laid[name] = torch.tensor([_pad(row, longest, fill, is_left) for row in column])
    laid["attention_mask"] = torch.tensor([_pad([1] * length, longest, 0, is_left) for length in lengths])
    # networks count positions from the left, where padding is not to count
    if is_left and min(lengths) < longest:
        laid["position_ids"] = (laid["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return laid


def _pad(row: Sequence[int], longest: int, fill: int, is_left: bool) -> list[int]:
    padding = [fill] * (longest - len(row))
    return [*padding, *row] if is_left else [*row, *padding]


def to_device(inputs: Inputs, device: torch.device | str) -> dict[str, Tensor]:
    """The inputs on a device, without waiting for it."""
    return {name: column.to(device, non_blocking=True) for name, column in inputs.items()}


def filler_slots(tokens: int) -> int:
    """How many slots to add so that batches come in few sizes, 16 an octave and so about 2% more on average."""
    # for each new size the CPU's kernels are made anew, which was measured to cost a fifth of a step of a small network
    step = 2 ** max(0, tokens.bit_length() - 5)
    return -tokens % step if tokens >= 128 else 0


def is_packed(inputs: Inputs) -> bool:
    """Whether these inputs are rows end to end."""
    return "row_starts" in inputs


def count_rows(inputs: Inputs) -> int:
    """Number of rows laid out."""
    return len(inputs["row_starts"]) - 1 if is_packed(inputs) else len(inputs["input_ids"])


def first(inputs: Inputs) -> Tensor:
    """[rows] the slot of each row's first token."""
    if is_packed(inputs):
        return inputs["row_starts"][:-1].long()
    mask = inputs["attention_mask"]
    return mask.argmax(1) + _line_starts(mask)


def last(inputs: Inputs) -> Tensor:
    """[rows] the slot of each row's last real token, whatever its id and whichever side is padded."""
    if is_packed(inputs):
        return inputs["row_starts"][1:].long() - 1
    mask = inputs["attention_mask"]
    # argmax gives the first of equal values, counted from the right
    return mask.shape[1] - 1 - mask.flip(1).argmax(1) + _line_starts(mask)


def real(inputs: Inputs, column: Tensor) -> Tensor:
    """The entries of a column at real tokens, row after row.

    Args:
        inputs: what `lay` gives.
        column: laid like `input_ids`, or with one entry a slot; further dimensions may follow.

    Returns:
        `[tokens, ...]`, without padding and filler.

    Raises:
        ValueError: the column is laid otherwise.
    """
    shape = inputs["input_ids"].shape
    flat = column.flatten(0, 1) if column.shape[:2] == shape else column
    if len(flat) != shape.numel():
        raise ValueError(f"a column of shape {tuple(column.shape)} is not laid like input_ids, {tuple(shape)}")
    if is_packed(inputs):
        return flat[: len(flat) - inputs["extent"].shape[2]]
    return flat[inputs["attention_mask"].flatten().bool()]


def rows(inputs: Inputs) -> Tensor:
    """The number of the row to which each real token belongs.

    Args:
        inputs: what `lay` gives.

    Returns:
        `[tokens] int64`, from 0.
    """
    return real(inputs, row_of_slot(inputs))


def row_of_slot(inputs: Inputs) -> Tensor:
    """[slots] row numbers; filler behind packed rows has the number of rows, as if it were one more."""
    ids = inputs["input_ids"]
    if is_packed(inputs):
        lengths = starts_with_filler(inputs).diff().long()
        numbers = torch.arange(len(lengths), device=ids.device)
        return torch.repeat_interleave(numbers, lengths, output_size=ids.numel())
    return torch.arange(len(ids), device=ids.device).repeat_interleave(ids.shape[1])


def starts_with_filler(inputs: Inputs) -> Tensor:
    """`row_starts` with the filler as one more row, where there is any."""
    starts = inputs["row_starts"]
    filler = inputs["extent"].shape[2]
    return torch.cat([starts, starts[-1:] + filler]) if filler else starts


def bounds(inputs: Inputs) -> Tensor:
    """Where each row begins among the real tokens, and the end of the last.

    Args:
        inputs: what `lay` gives.

    Returns:
        `[rows + 1] int64`.
    """
    if is_packed(inputs):
        return inputs["row_starts"].long()
    lengths = inputs["attention_mask"].sum(1)
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _line_starts(mask: Tensor) -> Tensor:
    """[rows] the slot at which each padded row begins."""
    return torch.arange(len(mask), device=mask.device) * mask.shape[1]


def targets(inputs: Inputs, labels: Tensor, *, shift: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Where labels are learnt: (slots [n] whose logits count, token ids [n], row numbers [n]).

    `labels` are laid beside `input_ids`, with -100 where nothing is learnt. With `shift` the slot before a labelled
    token predicts it; a row's first token is never predicted, least of all by the row before it. On CPU tensors (in
    `collate`) this waits for no device.
    """
    flat = labels.flatten()
    learnt = flat != IGNORED
    # the slot before a row's first token is of another row
    if shift:
        learnt[first(inputs)] = False
    where = learnt.nonzero()[:, 0]
    return where - int(shift), flat[where], row_of_slot(inputs)[where]
