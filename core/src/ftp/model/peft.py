"""Put an adapter of the PEFT library on a model. Whichever plugin brings the adapter's configuration: the new head is
trained and saved with it, the weights before the run stay at hand, and saving asks no network."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ftp import heads
from ftp.errors import UserError
from ftp.model.loading import origin, quiet
from ftp.model.modes import evaluating
from ftp.model.token_rows import ends, named_tokens
from ftp.types import Model, Run

__all__ = ["attach", "rows_to_train", "task_type", "unable", "whole"]

ADDED = {"SEQ_CLS": ("classifier", "score"), "TOKEN_CLS": ("classifier", "score"), "QUESTION_ANS": ("qa_outputs",)}
"""Modules that PEFT trains and saves whole for a task, whatever the configuration says."""


def task_type(model: Model) -> str | None:
    """PEFT's task type for a model; None where it has none."""
    return heads.get(model.head).peft_task_of(model.net.config.is_encoder_decoder)


def whole(model: Model, named: tuple[str, ...] = ()) -> list[str]:
    """Modules that an adapter must train and save whole: the new ones, those named, and those that PEFT adds by itself.
    None of them lies within another, as PEFT would wrap it twice."""
    modules = [name for name, _ in model.net.named_modules() if name]
    names = list(dict.fromkeys([*(name for name in ADDED.get(task_type(model) or "", ()) if name in modules),
                                *model.fresh, *named]))
    return [name for name in names if not any(name != other and f".{name}".startswith(f".{other}.") for other in names)]


def token_rows(model: Model, ids: Iterable[int], trained: Iterable[str] = ()) -> dict[str, list[int]]:
    """PEFT's `trainable_token_indices`, by which an adapter trains the rows of some tokens alone: module -> token ids.

    Tied embeddings are named by their input end, to which PEFT ties the other.

    Args:
        trained: names of modules that the adapter trains in another way, which need no rows of their own.
    """
    if not (tokens := sorted(set(ids))):
        return {}
    modules = ends(model.net)
    trained_names = set(trained)
    if len(modules) == 1 and (head := model.net.get_output_embeddings()) is not None:
        tied = {name for name, module in model.net.named_modules() if module is head}
        if trained_names & tied:
            return {}
    return {name: tokens for name in modules if name not in trained_names}


def rows_to_train(
    run: Run, model: Model, option_name: str, asked: Sequence[str], trained: Iterable[str] = (), reason: str = ""
) -> dict[str, list[int]]:
    """`token_rows` of the tokens that an option names, told where they were found by themselves.

    Args:
        option_name: as the user writes it, for messages.
        asked: the option's value, as `named_tokens` takes it.
        reason: why rows of single tokens cannot be trained in this network; an empty text where they can.
    Raises:
        UserError: for tokens that were named one by one where there is such a reason.
    """
    ids = named_tokens(option_name, asked, model)
    rows = token_rows(model, ids, trained)
    if not rows:
        return {}
    is_auto = tuple(asked) == ("auto",)
    reason = "--shard spreads each matrix over processes" if run.settings.shard else reason
    if reason and not is_auto:
        raise UserError(f"{option_name} {','.join(asked)}: {reason}", "leave it out, or train all weights: --plugins full,...")
    if reason:
        return {}  # preflight says which tokens stay untrained
    if is_auto:
        tokens = ", ".join(map(str, model.tokenizer.convert_ids_to_tokens(ids)))
        run.tell(f"tokens that are new or look untrained in {model.name or 'this model'}: {tokens}; their rows are trained "
                 f"beside the adapters ({option_name} none leaves them as they are)")
    return rows


def unable(model: Model) -> str:
    """Why PEFT cannot train rows of tokens in this network; an empty text where it can."""
    head = model.net.get_output_embeddings()
    if getattr(head, "bias", None) is not None:  # TrainableTokensLayer of PEFT 0.21 multiplies by the weights alone
        return "its output layer has a bias, which PEFT leaves out where it trains rows of tokens"
    return ""


def attach(model: Model, config: Any, *, who: str, seed: int, reversible: bool = True) -> Model:
    """The model with a PEFT adapter on it. Raises `UserError` with PEFT's reason where it refuses (`who` is the plugin).
    The adapter's start is drawn from `seed` alone.

    `reversible`: switching the adapter off gives the weights of before the run (false where the base's biases are
    trained or its weights are changed at the start); else the checkpoint is the reference.
    """
    from peft import get_peft_model

    came_from = origin(model.net)
    try:
        with warnings.catch_warnings(record=True) as warned, quiet(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            net = get_peft_model(model.net, config, revision=came_from.source.revision if came_from else None)
    except (ValueError, TypeError, NotImplementedError, ImportError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise UserError(f"{who}: PEFT refuses: {str(error).strip()}") from error
    for warning in warned:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    if getattr(config, "modules_to_save", None):  # PEFT adds its own to ours, doubles among them
        config.modules_to_save = list(dict.fromkeys(config.modules_to_save))

    def save(folder: Path) -> None:
        rows = net.get_input_embeddings().weight.shape[0]
        resized = came_from is not None and rows != came_from.vocabulary  # PEFT would ask the hub
        if came_from is not None and came_from.grown is not None:
            # an adapter on embeddings or output layer adds to new rows, which the base on the disk has not
            ends = (net.get_input_embeddings(), net.get_output_embeddings())
            resized = resized or any(hasattr(module, "base_layer") for module in ends)
        with quiet():
            # PEFT 0.21 takes the vectors of lora_bias for incomplete matrices
            warnings.filterwarnings("ignore", message=r"Adapter .* invalid shape: \S+lora_B\.bias")
            net.save_pretrained(folder, save_embedding_layers=resized)

    return replace(model, net=net, save=save, reference=_off(net) if reversible else model.reference)


def _off(net: Any) -> Callable[[], AbstractContextManager[PreTrainedModel]]:
    """`Model.reference` by switching the adapter off: nothing is copied. Leaves modes and gradients as they were."""
    from peft.utils import ModulesToSaveWrapper

    @contextlib.contextmanager
    def reference() -> Iterator[PreTrainedModel]:
        trained = {weight: weight.requires_grad for weight in net.parameters()}
        prompt = net.active_peft_config.is_prompt_learning
        wrapped_heads = [module for module in net.modules() if isinstance(module, ModulesToSaveWrapper)] if prompt else []
        try:
            for head in wrapped_heads:  # PEFT would leave them on when it takes a learnt prompt away
                head.enable_adapters(False)
            off = contextlib.nullcontext() if prompt else net.disable_adapter()
            with evaluating(net), torch.no_grad(), off:
                yield net.get_base_model() if prompt else net
        finally:
            for head in wrapped_heads:
                head.enable_adapters(True)
            for weight, mode in trained.items():
                weight.requires_grad_(mode)

    return reference
