"""Negatives of all ranks, with gradients: the mean over two processes is the loss of one that has all rows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from ftp_embed import losses
from ftp_embed.ranks import gather_rows

ROWS_OF_RANK = (3, 1)
TEXTS = torch.arange(8).reshape(4, 2)
SCORES = torch.tensor([1.0, 3.0, 2.0, 5.0])


def drawn() -> Tensor:
    return torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(3)).requires_grad_()


def total(vectors: Tensor, rows: slice) -> Tensor:
    """The sum of two losses over some rows, as a rank makes it."""
    ranking = losses.ranking_losses(vectors[rows], TEXTS[rows], 20.0, both_ways=True).sum()
    return ranking + losses.cosent_loss(vectors[rows], SCORES[rows], 20.0) * (rows.stop - rows.start)


def on_rank(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    vectors = drawn()
    start = sum(ROWS_OF_RANK[:rank])
    value = total(vectors, slice(start, start + ROWS_OF_RANK[rank]))
    value.backward()
    # a rank without rows takes part, and is nobody's negative
    own = drawn()
    empty = losses.ranking_losses(own[: 2 * rank], TEXTS[: 2 * rank], 20.0).sum()
    empty.backward()
    with torch.no_grad():
        alone = gather_rows(own)[0].shape[0]
    torch.save((value.detach(), vectors.grad, own.grad, alone), Path(folder, f"{rank}.pt"))
    distributed.destroy_process_group()
    # gloo's thread may still let go of a backward pass, and aborts where Python is already being taken down
    os._exit(0)


@pytest.mark.slow
def test_two_ranks_are_one_batch(tmp_path: Path) -> None:
    multiprocessing.spawn(on_rank, (str(tmp_path),), nprocs=2)
    of_rank = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    whole = drawn()
    value = total(whole, slice(0, 4))
    value.backward()
    torch.testing.assert_close(sum(one[0] for one in of_rank), value.detach())
    torch.testing.assert_close(sum(one[1] for one in of_rank), whole.grad)

    alone = drawn()
    losses.ranking_losses(alone[:2], TEXTS[:2], 20.0).sum().backward()
    torch.testing.assert_close(sum(one[2] for one in of_rank), alone.grad)
    assert [one[3] for one in of_rank] == [4, 4]  # while nothing is trained no rank waits for another
