"""The methods of the installed PEFT, and what is to be known of one. Heavy: imports peft."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import OrderedDict
from typing import Any

import torch
from peft import get_peft_model
from peft.config import PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn
from transformers.pytorch_utils import Conv1D

from ftp.model import origin
from ftp.types import Model

WIDTH = 256
"""Of the layer that methods are tried on: their defaults ask for so much (vblora's vectors)."""


def known() -> dict[str, Any]:
    """Every method by name, with its configuration class."""
    return {kind.value.lower(): config for kind, config in sorted(PEFT_TYPE_TO_CONFIG_MAPPING.items())}


def is_prompt(kind: Any) -> bool:
    """Whether a method learns a prompt that lies before every row."""
    return issubclass(kind, PromptLearningConfig)


def start(model: Model, kind: Any) -> dict[str, Any]:
    """What a user should not have to say: 20 virtual tokens as in PEFT's examples; where the tokenizer is, for a prompt that
    starts as a text; transposed weights (GPT-2)."""
    names = kind.__dataclass_fields__
    found: dict[str, Any] = {}
    if "num_virtual_tokens" in names:
        found["num_virtual_tokens"] = 20
    if "tokenizer_name_or_path" in names and (came_from := origin(model.net)):
        found["tokenizer_name_or_path"] = came_from.source.where
    if "fan_in_fan_out" in names:
        found["fan_in_fan_out"] = any(isinstance(module, Conv1D) for module in model.net.modules())
    return found


def on_conv1d() -> list[str]:
    """Methods that PEFT puts on layers with transposed weights (GPT-2's Conv1D), each tried on one."""
    found = []
    for name, kind in known().items():
        if is_prompt(kind) or "target_modules" not in kind.__dataclass_fields__:
            continue
        layer = nn.Sequential(OrderedDict(layer=Conv1D(WIDTH, WIDTH)))
        more: dict[str, Any] = {"feedforward_modules": []} if "feedforward_modules" in kind.__dataclass_fields__ else {}
        with contextlib.suppress(Exception), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            net: Any = get_peft_model(layer, kind(target_modules=["layer"], **more))
            if net(torch.zeros(1, WIDTH)).shape == (1, WIDTH):
                found.append(name)
    return found


def is_on(model: Model) -> bool:
    """Whether anything of the method itself is trained (a new head is not of it)."""
    return any(weight.requires_grad and "modules_to_save" not in name for name, weight in model.net.named_parameters())


def leaves_base(model: Model, base: set[int]) -> bool:
    """Whether none of the base's own weights (`base`: their ids) is trained, so that switching the method off gives them back."""
    return not any(weight.requires_grad and id(weight) in base for weight in model.net.parameters())
