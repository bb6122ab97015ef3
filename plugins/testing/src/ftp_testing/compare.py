"""Gradients of two networks, compared weight by weight. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def gradients(net: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradient of a loss in each weight that has one, by its name."""
    net.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in net.named_parameters() if weight.grad is not None}


def same_gradients(
    ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor], tolerance: float = 1e-4
) -> None:
    """Assert that gradients are the same but for `tolerance` of the largest of all, and not all zero."""
    assert set(ours) == set(theirs)
    assert any(bool(gradient.any()) for gradient in ours.values())
    largest = max(float(gradient.abs().max()) for gradient in theirs.values())
    for name, gradient in ours.items():
        assert float((gradient - theirs[name]).abs().max()) <= tolerance * largest, name
