"""The optimizer of a run, and what plugins need to make one of their own. torch is imported inside the functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftp.errors import UserError
from ftp.settings import Settings
from ftp.types import Loss, Model, StartedRun

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


NO_RATE = 1e-30
"""Stands in for a learning rate of 0, by which nothing can be divided."""


def make_optimizer(run: StartedRun, model: Model, loss: Loss) -> Optimizer:
    """The optimizer that a plugin of the run makes, or core. Each group of weights keeps its rate as `peak`, of which the
    schedule gives a share.

    Raises:
        UserError: nothing is trainable, or a trained weight is in no group.
    """
    weights = trained_weights(model, loss)
    if not weights:
        raise UserError("no weight is trainable", "a parameterisation froze everything", "ftp plan --plugins ...")
    optimizer: Optimizer = run.hooks.one("make_optimizer", run=run, model=model, loss=loss)
    share = rate_of_averaging(run, model)
    if share < 1:
        scale_rates(optimizer, model, loss, lambda name, weight: share if _is_in(name, model.averaging) else 1.0)
    for group in optimizer.param_groups:
        group.setdefault("peak", group["lr"])
    return optimizer


def rate_of_averaging(run: StartedRun, model: Model) -> float:
    """The share of the peak rate at which modules learn that were made to average.

    Beside adapters they are trained whole: at the rate of adapters, twenty times that of all weights, a whole layer diverges.
    """
    if not model.averaging or all(weight.requires_grad for weight in model.net.parameters()):
        return 1.0
    return min(1.0, Settings().learning_rate / max(run.settings.learning_rate, NO_RATE))


def _is_in(name: str, modules: Sequence[str]) -> bool:
    """Whether a weight lies in one of some modules, also where PEFT keeps a copy of the module under a longer name."""
    return any(f".{module}." in f".{name}" for module in modules)


def adamw(model: Model, loss: Loss, settings: Settings) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019), in one kernel for all weights where torch has it for their device."""
    import torch

    weights = trained_weights(model, loss).values()
    is_fused = all(weight.device.type in ("cpu", "cuda", "mps") and weight.is_floating_point() for weight in weights)
    betas = (settings.adam_beta1, settings.adam_beta2)
    return torch.optim.AdamW(parameter_groups(model, loss, settings), betas=betas, eps=settings.adam_epsilon, fused=is_fused)


def trained_weights(model: Model, loss: Loss) -> dict[str, nn.Parameter]:
    """Every trained weight by name, once: those of the network, then those of `loss.extra` as `extra.NAME`.

    Args:
        model: its network is trained.
        loss: its `extra` is trained too, where it has one.
    """
    named = list(model.net.named_parameters())
    if loss.extra is not None:
        named += loss.extra.named_parameters("extra")
    weights: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, weight in named:
        if weight.requires_grad and id(weight) not in seen:
            weights[name] = weight
            seen.add(id(weight))
    return weights


def parameter_groups(
    model: Model, loss: Loss, settings: Settings, weights: Mapping[str, nn.Parameter] | None = None
) -> list[dict[str, Any]]:
    """The groups of weights for an optimizer: matrices, which decay, then norms and biases, which do not.

    Args:
        model: its network is trained.
        loss: its `extra` is trained too, where it has one.
        settings: those of the run: peak rate and weight decay.
        weights: only these, by name; None for every trained weight (`trained_weights`).

    Returns:
        At most two groups, each with `params`, `lr` (the peak rate) and `weight_decay`, as optimizers of PyTorch take them.
    """
    chosen = trained_weights(model, loss) if weights is None else weights
    matrices = [weight for weight in chosen.values() if weight.ndim >= 2]
    vectors = [weight for weight in chosen.values() if weight.ndim < 2]  # norms and biases
    groups: list[dict[str, Any]] = [
        {"params": matrices, "lr": settings.learning_rate, "weight_decay": settings.weight_decay},
        {"params": vectors, "lr": settings.learning_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def scale_rates(
    optimizer: Optimizer, model: Model, loss: Loss, factor: Callable[[str, nn.Parameter], float]
) -> None:
    """Let each weight learn at its own share of its peak rate, by splitting the groups of an optimizer.

    Args:
        optimizer: its groups are exchanged.
        model: its network is trained.
        loss: its `extra` is trained too, where it has one.
        factor: a weight's name (as in `trained_weights`) and the weight -> what its rate is multiplied by.
    """
    factors = {id(weight): factor(name, weight) for name, weight in trained_weights(model, loss).items()}
    groups: list[dict[str, object]] = []
    for group in optimizer.param_groups:
        parts: dict[float, list[nn.Parameter]] = {}  # factor -> the weights of the group with it
        for weight in group["params"]:
            parts.setdefault(factors[id(weight)], []).append(weight)
        for share, weights in parts.items():
            groups.append({**group, "params": weights, "lr": group["lr"] * share})
    optimizer.param_groups[:] = groups


def set_learning_rate(optimizer: Optimizer, share: float) -> None:
    """Give each group of weights `share` (0 to 1) of its own peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
