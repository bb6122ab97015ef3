"""Attention over packed rows, each to itself alone, registered with Transformers as `ftp_packed`. Heavy: imports torch.

Packed rows lie end to end in one line of tokens, so that no padding is computed anywhere else in the network. Only
attention needs rows apart: here the tokens are put into blocks of rows of similar length, attended in the block, and
taken out again (varlen attention does the same on CUDA without the blocks). Inputs that are padded go to Transformers'
own `sdpa`, so a network on `ftp_packed` takes either layout.

On a CPU attention is computed in fp32 even where the network runs in bf16: the CPU's bf16 kernel was measured to be
3.8 times slower on short rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

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
    """Some rows side by side, as `rows` x `length` places.

    Attributes:
        rows: the number of rows.
        length: tokens of the longest of them.
        mask: `[rows, 1, 1, length] bool` which places hold a token; None: all do.
    """

    rows: int
    length: int
    mask: Tensor | None

    @property
    def size(self) -> int:
        """The number of places."""
        return self.rows * self.length


@dataclass(frozen=True)
class Packing:
    """Where the tokens of packed rows go for attention, worked out once a batch and used by every layer.

    Attributes:
        starts: `[rows + 1] int32` where each row begins, and the end.
        longest: tokens of the longest row.
        place: `[tokens] int64` the place of each token in the blocks, one block after the other.
        blocks: rows of similar length, which are attended together.
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
        around. The same for all layers.

        Gives: [places x heads] which of [tokens x heads] comes there, anything where a place is empty; and
        [tokens x heads] where each goes.
        """
        if heads not in self._of_heads:
            lengths = torch.tensor([block.length for block in self.blocks])
            sizes = torch.tensor([block.size for block in self.blocks])
            length = torch.repeat_interleave(lengths, sizes)  # [places] that of the block that the place is in
            position = torch.cat([torch.arange(block.length).repeat(block.rows) for block in self.blocks])
            row_start = torch.arange(len(position)) - position
            # a row takes heads x length places: its first head at all positions, then the next
            new_place = (row_start * heads + position)[:, None] + length[:, None] * torch.arange(heads)
            back = new_place[self.place].flatten()
            take = torch.zeros(new_place.numel(), dtype=torch.long)
            take.index_copy_(0, back, torch.arange(len(back)))
            self._of_heads[heads] = take, back
        return self._of_heads[heads]

    def parts(self, heads: int) -> Iterator[tuple[Block, slice]]:
        """Each block with its part of the places of `of_heads`."""
        offset = 0
        for block in self.blocks:
            size = block.size * heads
            yield block, slice(offset, offset + size)
            offset += size


DropoutKernel = Callable[[Tensor, Tensor, Tensor, float, float | None, bool, Packing], Tensor]
"""`kernel(query, key, value, p, scaling, is_causal, packing)`: packed attention with dropout, [1, heads, tokens, size] each ->
[1, tokens, heads, size]."""


def use_dropout_kernel(net: nn.Module, kernel: DropoutKernel) -> None:
    """Let a network attend to packed rows by a kernel wherever it does so on a CPU with dropout.

    Args:
        net: the network, whose modules are marked.
        kernel: called as `DropoutKernel` says.
    """
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
    # from where a token lies in the line to where it lies in the blocks
    shift = torch.repeat_interleave(base - starts[:-1], lengths, output_size=tokens)
    return Packing(starts, longest, shift + torch.arange(tokens, device=starts.device), blocks)


def _by_length(lengths: Tensor) -> tuple[Tensor, tuple[Block, ...]]:
    """Blocks of similar rows, longest first; and where in them each row begins."""
    order = lengths.argsort(descending=True, stable=True)
    longest_first: list[int] = lengths[order].tolist()
    base = torch.empty_like(lengths)
    blocks: list[Block] = []
    offset = 0
    first = 0
    while first < len(longest_first):
        end = _end_of_block(longest_first, first)
        longest = longest_first[first]
        rows = order[first:end]
        base[rows] = offset + torch.arange(end - first) * longest
        is_taken = torch.arange(longest) < lengths[rows, None]
        # rows of one length need no mask, and attention without one takes the faster kernel
        mask = None if longest_first[end - 1] == longest else is_taken[:, None, None]
        block = Block(end - first, longest, mask)
        blocks.append(block)
        offset += block.size
        first = end
    return base, tuple(blocks)


def _end_of_block(lengths: Sequence[int], first: int) -> int:
    """The end of the block that begins with row `first` of rows sorted by length, longest first."""
    longest = lengths[first]
    end = first + 1
    while end < len(lengths):
        is_similar = lengths[end] >= WASTE * longest
        is_small = (end - first) * longest < FEWEST
        if not is_similar and not is_small:
            break
        end += 1
    return end


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
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Attend as Transformers asks: query [batch, heads, tokens, size] -> [batch, tokens, heads, size].

    With a `packing` (batch 1) each row attends to itself alone; without, this is Transformers' `sdpa`.
    Raises ValueError for attention that has no packed form here (sliding windows, soft caps, position biases).
    """
    dtype = query.dtype
    is_on_cpu = query.device.type == "cpu"
    # autocast of a CPU would turn fp32 attention back into bf16
    autocast = torch.autocast("cpu", enabled=False) if is_on_cpu else nullcontext()
    if packing is None:
        if attention_mask is not None and attention_mask.dtype == torch.int32:
            raise ValueError("this network does not hand `packing` to its attention; use padded rows")
    else:
        _check(query, key, kwargs)
    causal = is_causal
    if causal is None:  # the layer knows
        causal = bool(getattr(module, "is_causal", True))
    kernel: DropoutKernel | None = getattr(module, DROPOUT_KERNEL, None)
    if kernel is not None and packing is not None and dropout and is_on_cpu:
        with autocast:
            return kernel(query, key, value, dropout, scaling, causal, packing), None
    if is_on_cpu and dtype != torch.float64:
        query, key, value = query.float(), key.float(), value.float()
        kwargs = {name: _float(argument) for name, argument in kwargs.items()}
    with autocast:
        if packing is None:
            out, _ = sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs
            )
        elif varlen_attn is not None and query.is_cuda and dtype != torch.float32 and not dropout:
            out = _varlen(query, key, value, scaling, causal, packing)
        else:
            out = _in_blocks(module, query, key, value, dropout, scaling, causal, packing)
    return out.to(dtype), None


