"""Every random state of an update, from (seed, step, rank) alone. Heavy: imports torch."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch

from ftp.types import Row


def seed_step(seed: int, step: int, rank: int) -> None:
    """Set every random state from (seed, step, rank): masks and dropout of an update depend on nothing before it."""
    value = int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def drawn(rows: Sequence[Row], seed: int, step: int) -> list[Row]:
    """The rows with `draw`, a number of (seed, step) that is the same on every rank. An objective that draws for each row (which
    tokens to hide) does so from it and the row, and the update is the same however its rows were spread."""
    number = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
    return [{**row, "draw": number} for row in rows]
