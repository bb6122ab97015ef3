"""Where in a network adapters belong, found by watching one short row go through it. Heavy: imports torch.

A network's blocks are the members of its module lists that hold an attention. Names tell attention from the rest (`attn`,
`attention`, in any spelling); everything else is read from what is called, in which order, and what it gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ftp import UserError
from ftp.model import evaluating, use_cache
from ftp_adapters.modeling_adapters import Place

ATTENTION = re.compile(r"att(entio)?n", re.IGNORECASE)
NORM = re.compile(r"norm|^ln", re.IGNORECASE)
PLACEMENTS = ("pfeiffer", "houlsby", "parallel")


@dataclass
class Block:
    """What one pass showed of a block. `calls`: names of linear layers within it, in order; `input_sizes`, `output_sizes`: the
    width of each; `norms`: outputs of norms by name; `last_norm`: the norm whose output is the block's, where it ends in one;
    `size`: numbers a token of the block's output, 0 where it was not called."""

    name: str
    calls: list[str] = field(default_factory=list)
    input_sizes: dict[str, int] = field(default_factory=dict)
    output_sizes: dict[str, int] = field(default_factory=dict)
    norms: dict[str, Tensor] = field(default_factory=dict)
    last_norm: str = ""
    size: int = 0


def find(net: PreTrainedModel, placement: str, layers: tuple[int, ...] = ()) -> list[Place]:
    """The places of adapters for `put`.

    Args:
        layers: numbers of the blocks that get some; none: all.
    Raises:
        UserError: the network has no such blocks.
    """
    blocks = watch(net)
    for layer in layers:
        if layer >= len(blocks):
            raise UserError(f"--adapters.layers {layer}: the network has {len(blocks)} blocks", f"0 to {len(blocks) - 1}")
    places = []
    for layer, block in enumerate(blocks):
        if not layers or layer in layers:
            places += _places_of(block, placement, type(net).__name__)
    return places


def _places_of(block: Block, placement: str, kind: str) -> list[Place]:
    outer: list[str] = []
    last_of_attention: dict[str, str] = {}  # of each attention, as decoders with an encoder have two
    for name in block.calls:
        attention = _attention(block.name, name)
        if attention:
            last_of_attention[attention] = name
        elif "router" not in name:
            outer.append(name)
    ends = list(last_of_attention.values())
    if not ends or not outer or any(block.output_sizes[name] != block.size for name in (*ends, outer[-1])):
        raise UserError(f"adapters: block {block.name} of {kind} is not an attention followed by a feed-forward part",
                        "name another method: lora finds its places by the names of layers", "ftp plugins")
    feed_forward = outer[-1]
    if placement == "houlsby":
        return [{"module": name, "how": "after", "size": block.size} for name in (*ends, feed_forward)]
    if placement == "parallel":
        reads = next((name for name in outer if block.input_sizes[name] == block.size), feed_forward)
        return [{"module": feed_forward, "how": "beside", "reads": reads, "size": block.size}]
    if block.last_norm:
        return [{"module": block.last_norm, "how": "norm", "size": block.size}]
    return [{"module": block.name, "how": "after", "size": block.size}]


def watch(net: PreTrainedModel) -> list[Block]:
    """What one row shows of each block, in order. Leaves the network as it was."""
    names = {module: name for name, module in net.named_modules()}
    blocks = {module: Block(name) for name, module in _blocks(net)}
    if not blocks:
        raise UserError(f"adapters: {type(net).__name__} has no blocks with an attention",
                        "name another method: lora finds its places by the names of layers", "ftp plugins")
    block_of: dict[nn.Module, Block] = {}
    for block_module, block in blocks.items():
        block_of |= dict.fromkeys(block_module.modules(), block)

    def note_linear(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        block = block_of[module]
        name = names[module]
        if name in block.calls:
            block.calls.remove(name)  # shared blocks are called again
        block.calls.append(name)
        block.input_sizes[name] = args[0].shape[-1]
        block.output_sizes[name] = output.shape[-1]

    def note_norm(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        block_of[module].norms[names[module]] = output

    def note_block(module: nn.Module, args: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        block = blocks[module]
        states = output[0] if isinstance(output, tuple) else output
        block.size = states.shape[-1]
        block.last_norm = next((name for name, tensor in block.norms.items() if tensor is states), "")
        block.norms.clear()

    with ExitStack() as stack:
        for module in block_of:
            if isinstance(module, (nn.Linear, Conv1D)):
                stack.callback(module.register_forward_hook(note_linear).remove)
            elif NORM.search(type(module).__name__) or NORM.search(names[module].rsplit(".", 1)[-1]):
                stack.callback(module.register_forward_hook(note_norm).remove)
        for module in blocks:
            stack.callback(module.register_forward_hook(note_block).remove)
        stack.enter_context(_without_training(net))
        row = {"input_ids": torch.tensor([[1, 2]], device=next(net.parameters()).device)}
        if net.config.is_encoder_decoder:
            row["decoder_input_ids"] = row["input_ids"]
        net(**row)
    return [block for block in blocks.values() if block.size]


def _blocks(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Members of module lists that hold an attention, the outermost."""
    blocks: list[str] = []
    for name, module in net.named_modules():
        if not isinstance(module, nn.ModuleList) or any(name.startswith(f"{block}.") for block in blocks):
            continue
        for number, child in module.named_children():
            if any(ATTENTION.search(part) for part, _ in child.named_modules()):
                blocks.append(f"{name}.{number}")
                yield blocks[-1], child


def _attention(block: str, name: str) -> str:
    """The outermost attention of a block that a module lies in; empty for none."""
    parts = name[len(block) + 1 :].split(".")
    for number, part in enumerate(parts):
        if ATTENTION.search(part) and not NORM.search(part):
            return ".".join(parts[: number + 1])
    return ""


@contextmanager
def _without_training(net: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode without gradients; the modes come back. With a cache of keys, where Transformers does not read from the
    positions whether rows are packed, which a plan's network (without weights, on the meta device) has no numbers for."""
    used_cache = bool(getattr(net.config.get_text_config(), "use_cache", False))
    is_encoder_alone = hasattr(net.base_model, "encoder") and not net.config.is_encoder_decoder  # T5's, for tags, refuses one
    use_cache(net.config, not is_encoder_alone)
    try:
        with evaluating(net), torch.no_grad():
            yield
    finally:
        use_cache(net.config, used_cache)
