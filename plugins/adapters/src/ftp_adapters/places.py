"""Where in a network adapters belong, found by watching one short row go through it. Heavy: imports torch.

A network's blocks are the members of its module lists that hold an attention. Names tell attention from the rest (`attn`,
`attention`, in any spelling); everything else is read from what is called, in which order, and what it gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ftp import UserError
from ftp.model import evaluating, use_cache

ATTENTION = re.compile(r"att(entio)?n", re.IGNORECASE)
NORM = re.compile(r"norm|^ln", re.IGNORECASE)
PLACEMENTS = ("pfeiffer", "houlsby", "parallel")


@dataclass
class Seen:
    """What one pass showed of a block. `calls`: names of linear layers within it, in order; `given`, `gave`: the width of each;
    `last`: the norm whose output is the block's, where it ends in one."""

    name: str
    calls: list[str] = field(default_factory=list)
    given: dict[str, int] = field(default_factory=dict)
    gave: dict[str, int] = field(default_factory=dict)
    norms: dict[str, Tensor] = field(default_factory=dict)
    last: str = ""
    size: int = 0


def find(net: Any, placement: str, layers: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """The places of adapters for `put`. `layers`: numbers of the blocks that get some; none: all. Raises `UserError` where the
    network has no such blocks."""
    blocks = watch(net)
    if unknown := [one for one in layers if one >= len(blocks)]:
        raise UserError(f"--adapters.layers {unknown[0]}: the network has {len(blocks)} blocks", f"0 to {len(blocks) - 1}")
    places = []
    for number, block in enumerate(blocks):
        if not layers or number in layers:
            places += _of(block, placement, type(net).__name__)
    return places


def _of(block: Seen, placement: str, kind: str) -> list[dict[str, Any]]:
    inner = [name for name in block.calls if _attention(block.name, name)]
    outer = [name for name in block.calls if not _attention(block.name, name) and "router" not in name]
    ends = list({_attention(block.name, name): name for name in inner}.values())  # the last of each attention
    if not inner or not outer or block.gave[outer[-1]] != block.size or any(block.gave[name] != block.size for name in ends):
        raise UserError(f"adapters: block {block.name} of {kind} is not an attention followed by a feed-forward part",
                        "name another method: lora finds its places by the names of layers", "ftp plugins")
    feed = outer[-1]
    first = next((name for name in outer if block.given[name] == block.size), feed)
    if placement == "houlsby":
        return [{"module": name, "how": "after", "size": block.size} for name in (*ends, feed)]
    if placement == "parallel":
        return [{"module": feed, "how": "beside", "reads": first, "size": block.size}]
    if block.last:
        return [{"module": block.last, "how": "norm", "size": block.size}]
    return [{"module": block.name, "how": "after", "size": block.size}]


def watch(net: Any) -> list[Seen]:
    """What one row shows of each block, in order. Leaves the network as it was."""
    names = {module: name for name, module in net.named_modules()}
    blocks = {module: Seen(name) for name, module in _blocks(net)}
    if not blocks:
        raise UserError(f"adapters: {type(net).__name__} has no blocks with an attention",
                        "name another method: lora finds its places by the names of layers", "ftp plugins")
    inside: dict[nn.Module, Seen] = {}
    for module, seen in blocks.items():
        for inner in module.modules():
            inside[inner] = seen

    def linear(module: nn.Module, args: Any, output: Any) -> None:
        seen, name = inside[module], names[module]
        if name in seen.calls:
            seen.calls.remove(name)  # shared blocks are called again
        seen.calls.append(name)
        seen.given[name], seen.gave[name] = args[0].shape[-1], output.shape[-1]

    def norm(module: nn.Module, args: Any, output: Any) -> None:
        inside[module].norms[names[module]] = output

    def whole(module: nn.Module, args: Any, output: Any) -> None:
        seen, out = blocks[module], output[0] if isinstance(output, tuple) else output
        seen.size = out.shape[-1]
        seen.last = next((name for name, tensor in seen.norms.items() if tensor is out), "")
        seen.norms.clear()

    with ExitStack() as stack:
        for module in inside:
            if isinstance(module, (nn.Linear, Conv1D)):
                stack.callback(module.register_forward_hook(linear).remove)
            elif NORM.search(type(module).__name__) or NORM.search(names[module].rsplit(".", 1)[-1]):
                stack.callback(module.register_forward_hook(norm).remove)
        for module in blocks:
            stack.callback(module.register_forward_hook(whole).remove)
        stack.enter_context(_still(net))
        row: dict[str, Any] = {"input_ids": torch.tensor([[1, 2]], device=next(net.parameters()).device)}
        if net.config.is_encoder_decoder:
            row["decoder_input_ids"] = row["input_ids"]
        net(**row)
    return [seen for seen in blocks.values() if seen.size]


def _blocks(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Members of module lists that hold an attention, the outermost."""
    found: list[str] = []
    for name, module in net.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{one}.") for one in found):
            for number, child in module.named_children():
                if any(ATTENTION.search(part) for part, _ in child.named_modules()):
                    found.append(f"{name}.{number}")
                    yield found[-1], child


def _attention(block: str, name: str) -> str:
    """The outermost attention of a block that a module lies in; empty for none."""
    parts = name[len(block) + 1 :].split(".")
    for number, part in enumerate(parts):
        if ATTENTION.search(part) and not NORM.search(part):
            return ".".join(parts[: number + 1])
    return ""


@contextmanager
def _still(net: Any) -> Iterator[None]:
    """Evaluation mode without gradients; the modes come back. With a cache of keys, where Transformers does not read from the
    positions whether rows are packed, which a plan's network (without weights, on the meta device) has no numbers for."""
    kept = bool(getattr(net.config.get_text_config(), "use_cache", False))
    alone = hasattr(net.base_model, "encoder") and not net.config.is_encoder_decoder  # T5's, for tags, refuses one
    use_cache(net.config, not alone)
    try:
        with evaluating(net), torch.no_grad():
            yield
    finally:
        use_cache(net.config, kept)
