"""Rows of all ranks, end to end. Heavy: imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """The rows of all ranks, and the number of this rank's first row among them.

    Ranks may have different numbers of rows, or none. Where rows have a gradient, it goes back to the rank that a row came from,
    summed over the losses of all ranks. While nothing is trained, ranks do not wait for one another: a rank's own rows are all.
    """
    if not (torch.is_grad_enabled() and distributed.is_available() and distributed.is_initialized()):
        return rows, 0
    counts = [torch.zeros((), dtype=torch.int64, device=rows.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, torch.tensor(len(rows), device=rows.device))
    lengths = [int(count) for count in counts]

    # tensors of one shape travel: shorter ones are filled up, and cut again
    filler = rows.new_zeros(max(lengths) - len(rows), *rows.shape[1:])
    padded = torch.cat([rows, filler])
    if padded.requires_grad:
        from torch.distributed.nn.functional import all_gather

        parts = all_gather(padded)
    else:
        parts = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(parts, padded)
    kept = [part[:length] for part, length in zip(parts, lengths, strict=True)]
    return torch.cat(kept), sum(lengths[: distributed.get_rank()])
