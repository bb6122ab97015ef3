"""The Transformers class for a head, and which networks have one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import PretrainedConfig, PreTrainedModel

from ftp.errors import UserError
from ftp.model.source import Source
from ftp.types import Head

AUTO: Mapping[Head, str] = {
    "labels": "AutoModelForSequenceClassification",
    "tags": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "tokens": "AutoModelForCausalLM",
    "mask": "AutoModelForMaskedLM",
    "score": "AutoModelForSequenceClassification",
}
"""The Transformers class that loads a network with a head; `tokens` of an encoder-decoder is AutoModelForSeq2SeqLM."""


def auto_class(source: Source, config: PretrainedConfig, head: Head) -> Any:
    """The Auto class for a head, after a check that the architecture has it."""
    name = AUTO[head]
    kind = config.model_type
    if head == "tokens":
        if config.is_encoder_decoder:
            name = "AutoModelForSeq2SeqLM"
        elif has_head(transformers.AutoModelForMaskedLM, config) and not getattr(config, "is_decoder", False):
            raise UserError(f"--model {source.name}: '{kind}' reads text in both directions, so it cannot be trained to write "
                            "the next token", "take a decoder (gpt2, llama, qwen, ...), or an objective for encoders (mlm)")
    if head == "mask" and config.is_encoder_decoder:
        raise UserError(f"--model {source.name}: '{kind}' writes with a decoder what its encoder has read; masked tokens are "
                        "filled in by an encoder alone", "take an encoder (bert, roberta, ...), or sft for this model")
    auto = getattr(transformers, name)
    # code of the checkpoint's own (`auto_map`) can have a head that Transformers does not know
    if not has_head(auto, config) and name not in (getattr(config, "auto_map", None) or {}):
        fix = f"heads it has: {', '.join(_heads_of(config)) or 'none'}"
        if config.is_encoder_decoder:
            kin = []
            for known in auto._model_mapping:
                if getattr(known, "is_encoder_decoder", False) is True:
                    kin.append(known.model_type)
            fix += f"; encoder-decoders with the head '{head}': {', '.join(sorted(kin)) or 'none'}"
        raise UserError(f"--model {source.name}: '{kind}' has no head '{head}'", fix)
    return auto


def _heads_of(config: PretrainedConfig) -> list[str]:
    """The heads that Transformers has for a network of this configuration."""
    names: dict[Head, str] = dict(AUTO)
    if config.is_encoder_decoder:
        names["tokens"] = "AutoModelForSeq2SeqLM"
        del names["mask"]  # an encoder alone fills in masked tokens
    return [head for head, name in names.items() if has_head(getattr(transformers, name), config)]


def has_head(auto: Any, config: PretrainedConfig) -> bool:
    """Whether an Auto class knows a network of this configuration."""
    return type(config) in auto._model_mapping


def empty_network(auto: Any, config: PretrainedConfig, trust_remote_code: bool) -> PreTrainedModel:
    """The network without weights, on the meta device."""
    with torch.device("meta"):
        net: PreTrainedModel = auto.from_config(config, trust_remote_code=trust_remote_code)
    return net
