"""Load a checkpoint with the head of a task, and say clearly what does not fit."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
import transformers
from torch import nn
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ftp import heads
from ftp.errors import UserError
from ftp.model.auto_class import auto_class, empty_network
from ftp.model.configuration import read_config, with_text_config
from ftp.model.growing import Grown, NewTokens, give_rows, grow, refuse_too_many, set_rows
from ftp.model.limits import capacity
from ftp.model.new_modules import LoadingReport, fresh_modules, has_other_classes, inside_body, make_head_anew, renamed_body
from ftp.model.quantization import Quantization, current, quantized, with_exceptions
from ftp.model.refusals import check_folder, check_weights, explained, first_line
from ftp.model.source import Source, check_files, reading_options
from ftp.types import Model

if TYPE_CHECKING:
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

@dataclass(frozen=True)
class Origin:
    """What must be known of a network's checkpoint when it is saved.

    `key_mapping`: renames the checkpoint's weights where the class calls its body otherwise. `vocabulary`: rows of the embeddings
    as they were loaded, with those that were `grown`. `quantization`: what `quantized` was called with, and the modules that were
    left as they are.
    """

    source: Source
    key_mapping: Mapping[str, str]
    vocabulary: int
    quantization: Quantization = field(default_factory=dict)
    grown: Grown | None = None


def load(
    source: Source,
    head: str,
    labels: tuple[str, ...] = (),
    *,
    seed: int = 0,
    trust_remote_code: bool = False,
    max_length: int | None = None,
    device: torch.device | str | None = None,
    new_tokens: NewTokens | None = None,
    grown: Grown | None = None,
) -> Model:
    """A checkpoint with the head that the task needs, in fp32, with its tokenizer.

    A head that the checkpoint does not have is made anew and named in `Model.fresh`; so is one of another number of classes, or
    of other classes.

    Args:
        source: the checkpoint, as `find` gives it.
        head: the name of a head.
        labels: names of the classes, for a head that has some.
        seed: from which alone what is new is drawn.
        trust_remote_code: whether code that comes with the checkpoint may run.
        max_length: tokens of a row, checked against what the network takes; None: not checked.
        device: where the network goes; None: it stays on the CPU.
        new_tokens: tokens to add, with their rows, which are in `Model.fresh_tokens`; None: none.
        grown: rows that were added before, to a network whose tokenizer is another; None: none.

    Raises:
        UserError: the folder is no model; weights are not safetensors or do not match the configuration; the tokenizer is
            missing or larger than the embeddings; or the network has no such head.
    """
    check_folder(source, trust_remote_code)
    check_files(source)
    with quiet():
        config = read_config(source, head, labels, trust_remote_code)
        tokenizer = _tokenizer(source, trust_remote_code)
        net, fresh = _network(source, config, head, labels, seed, trust_remote_code)
        if new_tokens is not None:
            grown = grow(net, tokenizer, new_tokens, seed)
        elif grown is not None:
            give_rows(net, grown, seed)
        if grown is not None:
            net._ftp_origin = replace(net._ftp_origin, vocabulary=grown.rows, grown=grown)
        _fit(source, net, tokenizer, max_length)
    if device is not None:
        net.to(device)
    # the reference is loaded with the configuration as it is now: plugins may change that of the network.
    settled = copy.deepcopy(net.config)
    quantization: Quantization = getattr(net, "_ftp_quantization", {})
    if quantization:
        del settled.quantization_config

    def again() -> PreTrainedModel:
        config = copy.deepcopy(settled)
        if grown is not None:
            set_rows(config, grown.before)
        with quiet(), quantized(quantization):
            other, _ = _network(source, config, head, labels, seed, trust_remote_code)
            if grown is not None:
                give_rows(other, grown, seed)
            return other

    return Model(net, tokenizer, head, labels, fresh, reference=untouched(net, again), name=source.name,
                 fresh_tokens=grown.ids if grown is not None else ())


def shape_only(
    source: Source, head: str, labels: tuple[str, ...] = (), *, trust_remote_code: bool = False
) -> PreTrainedModel:
    """The network of `load` without weights, on the meta device: its modules, names and shapes.

    Args:
        source: the checkpoint, of which only the configuration is read.
        head: the name of a head.
        labels: names of the classes, for a head that has some.
        trust_remote_code: whether code that comes with the checkpoint may run.

    Raises:
        UserError: the configuration cannot be read, or the network has no such head.
    """
    with quiet():
        config = read_config(source, head, labels, trust_remote_code)
        return empty_network(auto_class(source, config, head), config, trust_remote_code)


def grow_shape(
    source: Source, net: PreTrainedModel, wanted: NewTokens, *, trust_remote_code: bool = False
) -> tuple[PreTrainedTokenizerBase, tuple[int, ...]]:
    """Give the network of `shape_only` the rows that `load` would add for new tokens.

    Args:
        source: the checkpoint, of which the tokenizer is read.
        net: what `shape_only` gives, which is changed.
        wanted: the tokens.
        trust_remote_code: whether code that comes with the checkpoint may run.

    Returns:
        The tokenizer with the new tokens, and the ids that `Model.fresh_tokens` has for certain; which other rows look untrained,
        only the weights say.

    Raises:
        UserError: the tokenizer is missing, or larger than the embeddings.
    """
    with quiet():
        tokenizer = _tokenizer(source, trust_remote_code)
        grown = grow(net, tokenizer, wanted, seed=0)
    refuse_too_many(source.name, net, tokenizer)
    named = map(int, tokenizer.convert_tokens_to_ids(list(wanted.tokens)))
    added = grown.ids if grown is not None else ()
    return tokenizer, tuple(sorted({*added, *named}))


def parameters(net: nn.Module) -> tuple[int, int]:
    """How many numbers are trained, and how many there are; weights that are shared count once.

    Args:
        net: the network.
    """
    weights = list(net.parameters())
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    return trained, sum(weight.numel() for weight in weights)


def origin(net: nn.Module) -> Origin | None:
    """Where a network (or what an adapter wraps) was loaded from.

    Args:
        net: the network, in a PEFT wrapper or not.

    Returns:
        None for a network that `load` did not make.
    """
    return getattr(net, "_ftp_origin", None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, load reports and deprecation notes of transformers and peft; errors still come through."""
    log = transformers.utils.logging
    level = log.get_verbosity()
    has_bars = log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        log.set_verbosity(level)
        if has_bars:
            log.enable_progress_bar()


