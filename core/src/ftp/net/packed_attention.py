"""Attention over packed rows, each to itself alone, registered with Transformers as `ftp_packed`. Heavy: imports torch.

Packed rows lie end to end in one line of tokens, so that no padding is computed anywhere else in the network. Only
attention needs rows apart: here the tokens are put into blocks of rows of similar length, attended in the block, and
taken out again (varlen attention does the same on CUDA without the blocks). Inputs that are padded go to Transformers'
own `sdpa`, so a network on `ftp_packed` takes either layout.

On a CPU attention is computed in fp32 even where the network runs in bf16: the CPU's bf16 kernel was measured to be
3.8 times slower on short rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ftp.net.fast import keep_mask

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # older torch: blocks on CUDA too
    varlen_attn = None

NAME = "ftp_packed"
"""The name under which Transformers knows this attention: `net.set_attn_implementation(ftp.net.packed_attention.NAME)`."""

WASTE = 0.75
"""A row joins a block of longer rows if it is at least this share of their length."""

FEWEST = 256
"""Tokens in a block below which it takes shorter rows as well: a call costs more than the padding it saves."""


@dataclass(frozen=True)
class Block:
    """Some rows side by side: `rows` x `length` places; `mask` [rows, 1, 1, length] is None where all are taken."""

    rows: int
    length: int
    mask: Tensor | None


@dataclass(frozen=True)
class Packing:
    """How the tokens of packed rows find each other, worked out once a batch and used by every layer.

    `starts`: [rows + 1] int32, where each row begins, and the end. `longest`: tokens in the longest row.
    `place`: [tokens] the place of each token in the blocks, one block after the other.
    """

    starts: Tensor
    longest: int
    place: Tensor
    blocks: tuple[Block, ...]
    _of_heads: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def mask(self) -> Tensor:
        """What the network takes for its attention mask: Transformers hands a 4D mask on as it is, and any other
        attention chokes on this one, so packed rows cannot silently meet a network that would mix them."""
        return self.starts.view(1, 1, 1, -1)

    def of_heads(self, heads: int) -> tuple[Tensor, Tensor]:
        """Places that hold each row's heads one after the other, so that a block is one product without being turned
        around: ([places x heads] what of [tokens x heads] comes there, anything where a place is empty; [tokens x heads]
        where each went). The same for all layers."""
        if heads not in self._of_heads:
            sizes = [block.rows * block.length for block in self.blocks]
            length = torch.repeat_interleave(torch.tensor([block.length for block in self.blocks]), torch.tensor(sizes))
            inside = torch.cat([torch.arange(block.length).repeat(block.rows) for block in self.blocks])
            row = torch.arange(len(inside)) - inside
            went = (row * heads + inside)[:, None] + length[:, None] * torch.arange(heads)
            back = went[self.place].flatten()
            take = torch.zeros(went.numel(), dtype=torch.long).index_copy_(0, back, torch.arange(len(back)))
            self._of_heads[heads] = take, back
        return self._of_heads[heads]

    def parts(self, heads: int) -> Iterator[tuple[Block, slice]]:
        """Each block with its part of the places of `of_heads`."""
        offset = 0
        for block in self.blocks:
            size = block.rows * block.length * heads
            yield block, slice(offset, offset + size)
            offset += size


def packing(starts: Tensor, longest: int, tokens: int) -> Packing:
    """Plan the blocks for packed rows: by length on a CPU, one block elsewhere (nothing is read from the device)."""
    lengths = starts.diff().long()
    if starts.device.type == "cpu":
        base, blocks = _by_length(lengths)
    else:
        base = torch.arange(len(lengths), device=starts.device) * longest
        inside = torch.arange(longest, device=starts.device) < lengths[:, None]
        blocks = (Block(len(lengths), longest, inside[:, None, None]),)
    shift = torch.repeat_interleave(base - starts[:-1], lengths, output_size=tokens)
    return Packing(starts, longest, shift + torch.arange(tokens, device=starts.device), blocks)


def _by_length(lengths: Tensor) -> tuple[Tensor, tuple[Block, ...]]:
    """Blocks of similar rows, longest first; and where in them each row begins."""
    order = lengths.argsort(descending=True, stable=True)
    ordered: list[int] = lengths[order].tolist()
    base, blocks, offset, first = torch.empty_like(lengths), [], 0, 0
    while first < len(ordered):
        longest, last = ordered[first], first + 1
        while last < len(ordered) and (
            ordered[last] >= WASTE * longest or (last - first) * longest < FEWEST
        ):
            last += 1
        rows = order[first:last]
        base[rows] = offset + torch.arange(last - first) * longest
        inside = torch.arange(longest) < lengths[rows, None]
        mask = None if ordered[last - 1] == longest else inside[:, None, None]
        blocks.append(Block(last - first, longest, mask))
        offset, first = offset + (last - first) * longest, last
    return base, tuple(blocks)


def ftp_packed(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    packing: Packing | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as Transformers asks: query [batch, heads, tokens, size] -> [batch, tokens, heads, size].

    With a `packing` (batch 1) each row attends to itself alone; without, this is Transformers' `sdpa`.
    Raises ValueError for attention that has no packed form here (sliding windows, soft caps, position biases).
    """
    dtype = query.dtype
    if packing is not None and dropout and query.device.type == "cpu":
        _check(query, key, kwargs)
        with _as_given("cpu"):
            return _with_dropout(query, key, value, dropout, scaling, _is_causal(module, is_causal), packing), None
    if query.device.type == "cpu" and dtype != torch.float64:
        query, key, value = query.float(), key.float(), value.float()
        kwargs = {name: _float(given) for name, given in kwargs.items()}
    with _as_given(query.device.type):
        if packing is None:
            if attention_mask is not None and attention_mask.dtype == torch.int32:
                raise ValueError("this network does not hand `packing` to its attention; use padded rows")
            out, _ = sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs
            )
            return out.to(dtype), None
        _check(query, key, kwargs)
        causal = _is_causal(module, is_causal)
        if varlen_attn is not None and query.is_cuda and dtype != torch.float32 and not dropout:
            out = _varlen(query, key, value, scaling, causal, packing)
        else:
            out = _in_blocks(module, query, key, value, dropout, scaling, causal, packing)
    return out.to(dtype), None


