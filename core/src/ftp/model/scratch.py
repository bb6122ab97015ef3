"""A network with fresh weights from a Transformers configuration, and a tokenizer trained on the run's own text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ftp import heads
from ftp.errors import Problem, UserError, nearest
from ftp.folder import marker, paths, writing
from ftp.model.configuration import use_cache
from ftp.model.limits import capacity
from ftp.model.loading import quiet
from ftp.model.saving import save_tokenizer
from ftp.types import Data, Model, Run, StartedRun

__all__ = ["build"]

TEXTS_AT_MOST = 1_000_000
"""Training texts that a tokenizer is trained on."""


def build(run: Run, data: Data, *, who: str, config: str, tokenizer: str | None, vocab_size: int) -> Model:
    """A network with the head of the run's task and weights drawn from the run's seed.

    It gets as many embeddings as the tokenizer has tokens.

    Args:
        run: the run.
        data: its rows, on which a tokenizer is trained.
        who: the plugin whose options these are, for messages.
        config: a Transformers configuration with `model_type` and any of its options: a file, a folder with config.json, or
            JSON text.
        tokenizer: a folder or hub id; None: one is trained on the training rows.
        vocab_size: tokens of a trained tokenizer at most.

    Raises:
        UserError: configuration or tokenizer cannot be used, or `--model` is there as well.
    """
    head = run.task.head
    if run.settings.model is not None:
        raise UserError(f"--model and --{who}.model_config: a network is loaded or made from scratch, not both",
                        f"leave out one; --{who}.tokenizer names a tokenizer to take over")
    options = read(config, who)
    own_tokenizer = load_tokenizer(tokenizer, who) if tokenizer else trained_once(run, data, who, vocab_size)
    origin = f"tokenizer of {tokenizer}" if tokenizer else f"tokenizer trained on the training rows: {len(own_tokenizer)} tokens"
    run.tell(f"a network from scratch: {options['model_type']}; {origin}")
    settings = configuration(options, own_tokenizer, who)
    auto_class = heads.get(head).auto_class
    auto = getattr(transformers, auto_class)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.settings.seed)
        try:
            net = auto.from_config(settings)
        except (ValueError, TypeError, KeyError, ZeroDivisionError, RuntimeError) as error:
            raise UserError(f"--{who}.model_config: Transformers makes no network of it: {error}",
                            f"a configuration that {auto_class} knows") from error
    own_tokenizer.model_max_length = capacity(net, own_tokenizer) or own_tokenizer.model_max_length
    net.float()
    use_cache(net.config, False)
    embedding = net.get_input_embeddings()
    if own_tokenizer.pad_token_id == own_tokenizer.eos_token_id and isinstance(embedding, torch.nn.Embedding):
        embedding.padding_idx = None  # else the EOS would get no gradient
    return Model(net, own_tokenizer, head, name=f"{options['model_type']} from scratch")


def read(config: str, who: str) -> dict[str, Any]:
    """The configuration as a dictionary. `UserError` where it is none or does not name its architecture."""
    # what does not begin as JSON is a path
    text = config
    where = f"--{who}.model_config"
    if not config.lstrip().startswith("{"):
        path = Path(config).expanduser()
        if path.is_dir():
            path /= "config.json"
        if not path.is_file():
            raise UserError(f"{where} {config}: there is no such file", "name a config.json, or give JSON text in quotes")
        text = path.read_text(encoding="utf-8")
        where = f"{where} {config}"
    try:
        wanted = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error})", """as in '{"model_type": "llama", "hidden_size": 256}'""") from error
    if not isinstance(wanted, dict) or not isinstance(wanted.get("model_type"), str):
        raise UserError(f"{where}: it does not name its architecture", """add "model_type", as in "llama" or "bert\"""")
    return wanted


