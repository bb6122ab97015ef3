"""The gradient of a loss, held against differences of its `total`. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ftp.errors import PluginError
from ftp.train.seeds import seed_step
from ftp.types import Batch
from ftp_testing.scene import Scene

STEPS = {torch.float64: (1e-4, 1e-5), torch.float32: (1e-2, 3e-3, 1e-3)}
"""By how much each number of a weight is moved, by the type of `total`: large ones for its rounding, small ones for bends."""
DIRECTIONS = 2
"""Random directions of each weight."""
TOLERANCE = {torch.float64: 1e-4, torch.float32: 0.05}
"""By what share of the slope a difference may deviate: the loss bends within a step. In double precision that of the shipped
plugins deviates by less than a tenth of this."""
ROUNDING = 16
"""By how many units in the last place of `total` a difference of two may be wrong."""
PRODUCTS = frozenset({
    functional.linear, functional.layer_norm, functional.scaled_dot_product_attention, torch.matmul, torch.bmm, torch.addmm,
    torch.baddbmm, Tensor.matmul, Tensor.__matmul__,
})
"""What takes no tensors of mixed precision: a network of the plugin's own (a teacher) may be single."""
FAR = (1.0, 10.0, 100.0)
"""How far a weight is moved to see whether anything depends on it."""


@dataclass(frozen=True)
class Slope:
    """How `total` changes along a random direction of a weight, in nats a unit. `size`: the norm of the weight's gradient, which
    is how large such slopes are; `tolerance`: by what share of the slope the difference may be wrong; `rounding`: by how much more."""

    weight: str
    by_gradient: float
    by_difference: float
    size: float
    tolerance: float
    rounding: float

    @property
    def agrees(self) -> bool:
        allowed = self.tolerance * max(self.size, abs(self.by_difference)) + self.rounding
        return abs(self.by_difference - self.by_gradient) <= allowed


def total(scene: Scene, batch: Batch) -> Tensor:
    """The loss of a batch as training computes it; what it draws (dropout, noise) is the same each time."""
    seed_step(0, 0, 0)
    return scene.loss.compute(batch).total


class Doubled(TorchFunctionMode):  # type: ignore[misc]
    """Gives double precision to whatever asks for single: code often computes a loss from `logits.float()`."""

    def __torch_function__(
        self, function: Callable[..., object], types: object, args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        doubled = _doubled_tensor if function in PRODUCTS else _doubled
        return function(*map(doubled, args), **{name: doubled(value) for name, value in (kwargs or {}).items()})


def _doubled(value: object) -> object:
    return torch.float64 if value is torch.float32 else value


def _doubled_tensor(value: object) -> object:
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        return value.double()
    return _doubled(value)


@contextmanager
def in_double(scene: Scene, batch: Batch) -> Iterator[bool]:
    """Compute the loss in double precision, where the plugin's code can: differences are exact then. Yields whether it can."""
    modules: list[torch.nn.Module] = [scene.model.net]
    if scene.loss.extra is not None:
        modules.append(scene.loss.extra)
    if scene.model.reference is not None:
        with scene.model.reference() as net:
            modules.append(net)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Doubled():
            for module in modules:
                module.double()
            try:
                value = total(scene, batch)
                value.backward()
                is_double = value.dtype == torch.float64
            except (RuntimeError, TypeError, PluginError):  # code that leaves torch on the way
                is_double = False
            _clear(scene)
            if is_double:
                yield True
                return
    finally:
        torch.set_default_dtype(before)
    for module in modules:
        module.float()
    yield False


def slopes(scene: Scene, batch: Batch) -> Iterator[Slope]:
    """The slopes of `total` along random directions of each trained weight; of several steps the first that agrees, or the last."""
    value = total(scene, batch)
    value.backward()
    gradients = {name: weight.grad for name, weight in scene.trained().items()}
    _clear(scene)
    precision = value.dtype if value.dtype in STEPS else torch.float32
    rounding = ROUNDING * torch.finfo(value.dtype).eps * max(1.0, abs(float(value.detach())))
    # a direction may not move what torch gives no gradient by its own rule
    padding = _padding_rows(scene)
    generator = torch.Generator().manual_seed(7)
    for name, weight in sorted(scene.trained().items()):
        gradient = gradients[name]
        gradient = torch.zeros_like(weight) if gradient is None else gradient.detach()
        for _ in range(DIRECTIONS):
            direction = torch.randn(weight.shape, generator=generator, dtype=torch.float32).to(weight)
            if name in padding:
                direction[padding[name]] = 0.0
            by_gradient = float((gradient * direction).sum())
            differences: list[float] = []
            for step in STEPS[precision]:
                differences.append(_difference(scene, batch, weight, direction * step) / step)
                # code that rounds to single precision on the way shows in how far two steps lie apart
                apart = abs(differences[-1] - differences[-2]) if len(differences) > 1 else 0.0
                slope = Slope(name, by_gradient, differences[-1], float(gradient.norm()), TOLERANCE[precision], rounding / step + apart)
                if slope.agrees:
                    break
            yield slope


def _padding_rows(scene: Scene) -> dict[str, int]:
    """The row of each table of embeddings that gets no gradient by torch's rule, whatever is computed from it (`padding_idx`)."""
    padding: dict[int, int] = {}  # by the identity of the table
    for module in scene.model.net.modules():
        if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
            padding[id(module.weight)] = module.padding_idx
    return {name: padding[id(weight)] for name, weight in scene.weights().items() if id(weight) in padding}


def unused(scene: Scene, batch: Batch) -> list[str]:
    """Trained weights without a slope on which not a bit of `total` depends, however far they are moved.

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
    # far enough that any dependence shows in the last bit of single precision
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
