"""The states of all random generators of a process, taken for a checkpoint and put back from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def random_state() -> dict[str, object]:
    """The state of every random generator of this process (Python, NumPy, torch on CPU and on its accelerator), as plain
    containers and tensors. With several processes each has its own."""
    import random

    import numpy as np
    import torch

    name, keys, position, has_gauss, gauss = np.random.get_state()
    state: dict[str, object] = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()  # of this process's device; asking all would occupy them all
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put every random generator back as `random_state` found it; one that this machine has not is left out."""
    import random

    import numpy as np
    import torch

    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
