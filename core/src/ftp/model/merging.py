"""An adapter merged into its base, as a whole model; and what that changes in its answers. Heavy: imports torch."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ftp.errors import UserError
from ftp.model.loading import load, origin, quiet, with_text_config
from ftp.model.proof import logits, probe
from ftp.model.saving import BASE_CONFIG, copy_beside, reload, runs_code, save
from ftp.model.source import Source
from ftp.types import Model

Dtype = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BOUNDS: dict[Dtype, float] = {"fp32": 1e-4, "bf16": 3e-2, "fp16": 3e-3}
"""Largest difference of a logit, as a share of the largest logit, that rounding explains."""
ADAPTER = "adapter_config.json"
TEXTS = (
    "The letter said that the train would leave at noon, and nobody believed it.",
    "Add two and two, then take one away; what is left?",
    "It was neither good nor bad.",
    "Prices rose by 3.5 percent in May (see table 2).",
)


@dataclass(frozen=True)
class Merged:
    """A whole model on the disk. `difference`: the largest difference of a logit from that of the run's own model, as a share of
    the largest logit; `texts`: how many texts were compared."""

    folder: Path
    difference: float
    texts: int


def merge(folder: Path | str, out: Path | str) -> Path:
    """Merge the adapter in `folder` into its base and write a whole model in fp32 to `out`, which `--model` takes. Compares
    nothing: `merged` does."""
    folder, out = Path(folder), Path(out)
    _checked(folder, out)
    save(into_base(reload(folder, quantise=False)), out, write_beside=partial(copy_beside, folder))
    return out


def merged(
    folder: Path, out: Path, *, dtype: Dtype = "fp32", bound: float | None = None, trust_remote_code: bool = False,
    allow_changed_base: bool = False,
) -> Merged:
    """Merge the adapter in `folder` into its base, write it to `out`, load it from there, and compare the answers of both.

    Raises `UserError`, with `out` removed, where a logit differs by more than `bound` (a share of the largest logit; default:
    what rounding in `dtype` explains).
    """
    _checked(folder, out)
    return _written(folder, out, dtype, bound, trust_remote_code, allow_changed_base)


def export_whole(
    folder: Path, out: Path, *, dtype: Dtype = "fp32", bound: float | None = None, trust_remote_code: bool = False,
    allow_changed_base: bool = False,
) -> Merged:
    """Write the model in `folder` to `out` as whole weights, merged first where it is an adapter; compared as by `merged`."""
    _refuse_unmergeable(folder)
    _free(out)
    return _written(folder, out, dtype, bound, trust_remote_code, allow_changed_base)


def into_base(model: Model) -> Model:
    """The model with its adapter in the base's weights. Embeddings that are tied in the base are no longer where the adapter, or
    a module trained whole, is on one end alone. Raises `UserError` for an adapter that cannot be merged."""
    from peft.utils import ModulesToSaveWrapper

    net: Any = model.net
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
        for name, module in [*base.named_modules()]:  # PEFT stumbles over those that are no linear layers (BERT's pooler)
            if isinstance(module, ModulesToSaveWrapper):
                base.set_submodule(name, module.modules_to_save[module.active_adapter])
        with quiet(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Input and output embeddings are no longer tied")  # settled below
            whole = net.merge_and_unload()
    except (NotImplementedError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"an adapter of the kind {kinds} cannot be merged: {error or 'PEFT has no way to'}",
                        "use it with PEFT, as the model's README.md shows") from error
    _settle_ties(whole, tied)
    return Model(whole, model.tokenizer, model.head, model.labels, name=model.name)


def _untie(base: Any) -> None:
    """Give the ends of tied embeddings weights of their own where an adapter sits on one: merging would change both."""
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    if None in ends or ends[0].weight is not ends[1].weight or not any(hasattr(end, "base_layer") for end in ends):
        return
    head = ends[1].get_base_layer() if hasattr(ends[1], "base_layer") else ends[1]
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)


def _settle_ties(net: Any, tied: bool) -> None:
    """Make the configuration say what is: `tied` embeddings that are still the same stay tied, others are two."""
    head, embedding = net.get_output_embeddings(), net.get_input_embeddings()
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
    allowed = {"trust_remote_code": trust_remote_code, "allow_changed_base": allow_changed_base}
    model = reload(folder, **allowed)
    inputs = probe(model, TEXTS)
    before = logits(model.net, inputs)
    came_from = origin(model.net)
    quantised = bool(came_from and came_from.quantization)
    whole = into_base(reload(folder, quantise=False, **allowed) if quantised else model)
    whole.net.to(DTYPES[dtype])
    try:
        save(whole, out, write_beside=partial(copy_beside, folder))
        after = logits(load(Source(str(out), folder=out.resolve()), model.head, model.labels,
                            trust_remote_code=runs_code(whole)).net, inputs)
        difference = float("inf")
        if after.shape == before.shape:
            difference = float((after - before).abs().max() / before.abs().max().clamp_min(1e-12))
        largest = BOUNDS[dtype] if bound is None else bound
        if not difference <= largest:
            hint = " (its base was quantised when it was trained)" if quantised else ""
            raise UserError(f"{out}: the whole model answers otherwise than the run's own: largest difference {difference:.2g} "
                            f"of the largest logit, allowed {largest:g}{hint}; it was removed",
                            "if that is good enough, allow more (--bound), or take another --dtype")
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return Merged(out, difference, len(inputs["input_ids"]))


def _checked(folder: Path, out: Path) -> None:
    _refuse_unmergeable(folder)
    if not (folder / ADAPTER).exists():
        raise UserError(f"{folder}: there is no adapter of PEFT in it ({ADAPTER})",
                        "it is a whole model already, which needs no merging")
    _free(out)


def _refuse_unmergeable(folder: Path) -> None:
    """Raise `UserError` for what is put on a base by code of its own (`saving.LAYOUTS`)."""
    if (folder / BASE_CONFIG).is_dir() and not (folder / ADAPTER).exists():
        raise UserError(f"{folder}: there is no adapter of PEFT in it ({ADAPTER}): bottleneck adapters and others of their kind "
                        "are not linear, and cannot be merged", "use it as it is, as the model's README.md shows")


def _free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: there is something already", "name a new folder with --out")
