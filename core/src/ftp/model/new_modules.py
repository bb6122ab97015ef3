"""Which weights of a network are new: not in its checkpoint, or made again because its head answers another question."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from ftp.model.auto_class import empty_network
from ftp.model.source import Source, reading_options


def inside_body(net: PreTrainedModel, config: PretrainedConfig, trust_remote_code: bool) -> Callable[[str], bool]:
    """Tells the weights of the body from those of a head: the body's are those that the bare network has."""
    prefixes = {net.base_model_prefix}
    try:
        body = empty_network(AutoModel, config, trust_remote_code)
        prefixes.add(body.base_model_prefix)
        children = {name for name, _ in body.named_children()} | {name for name, _ in body.named_parameters(recurse=False)}
    except Exception:  # no bare network of this kind (remote code): whatever is under the prefix is the body
        children = set()

    def inside(name: str) -> bool:
        first, _, rest = name.partition(".")
        if first in prefixes and first and rest:
            return not children or rest.split(".")[0] in children
        return first in children

    return inside


def renamed_body(info: Mapping[str, Any], inside: Callable[[str], bool]) -> dict[str, str]:
    """A renaming of weights where the class calls its body otherwise than the checkpoint does (LlamaForQuestionAnswering:
    `transformer`, all other Llamas: `model`). Transformers loads nothing then and only notes it."""
    wanted = {name.partition(".")[2]: name.partition(".")[0] for name in info["missing_keys"] if inside(name)}
    given = {name.partition(".")[2]: name.partition(".")[0] for name in info["unexpected_keys"]}
    pairs = {(given[name], wanted[name]) for name in wanted.keys() & given.keys() if name}
    return {rf"^{re.escape(old)}\.": f"{new}." for old, new in pairs if old != new} if len(pairs) == 1 else {}


def has_other_classes(source: Source, labels: tuple[str, ...], trust_remote_code: bool) -> bool:
    """Whether the checkpoint names classes, and other ones than the data has: its head would answer another question."""
    before = AutoConfig.from_pretrained(source.where, **reading_options(source, trust_remote_code)).id2label
    names = tuple(before[number] for number in sorted(before))
    return not all(re.fullmatch(r"LABEL_\d+", str(name)) for name in names) and names != tuple(labels)


def make_head_anew(net: PreTrainedModel, inside: Callable[[str], bool], seed: int) -> set[str]:
    """Make the head again from the seed, as if the checkpoint had none; the names of its weights."""
    names = {name for name, _ in net.named_parameters() if not inside(name)}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for name in names:
            net.get_parameter(name)._is_hf_initialized = False
        for top in sorted({name.split(".")[0] for name in names}):
            net.get_submodule(top).apply(net._init_weights)
    return names


def fresh_modules(net: PreTrainedModel, new: set[str]) -> tuple[str, ...]:
    """Names of the largest modules that are wholly new."""
    found: list[str] = []

    def walk(name: str, module: nn.Module) -> None:
        weights = dict(module.named_parameters(remove_duplicate=False))
        names = {f"{name}.{one}" if name else one for one in weights}
        if not names & new:
            return
        if name and names <= new:
            found.append(name)
            return
        own = [f"{name}.{one}" if name else one for one, _ in module.named_parameters(recurse=False, remove_duplicate=False)]
        if name and any(one in new and (net.get_parameter(one).is_meta or bool(net.get_parameter(one).any())) for one in own):
            found.append(name)  # a new weight beside old ones; new zeros (a bias) need no keeping
            return
        for child, inner in module.named_children():
            walk(f"{name}.{child}" if name else child, inner)

    walk("", net)
    return tuple(found)