def _is_causal(module: nn.Module, given: bool | None) -> bool:
    return bool(getattr(module, "is_causal", True) if given is None else given)


def _check(query: Tensor, key: Tensor, kwargs: dict[str, Any]) -> None:
    for name in ("sliding_window", "softcap", "position_bias", "s_aux", "cache"):
        if kwargs.get(name) is not None:
            raise ValueError(f"packed rows have no attention with `{name}` here; use padded rows")
    if query.shape[0] != 1 or key.shape[2] != query.shape[2]:
        raise ValueError("packed rows are one line of tokens that attends to itself; use padded rows")


def _in_blocks(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float,
    scaling: float | None,
    causal: bool,
    packing: Packing,
) -> Tensor:
    sizes = [block.rows * block.length for block in packing.blocks]
    laid = [_put(x, packing.place, sizes) for x in (query, key, value)]
    done = []
    for block, q, k, v in zip(packing.blocks, *laid, strict=True):
        q, k, v = (x.view(block.rows, block.length, *x.shape[1:]).transpose(1, 2) for x in (q, k, v))
        # A causal row never sees what comes after it, so padding on the right needs no mask.
        mask = None if causal else block.mask
        out, _ = sdpa_attention_forward(module, q, k, v, mask, dropout, scaling, causal)
        done.append(out.flatten(0, 1))
    together = done[0] if len(done) == 1 else torch.cat(done)
    return together.index_select(0, packing.place)[None]


class _Dropped(torch.autograd.Function):  # type: ignore[misc]
    """Attention of packed rows with dropout, [tokens, heads, size] each, as one step forward and one back: torch's own
    kernel for a CPU knows no dropout, and its plain one takes more passes over the scores and keeps more of them."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, packing: Packing, p: float, scale: float, causal: bool
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
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        heads, size = gradient.shape[1:]
        _, back = ctx.packing.of_heads(heads)
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


def _with_dropout(
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


def _put(x: Tensor, place: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    """Tokens [1, heads, tokens, size] -> the places of each block, [places, heads, size]."""
    tokens = x.squeeze(0).transpose(0, 1)
    places: tuple[Tensor, ...] = tokens.new_zeros(sum(sizes), *tokens.shape[1:]).index_copy(0, place, tokens).split(sizes)
    return places


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, causal: bool, packing: Packing
) -> Tensor:
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    window = (-1, 0) if causal else (-1, -1)
    grouped = q.shape[1] != k.shape[1]
    starts, longest = packing.starts, packing.longest
    out: Tensor = varlen_attn(
        q, k, v, starts, starts, longest, longest, scale=scaling, window_size=window, enable_gqa=grouped
    )
    return out[None]


def _as_given(device: str) -> AbstractContextManager[Any]:
    """No autocast on a CPU: it would turn fp32 attention back into bf16."""
    return torch.autocast("cpu", enabled=False) if device == "cpu" else nullcontext()


def _float(given: Any) -> Any:
    return given.float() if isinstance(given, Tensor) and given.is_floating_point() else given


AttentionInterface.register(NAME, ftp_packed)
AttentionMaskInterface.register(NAME, sdpa_mask)
