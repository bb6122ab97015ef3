"""An adapter merged into its base, as a whole model; and what that changes in its answers. Heavy: imports torch."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from ftp.errors import UserError
from ftp.model.configuration import with_text_config
from ftp.model.loading import load, origin, quiet
from ftp.model.proof import largest_difference, logits, probe
from ftp.model.saved_facts import ADAPTER_CONFIG, BASE_CONFIG
from ftp.model.saving import copy_beside, reload, runs_code, save
from ftp.model.source import Source
from ftp.types import Model

Dtype = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BOUNDS: dict[Dtype, float] = {"fp32": 1e-4, "bf16": 3e-2, "fp16": 3e-3}
"""Largest difference of a logit, as a share of the largest logit, that rounding explains."""
TEXTS = (
    "The letter said that the train would leave at noon, and nobody believed it.",
    "Add two and two, then take one away; what is left?",
    "It was neither good nor bad.",
    "Prices rose by 3.5 percent in May (see table 2).",
)


@dataclass(frozen=True)
class Merged:
    """A whole model on the disk.

    Attributes:
        folder: where it is.
        difference: the largest difference of a logit from that of the run's own model, as a share of the largest logit.
        texts: how many texts were compared.
    """

    folder: Path
    difference: float
    texts: int


def merge(folder: Path | str, out: Path | str) -> Path:
    """Merge an adapter into its base and write a whole model in fp32. Compares nothing: `merged` does.

    Args:
        folder: the saved adapter.
        out: a new folder, which `--model` takes.

    Returns:
        `out`.

    Raises:
        UserError: there is no adapter, it cannot be merged, or `out` is not empty.
    """
    folder = Path(folder)
    out = Path(out)
    _refuse_no_adapter(folder)
    _refuse_used(out)
    save(into_base(reload(folder, quantise=False)), out, write_beside=partial(copy_beside, folder))
    return out


def merged(
    folder: Path, out: Path, *, dtype: Dtype = "fp32", bound: float | None = None, trust_remote_code: bool = False,
    allow_changed_base: bool = False,
) -> Merged:
    """Merge an adapter into its base, write it, load it from there, and compare the answers of both.

    Args:
        folder: the saved adapter.
        out: a new folder for the whole model.
        dtype: the precision of its weights.
        bound: largest difference of a logit that is allowed, as a share of the largest logit; None: what rounding in `dtype`
            explains.
        trust_remote_code: whether code that came with the base may run.
        allow_changed_base: whether the base may have changed since the run.

    Raises:
        UserError: there is no adapter, it cannot be merged, or `out` is not empty; or a logit differs by more than is allowed,
            and `out` was removed.
    """
    _refuse_no_adapter(folder)
    _refuse_used(out)
    return _written(folder, out, dtype, bound, trust_remote_code, allow_changed_base)


def export_whole(
    folder: Path, out: Path, *, dtype: Dtype = "fp32", bound: float | None = None, trust_remote_code: bool = False,
    allow_changed_base: bool = False,
) -> Merged:
    """Write a saved model as whole weights, merged first where it is an adapter, and compare the answers of both.

    Args:
        folder: the saved model.
        out: a new folder for the whole model.
        dtype: the precision of its weights.
        bound: largest difference of a logit that is allowed, as a share of the largest logit; None: what rounding in `dtype`
            explains.
        trust_remote_code: whether code that came with the base may run.
        allow_changed_base: whether the base may have changed since the run.

    Raises:
        UserError: the adapter cannot be merged, or `out` is not empty; or a logit differs by more than is allowed, and `out` was
            removed.
    """
    _refuse_unmergeable(folder)
    _refuse_used(out)
    return _written(folder, out, dtype, bound, trust_remote_code, allow_changed_base)


def into_base(model: Model) -> Model:
    """The model with its adapter in the base's weights. Raises `UserError` for an adapter that cannot be merged.

    Embeddings that are tied in the base are no longer where the adapter, or a module trained whole, is on one end alone.
    """
    from peft.utils import ModulesToSaveWrapper

    net = model.net
    if not hasattr(net, "peft_config"):
        return model
    configs = net.peft_config.values()
    kinds = ", ".join(sorted({str(config.peft_type.value).lower() for config in configs}))
    if any(config.is_prompt_learning for config in configs):
        raise UserError(f"an adapter of the kind {kinds} is a learnt prompt, not a change of weights: it cannot be merged",
                        "use it with PEFT, as the model's README.md shows")
    try:
        base = net.get_base_model()
        tied = bool(getattr(base.config.get_text_config(), "tie_word_embeddings", False))
        _untie(base)
        # PEFT stumbles over modules trained whole that are no linear layers (BERT's pooler)
        for name, module in [*base.named_modules()]:
            if isinstance(module, ModulesToSaveWrapper):
                base.set_submodule(name, module.modules_to_save[module.active_adapter])
        with quiet(), warnings.catch_warnings():
            # settled below
            warnings.filterwarnings("ignore", message="Input and output embeddings are no longer tied")
            whole = net.merge_and_unload()
    except (NotImplementedError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"an adapter of the kind {kinds} cannot be merged: {error or 'PEFT has no way to'}",
                        "use it with PEFT, as the model's README.md shows") from error
    _settle_ties(whole, tied)
    return Model(whole, model.tokenizer, model.head, model.labels, name=model.name)


def _untie(base: PreTrainedModel) -> None:
    """Give tied embeddings and output layer weights of their own where an adapter sits on one: merging would change both."""
    embedding = base.get_input_embeddings()
    head = base.get_output_embeddings()
    if embedding is None or head is None or embedding.weight is not head.weight:
        return
    if not hasattr(embedding, "base_layer") and not hasattr(head, "base_layer"):
        return
    own_head = head.get_base_layer() if hasattr(head, "base_layer") else head
    own_head.weight = nn.Parameter(own_head.weight.detach().clone(), requires_grad=False)


def _settle_ties(net: PreTrainedModel, tied: bool) -> None:
    """Make the configuration say what is: `tied` embeddings that are still the same stay tied, others are two."""
    head = net.get_output_embeddings()
    embedding = net.get_input_embeddings()
    if head is None or not hasattr(head, "weight"):
        return
    tied = tied and torch.equal(head.weight, embedding.weight)
    if tied:
        head.weight = embedding.weight
    for config in with_text_config(net.config):
        config.tie_word_embeddings = tied


def _written(
    folder: Path, out: Path, dtype: Dtype, bound: float | None, trust_remote_code: bool, allow_changed_base: bool
) -> Merged:
    """Write a whole model, and compare its answers with those of the saved one."""
    reload_as = partial(reload, folder, trust_remote_code=trust_remote_code, allow_changed_base=allow_changed_base)
    model = reload_as()
    inputs = probe(model, TEXTS)
    expected = logits(model.net, inputs)
    came_from = origin(model.net)
    # an adapter is merged into full weights, whatever its base was read as
    is_quantised = came_from is not None and bool(came_from.quantization)
    whole = into_base(reload_as(quantise=False) if is_quantised else model)
    # after merging, which adds in fp32
    whole.net.to(DTYPES[dtype])
    allowed = BOUNDS[dtype] if bound is None else bound
    try:
        save(whole, out, write_beside=partial(copy_beside, folder))
        written = load(Source(str(out), folder=out.resolve()), model.head, model.labels, trust_remote_code=runs_code(whole))
        difference = largest_difference(logits(written.net, inputs), expected)
        if not difference <= allowed:
            hint = " (its base was quantised when it was trained)" if is_quantised else ""
            raise UserError(f"{out}: the whole model answers otherwise than the run's own: largest difference {difference:.2g} "
                            f"of the largest logit, allowed {allowed:g}{hint}; it was removed",
                            "if that is good enough, allow more (--bound), or take another --dtype")
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return Merged(out, difference, len(inputs["input_ids"]))


def _refuse_no_adapter(folder: Path) -> None:
    """Raise `UserError` for a folder without an adapter that can be merged."""
    _refuse_unmergeable(folder)
    if not (folder / ADAPTER_CONFIG).exists():
        raise UserError(f"{folder}: there is no adapter of PEFT in it ({ADAPTER_CONFIG})",
                        "it is a whole model already, which needs no merging")


def _refuse_unmergeable(folder: Path) -> None:
    """Raise `UserError` for what is put on a base by code of its own (`saving.LAYOUTS`)."""
    if (folder / BASE_CONFIG).is_dir() and not (folder / ADAPTER_CONFIG).exists():
        raise UserError(f"{folder}: there is no adapter of PEFT in it ({ADAPTER_CONFIG}): bottleneck adapters and others of "
                        "their kind are not linear, and cannot be merged", "use it as it is, as the model's README.md shows")


def _refuse_used(out: Path) -> None:
    """Raise `UserError` where something lies at a path that is to be written."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: there is something already", "name a new folder with --out")