def configuration(wanted: dict[str, Any], tokenizer: PreTrainedTokenizerBase, who: str) -> PretrainedConfig:
    """The configuration with the tokenizer's numbers. An option that the architecture does not have is an error."""
    try:
        known = set(AutoConfig.for_model(wanted["model_type"]).to_dict())
    except ValueError as error:
        names = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
        raise UserError(f"--{who}.model_config: Transformers knows no architecture '{wanted['model_type']}'",
                        nearest(wanted["model_type"], names)) from error
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    about = {"architectures", "transformers_version", "torch_dtype", "dtype", "_name_or_path", "auto_map", "num_labels",
             "tie_word_embeddings", "is_decoder", "add_cross_attention", "attn_implementation"}
    mapped = set(getattr(transformers.CONFIG_MAPPING[wanted["model_type"]], "attribute_map", {}))
    problems = []
    for name in wanted:
        if name not in known | about | mapped:
            what = f"--{who}.model_config: '{name}' is no option of {wanted['model_type']}"
            problems.append(Problem(what, nearest(name, known)))
    if problems:
        raise UserError(problems)
    options = {name: value for name, value in wanted.items() if name not in ("model_type", "torch_dtype", "dtype")}
    try:
        return AutoConfig.for_model(wanted["model_type"], **{**options, **ids, "vocab_size": len(tokenizer)})
    except Exception as error:  # configurations check their values each in its own way
        raise UserError(f"--{who}.model_config: {wanted['model_type']} refuses it: {error}") from error


def load_tokenizer(where: str, who: str) -> PreTrainedTokenizerBase:
    """A tokenizer from a folder or the hub."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(where)
    except Exception as error:  # whatever is wrong with it, the user named it
        raise UserError(f"--{who}.tokenizer {where}: cannot be loaded: {str(error).splitlines()[0]}",
                        "name a folder with tokenizer.json, or a hub id") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def trained_once(run: Run, data: Data, who: str, vocab_size: int) -> PreTrainedTokenizerBase:
    """A tokenizer trained on the run's text and kept in its folder (`tokenizer/`): a resumed run and all processes have the
    one that it began with, and do not train it again."""
    has_mask = heads.get(run.task.head).needs_mask_token
    if run.out is None:
        return train(texts(data), vocab_size, has_mask=has_mask)
    folder = run.out / paths.TOKENIZER
    # the main process trains it, and all others read it
    with run.accelerator.main_process_first() if isinstance(run, StartedRun) else nullcontext():
        if not folder.is_dir():
            aside = folder.with_name(f"{paths.TOKENIZER}.part")
            marker.add(run.out, [f"{aside.name}/"])
            save_tokenizer(train(texts(data), vocab_size, has_mask=has_mask), aside)
            writing.sync_tree(aside)
            files = marker.files_in(run.out, aside.name)
            marker.add(run.out, [name.replace(aside.name, folder.name, 1) for name in files])
            aside.replace(folder)
            writing.sync_folder(run.out)
    return load_tokenizer(str(folder), who)


def texts(data: Data) -> Iterator[str]:
    """The training texts, as many as a tokenizer needs."""
    return (row["text"] for row in islice(data.splits["train"], TEXTS_AT_MOST))


def train(lines: Iterator[str], vocab_size: int, *, has_mask: bool) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer (Radford et al. 2019, section 2.2): every text has tokens, none is unknown.

    It writes a BOS before a text.

    Args:
        lines: the texts that it is trained on.
        vocab_size: its tokens at most.
        has_mask: whether it has a mask token, and writes an EOS behind a text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    special = ["<s>", "<pad>", "</s>"]
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    pattern = "<s> $A"
    if has_mask:
        special.append("<mask>")
        names |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
        pattern = "<s> $A </s>"
    # bytes are the alphabet, so that no text has a token that is unknown
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False,
                                                         initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    inner.post_processor = processors.TemplateProcessing(
        single=pattern, special_tokens=[(name, inner.token_to_id(name)) for name in ("<s>", "</s>")])
    return PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False, **names)
