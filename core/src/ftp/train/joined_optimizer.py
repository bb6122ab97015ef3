"""Several optimizers as one, each for weights of its own. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch


class JoinedOptimizer(torch.optim.Optimizer):  # type: ignore[misc]
    """Several optimizers as one, each for weights of its own: one may be for matrices and the other for the rest.

    Its groups are those of its parts, each with the name of the part under `part`: whatever splits groups or sets their
    rates reaches the parts with their next step.

    Args:
        parts: the optimizers by name.
    """

    def __init__(self, **parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        weights: list[torch.nn.Parameter] = []
        for name, part in parts.items():
            for group in part.param_groups:
                group["part"] = name
                weights += group["params"]
        super().__init__(weights, {})
        self._take_groups()

    def _take_groups(self) -> None:
        """Make the groups of the parts those of the whole."""
        self.param_groups = []
        for part in self.parts.values():
            self.param_groups += part.param_groups

    def _give_groups(self) -> None:
        """Make the groups of the whole, which may have been split since, those of the parts."""
        for name, part in self.parts.items():
            part.param_groups = [group for group in self.param_groups if group["part"] == name]

    def step(self, closure: Callable[[], float] | None = None) -> None:
        self._give_groups()
        for part in self.parts.values():
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts.values():
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, object]:
        self._give_groups()
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: Mapping[str, Mapping[str, object]]) -> None:
        self._give_groups()
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self._take_groups()
