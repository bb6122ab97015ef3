"""The methods of the installed PEFT, and what is to be known of one. Heavy: imports peft."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import OrderedDict
from collections.abc import Mapping

import torch
from peft import PeftConfig, get_peft_model
from peft.config import PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn
from transformers.pytorch_utils import Conv1D

from ftp.model import origin
from ftp.types import Model

WIDTH = 256
"""Of the layer that methods are tried on: their defaults ask for so much (vblora's vectors)."""


def known() -> dict[str, type[PeftConfig]]:
    """Every method by name, with its configuration class."""
    return {kind.value.lower(): config for kind, config in sorted(PEFT_TYPE_TO_CONFIG_MAPPING.items())}


def is_prompt(config: type[PeftConfig]) -> bool:
    """Whether a method learns a prompt that lies before every row."""
    return issubclass(config, PromptLearningConfig)


def has_option(config: type[PeftConfig], name: str) -> bool:
    """Whether a method has an option."""
    return name in config.__dataclass_fields__


def usual_options(model: Model, config: type[PeftConfig]) -> dict[str, object]:
    """What a user should not have to say: 20 virtual tokens as in PEFT's examples; where the tokenizer is, for a prompt that
    starts as a text; transposed weights (GPT-2)."""
    options: dict[str, object] = {}
    if has_option(config, "num_virtual_tokens"):
        options["num_virtual_tokens"] = 20
    came_from = origin(model.net)
    if has_option(config, "tokenizer_name_or_path") and came_from is not None:
        options["tokenizer_name_or_path"] = came_from.source.where
    if has_option(config, "fan_in_fan_out"):
        options["fan_in_fan_out"] = any(isinstance(module, Conv1D) for module in model.net.modules())
    return options


def on_conv1d() -> list[str]:
    """Methods that PEFT puts on layers with transposed weights (GPT-2's Conv1D), each tried on one."""
    fitting = []
    for name, config in known().items():
        if is_prompt(config) or not has_option(config, "target_modules"):
            continue
        # ia3 asks for the feed-forward modules among its targets
        options: Mapping[str, list[str]] = {"target_modules": ["layer"]}
        if has_option(config, "feedforward_modules"):
            options = {**options, "feedforward_modules": []}
        layer = nn.Sequential(OrderedDict(layer=Conv1D(WIDTH, WIDTH)))
        # a method refuses in ways of its own, and warns before it does
        with contextlib.suppress(Exception), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            net = get_peft_model(layer, config(**options))
            if net(torch.zeros(1, WIDTH)).shape == (1, WIDTH):
                fitting.append(name)
    return fitting


def is_on(model: Model) -> bool:
    """Whether anything of the method itself is trained (a new head is not of it)."""
    return any(weight.requires_grad and "modules_to_save" not in name for name, weight in model.net.named_parameters())


def leaves_base(model: Model, base: set[int]) -> bool:
    """Whether none of the base's own weights (`base`: their ids) is trained, so that switching the method off gives them back."""
    return not any(weight.requires_grad and id(weight) in base for weight in model.net.parameters())