def _network(
    source: Source, config: PretrainedConfig, head: str, labels: tuple[str, ...], seed: int, trust_remote_code: bool
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """The network and the names of its modules that are new."""
    auto = auto_class(source, config, head)
    net, info = _read(source, auto, config, seed, trust_remote_code)
    inside = inside_body(net, config, trust_remote_code)
    # the body of some classes has another name than in the checkpoint, so that nothing of it was read
    moved = renamed_body(info, inside)
    if moved:
        net, info = _read(source, auto, config, seed, trust_remote_code, moved)
    check_weights(source, info, inside)
    # a weight of another shape is one of the head: it was made anew
    new = set(info["missing_keys"])
    new.update(name for name, _, _ in info["mismatched_keys"])
    if heads.get(head).has_classes and has_other_classes(source, labels, trust_remote_code):
        new |= make_head_anew(net, inside, seed)
    fresh = fresh_modules(net, new)
    if heads.get(head).must_be_trained and fresh:
        raise UserError(f"--model {source.name}: the checkpoint has no weights for {', '.join(fresh)}, so it cannot write text",
                        "take the checkpoint of the language model, not that of its body alone")
    rows = net.get_input_embeddings().weight.shape[0]
    # kept on the network: wrappers of it (PEFT) pass attributes on
    net._ftp_origin = Origin(source, moved, rows, getattr(net, "_ftp_quantization", {}))
    return net, fresh


def _read(
    source: Source, auto: type[_BaseAutoModelClass], config: PretrainedConfig, seed: int, trust_remote_code: bool,
    renamed: Mapping[str, str] | None = None,
) -> tuple[PreTrainedModel, LoadingReport]:
    """The network as Transformers reads it, quantised within `quantized`, and its report of what was missing."""
    options: dict[str, object] = {**reading_options(source, trust_remote_code)}
    if source.local:
        options["adapter_kwargs"] = {"local_files_only": True}  # else the hub is asked for an adapter first
    if renamed:
        options["key_mapping"] = dict(renamed)
    quantization = current()
    if quantization:
        from transformers.quantizers import AutoQuantizationConfig

        quantization = with_exceptions(quantization, empty_network(auto, config, trust_remote_code))
        options["quantization_config"] = AutoQuantizationConfig.from_dict(dict(quantization))
    with explained(source), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net, info = auto.from_pretrained(source.where, config=config, dtype=torch.float32, use_safetensors=True,
                                         ignore_mismatched_sizes=True, output_loading_info=True, **options)
    net._ftp_quantization = quantization
    if quantization:
        # bitsandbytes 0.50 would pack 4-bit weights anew on a CPU, with the precision of bf16, and a
        # state dict would turn them back into other ones
        for module in net.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    align(net)
    return net, info


def align(net: torch.nn.Module) -> None:
    """Move weights on a CPU to addresses that are multiples of 64 bytes, where torch itself puts them and a file that is mapped
    into memory does not."""
    # MKL rounds otherwise depending on the address: a resumed run was seen to differ from the unbroken one in the last digit
    for weight in (*net.parameters(), *net.buffers()):
        if type(weight.data) is torch.Tensor and weight.device.type == "cpu" and weight.data_ptr() % 64:
            weight.data = weight.data.clone()


def _tokenizer(source: Source, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint. Raises `UserError` where it is missing or empty."""
    try:
        options = reading_options(source, trust_remote_code)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source.where, **options)
    except Exception as error:
        raise UserError(f"--model {source.name}: its tokenizer cannot be loaded: {first_line(error)}",
                        "copy the tokenizer files of the model it was made from into the folder") from error
    if len(tokenizer) == 0:
        raise UserError(f"--model {source.name}: its tokenizer is empty",
                        "copy the tokenizer files of the model it was made from into the folder")
    return tokenizer


def _fit(source: Source, net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> None:
    """Make network and tokenizer agree on padding; refuse a vocabulary or a length that the network does not have."""
    refuse_too_many(source.name, net, tokenizer)
    if tokenizer.pad_token_id is None:
        stand_in = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
        if not stand_in:
            raise UserError(f"--model {source.name}: the tokenizer has no pad token, and no EOS token that could stand in",
                            "add \"pad_token\" to tokenizer_config.json")
        # it fills rows only; the attention mask says what is padding, never the number
        tokenizer.pad_token = stand_in
    for config in with_text_config(net.config):
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id
    embedding = net.get_input_embeddings()
    if tokenizer.pad_token_id == tokenizer.eos_token_id and isinstance(embedding, nn.Embedding):
        embedding.padding_idx = None  # else the EOS would get no gradient
    limit = capacity(net, tokenizer)
    if max_length and limit is not None and max_length > limit:
        raise UserError(f"--max-length {max_length}: {source.name} takes {limit} tokens a row at most",
                        f"a number up to {limit}")


def untouched(
    net: PreTrainedModel, again: Callable[[], PreTrainedModel]
) -> Callable[[], AbstractContextManager[PreTrainedModel]]:
    """`Model.reference` of a plain model: the checkpoint, loaded a second time at the first use and kept."""
    kept: list[PreTrainedModel] = []

    @contextlib.contextmanager
    def reference() -> Iterator[PreTrainedModel]:
        if not kept:
            kept.append(again().eval().requires_grad_(False))
        kept[0].to(next(net.parameters()).device)
        attention = net.config._attn_implementation
        if kept[0].config._attn_implementation != attention:  # so that packed rows stay apart in it as well
            kept[0].set_attn_implementation(attention)
        with torch.no_grad():
            yield kept[0]

    return reference