def _check(query: Tensor, key: Tensor, kwargs: Mapping[str, object]) -> None:
    """Raise ValueError for attention that has no packed form here."""
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
    """Attention block by block: [1, heads, tokens, size] each -> [1, tokens, heads, size]."""
    queries, keys, values = (_put(x, packing) for x in (query, key, value))
    outputs = []
    for block, q, k, v in zip(packing.blocks, queries, keys, values, strict=True):
        # a causal row never sees what comes after it, so padding on the right needs no mask
        mask = None if causal else block.mask
        out, _ = sdpa_attention_forward(module, q, k, v, mask, dropout, scaling, causal)
        outputs.append(out.flatten(0, 1))
    together = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return together.index_select(0, packing.place)[None]


def _put(x: Tensor, packing: Packing) -> list[Tensor]:
    """Tokens [1, heads, tokens, size] -> the rows of each block, [rows, heads, length, size]."""
    tokens = x.squeeze(0).transpose(0, 1)
    sizes = [block.size for block in packing.blocks]
    places = tokens.new_zeros(sum(sizes), *tokens.shape[1:]).index_copy(0, packing.place, tokens)
    rows_of_blocks = []
    for block, part in zip(packing.blocks, places.split(sizes), strict=True):
        rows_of_blocks.append(part.view(block.rows, block.length, *part.shape[1:]).transpose(1, 2))
    return rows_of_blocks


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, causal: bool, packing: Packing
) -> Tensor:
    """Attention of CUDA that knows where rows begin: [1, heads, tokens, size] each -> [1, tokens, heads, size]."""
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    window = (-1, 0) if causal else (-1, -1)
    # fewer heads of keys than of queries
    is_grouped = q.shape[1] != k.shape[1]
    starts, longest = packing.starts, packing.longest
    out: Tensor = varlen_attn(
        q, k, v, starts, starts, longest, longest, scale=scaling, window_size=window, enable_gqa=is_grouped
    )
    return out[None]


def _float(argument: object) -> object:
    """A tensor of floating-point numbers in fp32, and anything else as it is."""
    return argument.float() if isinstance(argument, Tensor) and argument.is_floating_point() else argument


AttentionInterface.register(NAME, ftp_packed)
AttentionMaskInterface.register(NAME, sdpa_mask)
