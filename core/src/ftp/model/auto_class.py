"""The Transformers class for a head, and which networks have one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import transformers
from transformers import PretrainedConfig, PreTrainedModel

from ftp import heads
from ftp.errors import UserError
from ftp.model.source import Source

if TYPE_CHECKING:
    from transformers.models.auto.auto_factory import _BaseAutoModelClass


def auto_class(source: Source, config: PretrainedConfig, head: str) -> type[_BaseAutoModelClass]:
    """The Auto class for a head. Raises `UserError` where the architecture has no such head."""
    spec = heads.get(head)
    kind = config.model_type
    refused = spec.refusal(config) if spec.refusal is not None else None
    if refused is not None:
        raise UserError(f"--model {source.name}: {refused.what}", refused.fix, refused.command)
    name = spec.auto_class_of(config.is_encoder_decoder)
    auto: type[_BaseAutoModelClass] = getattr(transformers, name)
    # code of the checkpoint's own (`auto_map`) can have a head that Transformers does not know
    if not has_head(auto, config) and name not in (getattr(config, "auto_map", None) or {}):
        fix = f"heads it has: {', '.join(_heads_of(config)) or 'none'}"
        if config.is_encoder_decoder:
            # on the class, where some configurations have a property, which is no True
            kin = [known.model_type for known in auto._model_mapping if getattr(known, "is_encoder_decoder", False) is True]
            fix += f"; encoder-decoders with the head '{head}': {', '.join(sorted(kin)) or 'none'}"
        raise UserError(f"--model {source.name}: '{kind}' has no head '{head}'", fix)
    return auto


def _heads_of(config: PretrainedConfig) -> list[str]:
    """The heads that Transformers has for a network of this configuration."""
    names = []
    for name, spec in heads.all_heads().items():
        is_refused = spec.refusal is not None and spec.refusal(config) is not None
        auto = getattr(transformers, spec.auto_class_of(config.is_encoder_decoder))
        if not is_refused and has_head(auto, config):
            names.append(name)
    return names


def has_head(auto: type[_BaseAutoModelClass], config: PretrainedConfig) -> bool:
    """Whether an Auto class knows a network of this configuration."""
    return type(config) in auto._model_mapping


def empty_network(auto: type[_BaseAutoModelClass], config: PretrainedConfig, trust_remote_code: bool) -> PreTrainedModel:
    """The network without weights, on the meta device."""
    with torch.device("meta"):
        net: PreTrainedModel = auto.from_config(config, trust_remote_code=trust_remote_code)
    return net
