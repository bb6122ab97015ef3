"""Dropout on a CPU: from fewer random numbers, and inside packed attention in fewer passes. Heavy: imports torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from ftp.net.packed_attention import Block, Packing

_LANES = 4
"""Random numbers of 16 bits in one drawn number of 64."""


def keep_mask(like: Tensor, p: float) -> Tensor:
    """What dropout multiplies by: 0 with probability `p`, else 1/(1-p), in the shape and dtype of `like`.

    `p` is rounded to 1/65536: one drawn number of 64 bits decides over four elements, which takes a fifth of the time
    of a draw for each. From torch's generator, so seeds and gradient checkpointing hold.
    """
    dropped = round(p * 65536)
    if dropped >= 65536:
        return torch.zeros_like(like)
    drawn = torch.empty(-(-like.numel() // _LANES), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    kept = drawn.view(torch.int16)[: like.numel()] >= dropped - 32768
    return kept.to(like.dtype).mul_(65536 / (65536 - dropped)).view(like.shape)


class QuickDropout(nn.Dropout):  # type: ignore[misc]
    """`nn.Dropout` with `keep_mask`."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        return input * keep_mask(input, self.p)


def quick_dropout(net: nn.Module) -> int:
    """Draw dropout on a CPU from fewer random numbers; says for how many modules."""
    modules = [module for module in net.modules() if type(module) is nn.Dropout]
    for module in modules:
        module.__class__ = QuickDropout
    return len(modules)


class _Dropped(torch.autograd.Function):  # type: ignore[misc]
    """Attention of packed rows with dropout, [tokens, heads, size] each, as one step forward and one back: torch's own
    kernel for a CPU knows no dropout, and its plain one takes more passes over the scores and keeps more of them."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, query: Tensor, key: Tensor, value: Tensor, packing: Packing, p: float, scale: float, causal: bool
    ) -> Tensor:
        heads, size = query.shape[1:]
        take, back = packing.of_heads(heads)
        q, k, v = (_wide(x.reshape(-1, size).index_select(0, take)) for x in (query, key, value))
        out, kept = torch.empty_like(q), []
        for block, part in packing.parts(heads):
            scores = torch.bmm(_lines(q, block, part), _lines(k, block, part).transpose(1, 2)).mul_(scale)
            if causal:
                scores.add_(torch.full_like(scores[0], torch.finfo(scores.dtype).min).triu_(1))
            elif block.mask is not None:
                scores.view(block.rows, heads, *scores.shape[1:]).masked_fill_(~block.mask, torch.finfo(scores.dtype).min)
            shares = scores.softmax(-1)
            keep = keep_mask(shares, p)
            dropped = shares * keep
            torch.bmm(dropped, _lines(v, block, part), out=_lines(out, block, part))
            kept += [shares, keep, dropped]
        ctx.save_for_backward(q, k, v, *kept)
        ctx.packing, ctx.scale, ctx.dtypes = packing, scale, [x.dtype for x in (query, key, value)]
        return out.index_select(0, back).view(-1, heads, size).to(query.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        heads, size = gradient.shape[1:]
        _, back = ctx.packing.of_heads(heads)
        # rows lie in blocks of like length, as in the pass forward; slots of padding get no gradient
        laid = torch.zeros_like(q).index_copy_(0, back, gradient.reshape(-1, size).to(q.dtype))
        found = [torch.empty_like(q) for _ in range(3)]
        for number, (block, part) in enumerate(ctx.packing.parts(heads)):
            shares, keep, dropped = kept[3 * number : 3 * number + 3]
            slope = _lines(laid, block, part)
            for_q, for_k, for_v = (_lines(x, block, part) for x in found)
            torch.bmm(dropped.transpose(1, 2), slope, out=for_v)
            for_shares = torch.bmm(slope, _lines(v, block, part).transpose(1, 2)).mul_(keep)
            for_scores = torch._softmax_backward_data(for_shares, shares, -1, shares.dtype).mul_(ctx.scale)
            torch.bmm(for_scores, _lines(k, block, part), out=for_q)
            torch.bmm(for_scores.transpose(1, 2), _lines(q, block, part), out=for_k)
        gradients = (x.to(dtype).index_select(0, back) for x, dtype in zip(found, ctx.dtypes, strict=True))
        return *(x.view(-1, heads, size) for x in gradients), None, None, None, None


def _lines(x: Tensor, block: Block, part: slice) -> Tensor:
    """The places of a block as [rows x heads, length, size]."""
    return x[part].view(-1, block.length, x.shape[1])


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def packed_dropout(
    query: Tensor, key: Tensor, value: Tensor, p: float, scaling: float | None, causal: bool, packing: Packing
) -> Tensor:
    """Packed attention with dropout on a CPU, [1, heads, tokens, size] -> [1, tokens, heads, size]."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    lines = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
    out: Tensor = _Dropped.apply(*lines, packing, p, scale, causal)
    return out[None]
