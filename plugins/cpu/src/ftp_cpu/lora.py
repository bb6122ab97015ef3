"""PEFT's LoRA layers as one step forward and one back, in fewer passes over memory. Heavy: imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.functional import linear


class _LoraProduct(torch.autograd.Function):  # type: ignore[misc]
    """y = x W' + bias + s (x A') B' and its gradients for x, A and B, without a pass over y for the sum.

    Source of the formula: Hu et al. 2021, LoRA, section 4.1.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        """`weight`, `bias` and the result are in the dtype of the products; x, A and B in any."""
        dtype = weight.dtype
        flat, a, b = x.reshape(-1, x.shape[-1]).to(dtype), (a * scaling).to(dtype), b.to(dtype)
        small = flat @ a.T
        y = linear(flat, weight, bias).addmm_(small, b.T)
        ctx.save_for_backward(flat, weight, a, b, small)
        ctx.scaling = scaling
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, small = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1]).to(weight.dtype)
        through = flat @ b
        for_x = None
        if ctx.needs_input_grad[0]:
            for_x = (flat @ weight).addmm_(through, a).view(*gradient.shape[:-1], -1)
        for_a = _wide(through.T @ x).mul_(ctx.scaling) if ctx.needs_input_grad[3] else None
        for_b = _wide(flat.T @ small) if ctx.needs_input_grad[4] else None
        return for_x, None, None, for_a, for_b, None


@cache
def _quick_lora(plain: type[nn.Module]) -> type[nn.Module]:
    """PEFT's LoRA layer over a frozen `nn.Linear`, through `_LoraProduct` wherever the layer is that simple."""

    class QuickLora(plain):  # type: ignore[misc]
        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            name = self._quick_adapter(args, kwargs)
            if name is None:
                return super().forward(x, *args, **kwargs)
            kind = x.device.type
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
            weight, bias = self._frozen(dtype)
            a, b = self.lora_A[name].weight, self.lora_B[name].weight
            with torch.autocast(kind, enabled=False):
                return _LoraProduct.apply(x, weight, bias, a, b, self.scaling[name])

        def _quick_adapter(self, args: Sequence[object], kwargs: Mapping[str, object]) -> str | None:
            names = self.active_adapters
            if args or kwargs or self.disable_adapters or self.merged or len(names) != 1:
                return None
            name: str = names[0]
            base = self.base_layer
            is_plain = (
                name in self.lora_A
                and name not in self.lora_variant
                and isinstance(self.lora_dropout[name], nn.Identity)
                and not self.lora_bias[name]
                and self.lora_A[name].weight.requires_grad
            )
            is_frozen = type(base) is nn.Linear and not any(weight.requires_grad for weight in base.parameters())
            return name if is_plain and is_frozen else None

        def _frozen(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
            """The frozen weight and bias in `dtype`, cast once and kept as long as they stay what they are."""
            base = self.base_layer
            state = (base.weight.data_ptr(), base.weight._version, base.weight.device, dtype)
            if self.__dict__.get("_cast_of") != state:
                bias = None if base.bias is None else base.bias.detach().to(dtype)
                self.__dict__["_cast"] = (base.weight.detach().to(dtype), bias)
                self.__dict__["_cast_of"] = state
            return self.__dict__["_cast"]  # type: ignore[no-any-return]

    return QuickLora


def quick_lora(net: nn.Module) -> int:
    """Compute PEFT's LoRA layers in one step forward and one backward; says for how many layers."""
    if not hasattr(net, "peft_config"):
        return 0
    from peft.tuners.lora import Linear

    quick = _quick_lora(Linear)
    layers = [module for module in net.modules() if type(module) is Linear]
    for layer in layers:
        layer.__class__ = quick
    return len(layers)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
