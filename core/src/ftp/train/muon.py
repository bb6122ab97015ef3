"""Muon for the matrices inside a network, AdamW for the rest of it, as one optimizer. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from ftp.errors import UserError


def inner_matrices(net: torch.nn.Module) -> set[int]:
    """ids of the weights of linear layers, but for those that read tokens or write answers (Jordan et al. 2024)."""
    outer = {id(module.weight) for module in net.modules() if isinstance(module, torch.nn.Embedding)}
    for module in net.modules():
        last = getattr(module, "get_output_embeddings", None)
        layer = last() if last is not None else None
        outer.add(id(getattr(layer, "weight", None)))
    return {id(module.weight) for module in net.modules() if isinstance(module, torch.nn.Linear)} - outer


class MuonAdamW(torch.optim.Optimizer):  # type: ignore[misc]
    """Groups with `muon` set get orthogonalised momentum (Jordan et al. 2024), the rest AdamW.

    Muon's updates are scaled to the size of AdamW's (Liu et al. 2025, Muon is scalable for LLM training, section 2.2),
    so one learning rate and one decay serve both. Raises `UserError` where this torch has no Muon.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], **adamw: Any) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise UserError(f"--optim muon: torch {torch.__version__} has none", "torch 2.9 or newer, or --optim adamw")
        of_muon: list[dict[str, Any]] = []
        of_adamw: list[dict[str, Any]] = []
        weights: list[torch.nn.Parameter] = []
        for group in groups:
            weights += group["params"]
            if group.pop("muon", False):
                of_muon.append(group)
            else:
                of_adamw.append(group)
        self.parts: dict[str, torch.optim.Optimizer] = {}
        if of_muon:
            self.parts["muon"] = torch.optim.Muon(of_muon, lr=adamw["lr"], adjust_lr_fn="match_rms_adamw")
        if of_adamw:
            self.parts["adamw"] = torch.optim.AdamW(of_adamw, **adamw)
        super().__init__(weights, {})
        self._share_groups()

    def _share_groups(self) -> None:
        """Make the groups of both parts those of the whole, so that a schedule reaches them."""
        self.param_groups = []
        for part in self.parts.values():
            self.param_groups += part.param_groups

    def step(self, closure: Callable[[], float] | None = None) -> None:
        for part in self.parts.values():
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts.values():
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self._share_groups()
