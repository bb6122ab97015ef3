"""Load a checkpoint with the head of a task, and say clearly what does not fit."""

from __future__ import annotations

import contextlib
import copy
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ftp.errors import Problem, UserError
from ftp.model.growing import Grown, NewTokens, give_rows, grow, refuse_too_many, set_rows
from ftp.model.source import Source, check_files
from ftp.types import Head, Model

AUTO: Mapping[Head, str] = {
    "labels": "AutoModelForSequenceClassification",
    "tags": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "tokens": "AutoModelForCausalLM",
    "mask": "AutoModelForMaskedLM",
    "score": "AutoModelForSequenceClassification",
}
"""The Transformers class that loads a network with a head; `tokens` of an encoder-decoder is AutoModelForSeq2SeqLM."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
                   "tekken.json", "vocab.model", "tiktoken.model")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class Origin:
    """What must be known of a network's checkpoint when it is saved. `key_mapping`: renames the checkpoint's weights where
    the class calls its body otherwise. `vocabulary`: rows of the embeddings as they were loaded, with those that were `grown`.
    `quantization`: what `quantized` was given, with the modules that were left as they are."""

    source: Source
    key_mapping: Mapping[str, str]
    vocabulary: int
    quantization: Mapping[str, Any] = field(default_factory=dict)
    grown: Grown | None = None


_QUANTIZATION: list[Mapping[str, Any]] = []  # how `load` reads weights within `quantized`; the innermost counts


@contextlib.contextmanager
def quantized(config: Mapping[str, Any]) -> Iterator[None]:
    """Within it, `load` quantises the weights of the body as it reads them, and leaves heads and output layers as they are.
    `config`: a quantisation configuration of Transformers as a dictionary; an empty one changes nothing."""
    _QUANTIZATION.append(config)
    try:
        yield
    finally:
        _QUANTIZATION.pop()


def load(
    source: Source,
    head: Head,
    labels: tuple[str, ...] = (),
    *,
    seed: int = 0,
    trust_remote_code: bool = False,
    max_length: int | None = None,
    device: torch.device | str | None = None,
    new_tokens: NewTokens | None = None,
    grown: Grown | None = None,
) -> Model:
    """The checkpoint of `source` with the head that the task needs, in fp32, with its tokenizer.

    A head that the checkpoint does not have is made from `seed` alone and named in `Model.fresh`; so is one of another
    number of classes, or of other classes. `max_length`: tokens a row, checked against what the network can take.
    `new_tokens`: tokens to add, with their rows, which are in `Model.fresh_tokens`; `grown`: rows that were added before, to a
    network whose tokenizer is another.
    Raises `UserError` for a folder that is no model, weights that do not match the configuration, weights that are not
    safetensors, a tokenizer that is missing or larger than the embeddings, and a network that has no such head.
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
    settled, how = copy.deepcopy(net.config), getattr(net, "_ftp_quantization", {})
    if how:
        del settled.quantization_config

    def again() -> PreTrainedModel:
        with quiet(), quantized(how):
            config = copy.deepcopy(settled)
            if grown is not None:
                set_rows(config, grown.before)
            other = _network(source, config, head, labels, seed, trust_remote_code)[0]
            if grown is not None:
                give_rows(other, grown, seed)
            return other

    return Model(net, tokenizer, head, labels, fresh, reference=untouched(net, again), name=source.name,
                 fresh_tokens=grown.ids if grown is not None else ())


def shape_only(
    source: Source, head: Head, labels: tuple[str, ...] = (), *, trust_remote_code: bool = False
) -> PreTrainedModel:
    """The network of `load` without weights, on the meta device: its modules, names and shapes."""
    with quiet():
        config = read_config(source, head, labels, trust_remote_code)
        return _shape(_auto(source, config, head), config, trust_remote_code)


