"""The gradient of a loss, held against differences of its `total`. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ftp.loop import seed_step
from ftp.testing.scene import Scene
from ftp.types import Batch

STEPS = {torch.float64: (1e-3, 1e-5), torch.float32: (1e-2, 3e-3, 1e-3)}
"""By how much each number of a weight is moved, by the type of `total`: large ones for its rounding, small ones for bends."""
DIRECTIONS = 2
"""Random directions of each weight."""
TOLERANCE = 0.05
"""By what share of the slope a difference may deviate: the loss bends within a step."""
ROUNDING = 16
"""By how many units in the last place of `total` a difference of two may be wrong."""
FAR = (1.0, 10.0, 100.0)
"""How far a weight is moved to see whether anything hangs on it."""


@dataclass(frozen=True)
class Slope:
    """How `total` changes along a random direction of a weight, in nats a unit. `size`: the norm of the weight's gradient, which
    is how large such slopes are; `rounding`: by how much the difference may be wrong."""

    weight: str
    by_gradient: float
    by_difference: float
    size: float
    rounding: float

    @property
    def agrees(self) -> bool:
        allowed = TOLERANCE * max(self.size, abs(self.by_difference)) + self.rounding
        return abs(self.by_difference - self.by_gradient) <= allowed


def total(scene: Scene, batch: Batch) -> Tensor:
    """The loss of a batch as training computes it; what it draws (dropout, noise) is the same each time."""
    seed_step(0, 0, 0)
    return scene.loss.compute(batch).total


def in_double(scene: Scene, batch: Batch) -> bool:
    """Take the weights in double precision, where the plugin's code can: differences are exact then. Otherwise they stay."""
    modules = [module for module in (scene.model.net, scene.loss.extra) if module is not None]
    for module in modules:
        module.double()
    try:
        total(scene, batch).backward()
    except (RuntimeError, TypeError):  # code that makes tensors of single precision itself
        for module in modules:
            module.float()
        return False
    finally:
        _clear(scene)
    return True


def slopes(scene: Scene, batch: Batch) -> Iterator[Slope]:
    """The slopes of `total` along random directions of each trained weight; of several steps the one that agrees best."""
    value = total(scene, batch)
    value.backward()
    gradients = {name: weight.grad for name, weight in scene.trained().items()}
    _clear(scene)
    rounding = ROUNDING * torch.finfo(value.dtype).eps * max(1.0, abs(float(value.detach())))
    generator = torch.Generator().manual_seed(7)
    for name, weight in sorted(scene.trained().items()):
        gradient = gradients[name]
        gradient = torch.zeros_like(weight) if gradient is None else gradient.detach()
        for _ in range(DIRECTIONS):
            direction = torch.randn(weight.shape, generator=generator).to(weight)
            by_gradient = float((gradient * direction).sum())
            found = []
            for step in STEPS.get(value.dtype, STEPS[torch.float32]):
                by_difference = _difference(scene, batch, weight, direction * step) / step
                found.append(Slope(name, by_gradient, by_difference, float(gradient.norm()), rounding / step))
                if found[-1].agrees:
                    break
            yield min(found, key=lambda slope: abs(slope.by_difference - by_gradient))


def unused(scene: Scene, batch: Batch) -> list[str]:
    """Trained weights without a slope on which not a bit of `total` hangs, however far they are moved.

    A key's bias has no slope either, by the symmetry of softmax, but it moves the rounding of what it is added to.
    """
    total(scene, batch).backward()
    still = [name for name, weight in scene.trained().items() if weight.grad is None or not weight.grad.any()]
    _clear(scene)
    return [name for name in still if leaves_no_trace(scene.trained()[name], lambda: total(scene, batch).detach())]


def leaves_no_trace(weight: Tensor, measure: Callable[[], Tensor]) -> bool:
    """Whether what is measured keeps all its bits, however far a weight is moved."""
    before = measure().clone()
    generator = torch.Generator().manual_seed(7)
    for far in FAR:
        with _moved(weight, far * torch.randn(weight.shape, generator=generator).to(weight)):
            if not torch.equal(measure(), before):
                return False
    return True


def _difference(scene: Scene, batch: Batch, weight: Tensor, step: Tensor) -> float:
    """The central difference of `total` for a step of a weight."""
    with _moved(weight, step):
        ahead = float(total(scene, batch).detach())
    with _moved(weight, -step):
        behind = float(total(scene, batch).detach())
    return (ahead - behind) / 2


@contextmanager
def _moved(weight: Tensor, step: Tensor) -> Iterator[None]:
    """A weight moved by a step, and put back behind it with all its bits."""
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(step)
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(before)


def _clear(scene: Scene) -> None:
    for weight in scene.weights().values():
        weight.grad = None
