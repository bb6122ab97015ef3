"""Attention over packed rows, each to itself alone, registered with Transformers as `ftp_packed`. Heavy: imports torch.

Packed rows lie end to end in one line of tokens, so that no padding is computed anywhere else in the network. Only
attention needs rows apart: here the tokens are put into blocks of rows of similar length, attended in the block, and
taken out again (varlen attention does the same on CUDA without the blocks). Inputs that are padded go to Transformers'
own `sdpa`, so a network on `ftp_packed` takes either layout.

On a CPU attention is computed in fp32 even where the network runs in bf16: the CPU's bf16 kernel was measured to be
3.8 times slower on short rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

__all__ = ["Block", "Packing", "use_dropout_kernel"]

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

DROPOUT_KERNEL = "ftp_dropout_kernel"
"""The attribute of a module that `use_dropout_kernel` sets."""


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


DropoutKernel = Callable[[Tensor, Tensor, Tensor, float, float | None, bool, Packing], Tensor]
"""`kernel(query, key, value, p, scaling, is_causal, packing)`: packed attention with dropout, [1, heads, tokens, size] each ->
[1, tokens, heads, size]."""


def use_dropout_kernel(net: nn.Module, kernel: DropoutKernel) -> None:
    """Let a network attend to packed rows by `kernel` wherever it does so on a CPU with dropout."""
    for module in net.modules():
        setattr(module, DROPOUT_KERNEL, kernel)


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
    kernel: DropoutKernel | None = getattr(module, DROPOUT_KERNEL, None)
    if kernel is not None and packing is not None and dropout and query.device.type == "cpu":
        _check(query, key, kwargs)
        with _as_given("cpu"):
            return kernel(query, key, value, dropout, scaling, _is_causal(module, is_causal), packing), None
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