def grow_shape(
    source: Source, net: PreTrainedModel, wanted: NewTokens, *, trust_remote_code: bool = False
) -> tuple[PreTrainedTokenizerBase, tuple[int, ...]]:
    """Give the network of `shape_only` the rows that `load` would add for new tokens.

    Returns the tokenizer with them, and the ids that `Model.fresh_tokens` has for certain; which other rows look untrained, only
    the weights say. Raises `UserError` as `load` does.
    """
    with quiet():
        tokenizer = _tokenizer(source, trust_remote_code)
        grown = grow(net, tokenizer, wanted, seed=0)
    refuse_too_many(source.name, net, tokenizer)
    named = [int(number) for number in tokenizer.convert_tokens_to_ids(list(wanted.tokens))]
    added = grown.ids if grown is not None else ()
    return tokenizer, tuple(sorted({*added, *named}))


def parameters(net: nn.Module) -> tuple[int, int]:
    """How many numbers are trained, and how many there are; weights that are shared count once."""
    weights = list(net.parameters())
    return sum(one.numel() for one in weights if one.requires_grad), sum(one.numel() for one in weights)


def origin(net: nn.Module) -> Origin | None:
    """Where a network (or what an adapter wraps) was loaded from; None for one that `load` did not make."""
    return getattr(net, "_ftp_origin", None)


