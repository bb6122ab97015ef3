"""A network taken apart: what is under a PEFT wrapper, what makes hidden states, and what it is called with. Imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ftp.net import packed_attention
from ftp.net.layout import Inputs, is_packed, starts_with_filler
from ftp.net.positions import first_position

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TO_NETWORK = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "decoder_input_ids")
"""The columns of a batch that a network reads."""


@dataclass(frozen=True)
class Parts:
    """The parts of a network.

    `inner`: the network under its PEFT wrapper. `backbone`: what makes its hidden states; None where that cannot be taken
    apart from the head (encoder-decoders, learnt prompts), so that only whole padded passes are right.
    """

    inner: PreTrainedModel
    backbone: PreTrainedModel | None


def parts_of(net: nn.Module) -> Parts:
    """Take a network apart."""
    adapters = getattr(net, "peft_config", None)
    if not adapters or not hasattr(net, "get_base_model"):
        return Parts(net, None if is_encoder_decoder(net) else net.base_model)
    inner = net.get_base_model()
    if is_encoder_decoder(inner):
        return Parts(inner, None)
    # learnt prompts change what goes into the network, in the forward pass of PEFT's wrapper
    for config in adapters.values():
        if getattr(config, "num_virtual_tokens", None) or getattr(config, "alora_invocation_tokens", None):
            return Parts(inner, None)
    return Parts(inner, inner.base_model)


def backbone_of(net: nn.Module) -> PreTrainedModel:
    """The backbone of a network. Raises ValueError where it cannot be taken apart from the head."""
    backbone = parts_of(net).backbone
    if backbone is None:
        raise ValueError(f"the states of {type(net).__name__} cannot be taken apart from its head")
    return backbone


def is_encoder_decoder(net: PreTrainedModel) -> bool:
    """Whether a network has an encoder and a decoder."""
    return bool(getattr(net.config, "is_encoder_decoder", False))


def columns_of(inputs: Inputs, names: Iterable[str] = TO_NETWORK) -> dict[str, Tensor]:
    """Those of some columns that there are."""
    return {name: inputs[name] for name in names if name in inputs}


def arguments_of(net: nn.Module, inputs: Inputs) -> dict[str, object]:
    """What the network is called with. Raises ValueError for packed rows on a network that would mix them."""
    parts = parts_of(net)
    config = parts.inner.config
    arguments: dict[str, object] = {**columns_of(inputs)}
    if hasattr(config, "use_cache"):
        arguments["use_cache"] = False
    if "position_ids" in inputs:
        arguments["position_ids"] = inputs["position_ids"] + first_position(_position_table(parts.backbone))
    # any other attention would let packed rows see one another
    if is_packed(inputs):
        if parts.backbone is None or config._attn_implementation != packed_attention.NAME:
            raise ValueError("packed rows need a network of which `can_pack` says that it keeps them apart")
        longest, filler = inputs["extent"].shape[1:]
        tokens = inputs["input_ids"].numel()
        packing = packed_attention.packing(starts_with_filler(inputs), max(longest, filler), tokens)
        arguments["packing"] = packing
        arguments["attention_mask"] = packing.mask
    return arguments


def _position_table(backbone: PreTrainedModel | None) -> nn.Module | None:
    """The backbone's table of position embeddings; None where it has none."""
    return getattr(getattr(backbone, "embeddings", None), "position_embeddings", None)
