"""Put an adapter of the PEFT library on a model. Whichever plugin brings the adapter's configuration: the new head is
trained and saved with it, the weights before the run stay at hand, and saving asks no network."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from ftp import heads
from ftp.errors import UserError
from ftp.model.loading import Origin, origin, quiet
from ftp.model.modes import evaluating
from ftp.model.token_rows import ends, named_tokens
from ftp.types import Model, Run

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

__all__ = ["attach", "rows_to_train", "task_type", "unable", "whole"]

ADDED = {"SEQ_CLS": ("classifier", "score"), "TOKEN_CLS": ("classifier", "score"), "QUESTION_ANS": ("qa_outputs",)}
"""Modules that PEFT trains and saves whole for a task, whatever the configuration says."""


def task_type(model: Model) -> str | None:
    """PEFT's task type for a model.

    Args:
        model: the model, whose head decides.

    Returns:
        None where PEFT has none for this head.
    """
    return heads.get(model.head).peft_task_of(model.net.config.is_encoder_decoder)


def whole(model: Model, named: tuple[str, ...] = ()) -> list[str]:
    """Modules that an adapter must train and save whole: the new ones, those named, and those that PEFT adds by itself.

    None of them lies within another, as PEFT would wrap it twice.

    Args:
        model: the model.
        named: further names of modules.
    """
    modules = dict(model.net.named_modules())
    added = [name for name in ADDED.get(task_type(model) or "", ()) if name in modules]
    names = list(dict.fromkeys([*added, *model.fresh, *named]))
    outermost = []
    for name in names:
        is_within = any(name.startswith(f"{other}.") for other in names)
        if not is_within:
            outermost.append(name)
    return outermost


def token_rows(model: Model, ids: Iterable[int], trained: Iterable[str] = ()) -> dict[str, list[int]]:
    """PEFT's `trainable_token_indices`, by which an adapter trains the rows of some tokens alone: module -> token ids.

    Tied embeddings are named by their input end, to which PEFT ties the other.

    Args:
        trained: names of modules that the adapter trains in another way, which need no rows of their own.
    """
    tokens = sorted(set(ids))
    if not tokens:
        return {}
    modules = ends(model.net)
    trained_names = set(trained)
    head = model.net.get_output_embeddings()
    # an output layer that is tied to the embeddings has no weights of its own, and may be trained whole by its own name
    if len(modules) == 1 and head is not None:
        head_names = {name for name, module in model.net.named_modules() if module is head}
        if trained_names & head_names:
            return {}
    return {name: tokens for name in modules if name not in trained_names}


def rows_to_train(
    run: Run, model: Model, option_name: str, asked: Sequence[str], trained: Iterable[str] = (), reason: str = ""
) -> dict[str, list[int]]:
    """The rows that an option asks to train, as PEFT's `trainable_token_indices`; told where they were chosen automatically.

    Args:
        run: the run.
        model: the model.
        option_name: as the user writes it, for messages.
        asked: the option's value: tokens or ids, `auto`, or `none`.
        trained: names of modules that the adapter trains in another way, which need no rows of their own.
        reason: why rows of single tokens cannot be trained in this network; an empty text where they can.

    Returns:
        Token ids by name of module; empty where there is nothing to train.

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
    """Why PEFT cannot train rows of tokens in this network; an empty text where it can.

    Args:
        model: the model.
    """
    # TrainableTokensLayer of PEFT 0.21 multiplies by the weights alone
    if getattr(model.net.get_output_embeddings(), "bias", None) is not None:
        return "its output layer has a bias, which PEFT leaves out where it trains rows of tokens"
    return ""


def attach(model: Model, config: PeftConfig, *, who: str, seed: int, reversible: bool = True) -> Model:
    """The model with a PEFT adapter on it.

    Args:
        model: the model, whose network is changed.
        config: PEFT's configuration of the adapter.
        who: the plugin, for the message.
        seed: from which alone the adapter's start is drawn.
        reversible: whether switching the adapter off gives the weights from before the run, so that nothing is copied for the
            reference; not so where the base's biases are trained, or its weights are changed at the start.

    Raises:
        UserError: PEFT refuses the adapter, with its reason.
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
    # what PEFT warned of is for the user, but not what `quiet` holds back
    for warning in warned:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    _share_configuration(net)

    # PEFT adds its own modules to ours, doubles among them
    if getattr(config, "modules_to_save", None):
        config.modules_to_save = list(dict.fromkeys(config.modules_to_save))

    def save(folder: Path) -> None:
        with quiet():
            # PEFT 0.21 takes the vectors of lora_bias for incomplete matrices
            warnings.filterwarnings("ignore", message=r"Adapter .* invalid shape: \S+lora_B\.bias")
            # by itself PEFT would ask the hub whether there are new rows
            net.save_pretrained(folder, save_embedding_layers=_has_new_rows(net, came_from))

    return replace(model, net=net, save=save, reference=_off(net) if reversible else model.reference)


def _share_configuration(net: PeftModel) -> None:
    """Let modules that are trained whole follow the configuration of the network, which says how it attends. PEFT copies them
    together with the configuration as it is now."""
    from peft.utils import ModulesToSaveWrapper

    wrappers = [module for module in net.modules() if isinstance(module, ModulesToSaveWrapper)]
    for wrapper in wrappers:
        for copied in wrapper.modules_to_save.values():
            for name, module in wrapper.original_module.named_modules():
                if hasattr(module, "config"):
                    copied.get_submodule(name).config = module.config


def _has_new_rows(net: PeftModel, came_from: Origin | None) -> bool:
    """Whether embeddings or output layer have rows that the base on the disk does not have."""
    if came_from is None:
        return False
    embedding = net.get_input_embeddings()
    if embedding.weight.shape[0] != came_from.vocabulary:
        return True
    # an adapter on one of them adds to the new rows
    has_adapter = hasattr(embedding, "base_layer") or hasattr(net.get_output_embeddings(), "base_layer")
    return came_from.grown is not None and has_adapter


def _off(net: PeftModel) -> Callable[[], AbstractContextManager[PreTrainedModel]]:
    """`Model.reference` by switching the adapter off: nothing is copied. Leaves modes and gradients as they were."""

    @contextlib.contextmanager
    def reference() -> Iterator[PreTrainedModel]:
        # PEFT sets `requires_grad` anew when an adapter is switched on again
        trained = {weight: weight.requires_grad for weight in net.parameters()}
        try:
            with evaluating(net), torch.no_grad():
                if net.active_peft_config.is_prompt_learning:
                    with _trained_heads_off(net):
                        yield net.get_base_model()
                else:
                    with net.disable_adapter():
                        yield net
        finally:
            for weight, is_trained in trained.items():
                weight.requires_grad_(is_trained)

    return reference


@contextlib.contextmanager
def _trained_heads_off(net: PeftModel) -> Iterator[None]:
    """Heads as they were before the run: PEFT leaves the trained ones on when it takes a learnt prompt away."""
    from peft.utils import ModulesToSaveWrapper

    wrappers = [module for module in net.modules() if isinstance(module, ModulesToSaveWrapper)]
    for wrapper in wrappers:
        wrapper.enable_adapters(False)
    try:
        yield
    finally:
        for wrapper in wrappers:
            wrapper.enable_adapters(True)