def capacity(net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tokens a row that the network can take at most; None where nothing says so (relative positions)."""
    config = net.config.get_text_config()
    known = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_sequence_length")]
    limit = next((int(one) for one in known if isinstance(one, int) and one > 0), None)
    for name, module in net.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            limit = module.num_embeddings - module.padding_idx - 1  # positions start behind the pad token's number
    own = tokenizer.model_max_length
    if own and own < 10**9:
        return min(own, limit) if limit else int(own)
    return limit


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, load reports and deprecation notes of transformers and peft; errors still come through."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def check_folder(source: Source, trust_remote_code: bool = False) -> None:
    """Raise `UserError` with everything that is missing in a folder: configuration, safetensors weights, tokenizer."""
    folder = source.folder
    if folder is None:
        return
    problems: list[Problem] = []
    if (folder / "adapter_config.json").exists():
        raise UserError(f"--model {source.name}: this is an adapter, not a whole model",
                        "merge it into its base first, then name the merged folder",
                        f"ftp merge {folder} --out {folder}-merged")
    if not (folder / "config.json").is_file():
        problems.append(Problem(f"--model {source.name}: {folder} has no config.json",
                                "a model is a folder with config.json, model.safetensors and its tokenizer"))
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(file for pattern in PICKLES for file in folder.glob(pattern) if file.name != "training_args.bin")
        if pickles:
            problems.append(Problem(f"--model {source.name}: its weights are pickled ({pickles[0].name}), which can run code; "
                                    "only safetensors are loaded", "convert them if you trust their origin",
                                    conversion(pickles[0])))
        else:
            problems.append(Problem(f"--model {source.name}: {folder} has no weights (*.safetensors)"))
    if not trust_remote_code and not any((folder / name).exists() for name in TOKENIZER_FILES):
        problems.append(Problem(f"--model {source.name}: {folder} has no tokenizer",
                                "copy tokenizer.json and tokenizer_config.json of the model it was made from into it"))
    if problems:
        raise UserError(problems)


def conversion(pickle: Path) -> str:
    """A command that writes a pickled state dict as safetensors beside it, without running code from the file."""
    target = pickle.with_name("model.safetensors")
    return ("python -c \"import torch, safetensors.torch as s; "
            f"w = torch.load(r'{pickle}', map_location='cpu', weights_only=True); "
            f"s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, r'{target}', metadata={{'format': 'pt'}})\"")


def read_config(source: Source, head: Head, labels: tuple[str, ...], trust_remote_code: bool) -> PretrainedConfig:
    """The checkpoint's configuration with the classes of this task, and without a cache of keys and values."""
    with _explained(source):
        config = AutoConfig.from_pretrained(source.where, **_options(source, trust_remote_code))
    if head in ("labels", "tags"):
        if not labels:
            raise ValueError(f"head '{head}' needs the names of the classes")
        config.id2label = dict(enumerate(labels))
        config.label2id = {name: number for number, name in enumerate(labels)}
    elif head == "score":
        config.id2label, config.label2id = {0: "score"}, {"score": 0}
    use_cache(config, False)
    return config


def use_cache(config: PretrainedConfig, value: bool) -> None:
    """Whether the network keeps keys and values for generation: on in what is saved, off while it is trained."""
    for one in {id(part): part for part in (config, config.get_text_config())}.values():
        if hasattr(one, "use_cache"):
            one.use_cache = value


def _options(source: Source, trust_remote_code: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if source.local:
        options["local_files_only"] = True
    if source.hub_id is not None and source.revision:
        options["revision"] = source.revision
    return options


def _auto(source: Source, config: PretrainedConfig, head: Head) -> Any:
    """The Auto class for a head, after a check that the architecture has it."""
    name = AUTO[head]
    kind = config.model_type
    if head == "tokens":
        if config.is_encoder_decoder:
            name = "AutoModelForSeq2SeqLM"
        elif _has(transformers.AutoModelForMaskedLM, config) and not getattr(config, "is_decoder", False):
            raise UserError(f"--model {source.name}: '{kind}' reads text in both directions, so it cannot be trained to write "
                            "the next token", "take a decoder (gpt2, llama, qwen, ...), or an objective for encoders (mlm)")
    if head == "mask" and config.is_encoder_decoder:
        raise UserError(f"--model {source.name}: '{kind}' writes with a decoder what its encoder has read; masked tokens are "
                        "filled in by an encoder alone", "take an encoder (bert, roberta, ...), or sft for this model")
    auto = getattr(transformers, name)
    if not _has(auto, config) and name not in (getattr(config, "auto_map", None) or {}):
        paired: dict[Head, str] = {"tokens": "AutoModelForSeq2SeqLM", "mask": ""} if config.is_encoder_decoder else {}
        heads = [one for one, other in {**AUTO, **paired}.items() if other and _has(getattr(transformers, other), config)]
        fix = f"heads it has: {', '.join(heads) or 'none'}"
        if config.is_encoder_decoder:
            kin = sorted(one.model_type for one in auto._model_mapping if getattr(one, "is_encoder_decoder", False) is True)
            fix += f"; encoder-decoders with the head '{head}': {', '.join(kin) or 'none'}"
        raise UserError(f"--model {source.name}: '{kind}' has no head '{head}'", fix)
    return auto


def _has(auto: Any, config: PretrainedConfig) -> bool:
    return type(config) in auto._model_mapping


def _shape(auto: Any, config: PretrainedConfig, trust_remote_code: bool) -> PreTrainedModel:
    with torch.device("meta"):
        net: PreTrainedModel = auto.from_config(config, trust_remote_code=trust_remote_code)
    return net


def _network(
    source: Source, config: PretrainedConfig, head: Head, labels: tuple[str, ...], seed: int, trust_remote_code: bool
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """The network and the names of its modules that are new."""
    auto = _auto(source, config, head)
    net, info = _read(source, auto, config, seed, trust_remote_code)
    inside = _inside(net, config, trust_remote_code)
    moved = _prefix(info, inside)
    if moved:
        net, info = _read(source, auto, config, seed, trust_remote_code, moved)
    missing, unexpected = set(info["missing_keys"]), set(info["unexpected_keys"])
    mismatched = {name: (tuple(got), tuple(want)) for name, got, want in info["mismatched_keys"]}
    problems = []
    wrong = {name: shapes for name, shapes in mismatched.items() if inside(name)}
    if wrong:
        name, (got, want) = next(iter(sorted(wrong.items())))
        problems.append(f"{len(wrong)} have another shape ({name} is {list(got)}, the configuration says {list(want)})")
    if lost := sorted(name for name in missing if inside(name) and "pooler" not in name.split(".")):
        problems.append(f"{len(lost)} are missing ({_some(lost)})")
    if left := sorted(name for name in unexpected if inside(name) and "pooler" not in name.split(".")):
        problems.append(f"{len(left)} have no place ({_some(left)})")
    if problems:
        raise UserError(f"--model {source.name}: weights that do not match the config: {'; '.join(problems)}",
                        "config.json belongs to another model, or the weights are incomplete: get both from one place")
    new = missing | set(mismatched)
    if head in ("labels", "tags") and _other_classes(source, labels, trust_remote_code):
        new |= _anew(net, inside, seed)
    fresh = fresh_modules(net, new)
    if head == "tokens" and fresh:
        raise UserError(f"--model {source.name}: the checkpoint has no weights for {', '.join(fresh)}, so it cannot write text",
                        "take the checkpoint of the language model, not that of its body alone")
    rows = net.get_input_embeddings().weight.shape[0]
    how = getattr(net, "_ftp_quantization", {})
    net._ftp_origin = Origin(source, moved, rows, how)  # kept on the network: wrappers of it (PEFT) pass attributes on
    return net, fresh


def _read(
    source: Source, auto: Any, config: PretrainedConfig, seed: int, trust_remote_code: bool,
    renamed: Mapping[str, str] | None = None,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    options = _options(source, trust_remote_code)
    if source.local:
        options["adapter_kwargs"] = {"local_files_only": True}  # else the hub is asked for an adapter first
    if renamed:
        options["key_mapping"] = dict(renamed)
    how = _QUANTIZATION[-1] if _QUANTIZATION else {}
    if how:
        from transformers.quantizers import AutoQuantizationConfig

        how = _with_exceptions(how, _shape(auto, config, trust_remote_code))
        options["quantization_config"] = AutoQuantizationConfig.from_dict(dict(how))
    with _explained(source), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net, info = auto.from_pretrained(source.where, config=config, dtype=torch.float32, use_safetensors=True,
                                         ignore_mismatched_sizes=True, output_loading_info=True, **options)
    net._ftp_quantization = how
    for module in net.modules() if how else ():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # bitsandbytes 0.50 would pack 4-bit weights anew on a CPU, with bf16's
            module.support_avx512bf16_for_cpu = False  # precision, and a state dict would turn them back into other ones
    align(net)
    return net, info


def align(net: torch.nn.Module) -> None:
    """Move weights on a CPU to addresses that are multiples of 64 bytes, where torch itself puts them and a file read by
    mapping it into memory does not: MKL rounds otherwise depending on the address, so that a resumed run was seen to differ
    from the unbroken one in the last digit."""
    for weight in (*net.parameters(), *net.buffers()):
        if type(weight.data) is torch.Tensor and weight.device.type == "cpu" and weight.data_ptr() % 64:
            weight.data = weight.data.clone()


def _with_exceptions(how: Mapping[str, Any], shape: PreTrainedModel) -> dict[str, Any]:
    """A quantisation that leaves out what lies beside the body (heads, output layers) and BERT's pooler, which may be new."""
    left = [name for name, _ in shape.named_children() if name != shape.base_model_prefix]
    left += [name for name, _ in shape.named_modules() if name.split(".")[-1] == "pooler"]
    option = "llm_int8_skip_modules" if how.get("quant_method", "bitsandbytes") == "bitsandbytes" else "modules_to_not_convert"
    return {**how, option: sorted({*(how.get(option) or ()), *left})}


@contextlib.contextmanager
def _explained(source: Source) -> Iterator[None]:
    """Turn what transformers raises over a user's model into a `UserError`."""
    from safetensors import SafetensorError

    try:
        yield
    except UserError:
        raise
    except SafetensorError as error:
        raise UserError(f"--model {source.name}: the weights cannot be read: {_line(error)}",
                        "the file is incomplete or damaged: copy it again") from error
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        text = str(error)
        if "trust_remote_code" in text:
            raise UserError(f"--model {source.name}: it needs code of its own to run, which was not loaded",
                            "read that code, and if you trust it:", "add --trust-remote-code") from error
        if not source.local and ("safetensors" in text or "use_safetensors" in text):
            raise UserError(f"--model {source.name}: its weights are not safetensors on the hub, and pickled ones can run code",
                            "download it, convert it (see --model FOLDER), or take a revision that has safetensors") from error
        raise UserError(f"--model {source.name}: it cannot be loaded: {_line(error)}") from error


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().split("\n") if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:400]


def _some(names: Iterable[str], most: int = 3) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")


def _inside(net: PreTrainedModel, config: PretrainedConfig, trust_remote_code: bool) -> Callable[[str], bool]:
    """Tells the weights of the body from those of a head: the body's are those that the bare network has."""
    prefixes = {net.base_model_prefix}
    try:
        body = _shape(AutoModel, config, trust_remote_code)
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


def _prefix(info: Mapping[str, Any], inside: Callable[[str], bool]) -> dict[str, str]:
    """A renaming of weights where the class calls its body otherwise than the checkpoint does (LlamaForQuestionAnswering:
    `transformer`, all other Llamas: `model`). Transformers loads nothing then and only notes it."""
    wanted = {name.partition(".")[2]: name.partition(".")[0] for name in info["missing_keys"] if inside(name)}
    given = {name.partition(".")[2]: name.partition(".")[0] for name in info["unexpected_keys"]}
    pairs = {(given[name], wanted[name]) for name in wanted.keys() & given.keys() if name}
    return {rf"^{re.escape(old)}\.": f"{new}." for old, new in pairs if old != new} if len(pairs) == 1 else {}


def _other_classes(source: Source, labels: tuple[str, ...], trust_remote_code: bool) -> bool:
    """Whether the checkpoint names classes, and other ones than the data has: its head would answer another question."""
    before = AutoConfig.from_pretrained(source.where, **_options(source, trust_remote_code)).id2label
    names = tuple(before[number] for number in sorted(before))
    return not all(re.fullmatch(r"LABEL_\d+", str(name)) for name in names) and names != tuple(labels)


def _anew(net: PreTrainedModel, inside: Callable[[str], bool], seed: int) -> set[str]:
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


def _tokenizer(source: Source, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source.where, **_options(source, trust_remote_code))
    except Exception as error:
        raise UserError(f"--model {source.name}: its tokenizer cannot be loaded: {_line(error)}",
                        "copy the tokenizer files of the model it was made from into the folder") from error
    if len(tokenizer) == 0:
        raise UserError(f"--model {source.name}: its tokenizer is empty",
                        "copy the tokenizer files of the model it was made from into the folder")
    return tokenizer


def _fit(source: Source, net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> None:
    """Make network and tokenizer agree on padding; refuse a vocabulary or a length that the network does not have."""
    refuse_too_many(source.name, net, tokenizer)
    if tokenizer.pad_token_id is None:
        stand_in = next((one for one in (tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token) if one), None)
        if stand_in is None:
            raise UserError(f"--model {source.name}: the tokenizer has no pad token, and no EOS token that could stand in",
                            "add \"pad_token\" to tokenizer_config.json")
        tokenizer.pad_token = stand_in  # fills rows only; the attention mask says what is padding, never the number
    for config in {id(part): part for part in (net.config, net.config.get_text_config())}.values():
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id
    embedding = net.get_input_embeddings()
    if tokenizer.pad_token_id == tokenizer.eos_token_id and isinstance(embedding, nn.Embedding):
        embedding.padding_idx = None  # else the EOS would get no gradient
    limit = capacity(net, tokenizer)
    if max_length and limit and max_length > limit:
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

