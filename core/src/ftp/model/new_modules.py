"""Which weights of a network are new: not in its checkpoint, or made again because its head answers another question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypedDict

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from ftp.model.auto_class import empty_network
from ftp.model.source import Source, reading_options


class LoadingReport(TypedDict):
    """What Transformers reports of weights: those that the checkpoint lacks, those that have no place, and those of another shape
    (name, shape in the checkpoint, shape in the network)."""

    missing_keys: list[str]
    unexpected_keys: list[str]
    mismatched_keys: list[tuple[str, torch.Size, torch.Size]]


def inside_body(net: PreTrainedModel, config: PretrainedConfig, trust_remote_code: bool) -> Callable[[str], bool]:
    """Tells the weights of the body from those of a head: the body's are those that the bare network has."""
    prefixes = {net.base_model_prefix}
    try:
        body = empty_network(AutoModel, config, trust_remote_code)
        prefixes.add(body.base_model_prefix)
        children = set(dict(body.named_children())) | set(dict(body.named_parameters(recurse=False)))
    except Exception:  # no bare network of this kind (remote code): whatever is under the prefix is the body
        children = set()

    def inside(name: str) -> bool:
        first, _, rest = name.partition(".")
        if first in prefixes and first and rest:
            return not children or rest.split(".")[0] in children
        return first in children

    return inside


def renamed_body(info: LoadingReport, inside: Callable[[str], bool]) -> dict[str, str]:
    """A renaming of weights where the class calls its body otherwise than the checkpoint does (LlamaForQuestionAnswering:
    `transformer`, all other Llamas: `model`). Transformers loads nothing then and only notes it."""
    missing = _first_parts(filter(inside, info["missing_keys"]))
    unexpected = _first_parts(info["unexpected_keys"])
    renamings = {(unexpected[rest], missing[rest]) for rest in missing.keys() & unexpected.keys() if rest}
    if len(renamings) != 1:
        return {}
    ((old, new),) = renamings
    if old == new:
        return {}
    return {rf"^{re.escape(old)}\.": f"{new}."}


def _first_parts(names: Iterable[str]) -> dict[str, str]:
    """Of names of weights: what stands behind the first dot, to what stands before it."""
    first_parts = {}
    for name in names:
        first, _, rest = name.partition(".")
        first_parts[rest] = first
    return first_parts


def has_other_classes(source: Source, labels: tuple[str, ...], trust_remote_code: bool) -> bool:
    """Whether the checkpoint names classes, and other ones than the data has: its head would answer another question."""
    before = AutoConfig.from_pretrained(source.where, **reading_options(source, trust_remote_code)).id2label
    names = tuple(before[number] for number in sorted(before))
    # LABEL_0, LABEL_1, ... is what Transformers writes for classes without names
    has_names = not all(re.fullmatch(r"LABEL_\d+", str(name)) for name in names)
    return has_names and names != tuple(labels)


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
    """Names of the largest modules that are wholly new.

    Args:
        new: names of the weights that the checkpoint does not have.
    """
    fresh: list[str] = []

    def walk(path: str, module: nn.Module) -> None:
        prefix = f"{path}." if path else ""
        weights = set(dict(module.named_parameters(path, remove_duplicate=False)))
        if not weights & new:
            return
        if path and weights <= new:
            fresh.append(path)
            return
        own = dict(module.named_parameters(path, recurse=False, remove_duplicate=False))
        # a new weight beside old ones
        if path and any(_needs_keeping(weight) for name, weight in own.items() if name in new):
            fresh.append(path)
            return
        for child, inner in module.named_children():
            walk(prefix + child, inner)

    walk("", net)
    return tuple(fresh)


def _needs_keeping(weight: nn.Parameter) -> bool:
    """Whether a new weight is more than zeros (a bias), which every load makes again. On the meta device nobody knows."""
    return weight.is_meta or bool(weight.any())
