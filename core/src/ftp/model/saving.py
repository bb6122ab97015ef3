"""Write `model/` in the standard layout of Transformers or PEFT, with a card that says how to load it; read it back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

from ftp import addresses, heads
from ftp.answers.fields import an
from ftp.entry_points import entry_points
from ftp.errors import PluginError, UserError, describe, passes_through
from ftp.model.card import card
from ftp.model.configuration import use_cache
from ftp.model.fingerprint import check_base
from ftp.model.growing import Grown
from ftp.model.loading import load, origin, quiet, untouched
from ftp.model.quantization import quantized
from ftp.model.saved_facts import (
    ADAPTER_CONFIG,
    BASE_CONFIG,
    FACTS,
    Facts,
    Start,
    config_folder,
    read,
    read_json,
    write,
    write_json,
)
from ftp.model.source import Source, find
from ftp.plugins.offers import offers
from ftp.types import Baseline, Model, Score

LAYOUTS = "ftp.layouts"
"""Entry points of packages whose models need code of their own: the `model_type` of config.json -> a function that puts what is
in the folder on its base, `(net, folder) -> net`. The code in the folder itself is never run."""


def save(
    model: Model, folder: Path, *, plugins: Sequence[str] = (), scores: Sequence[Score | Baseline] = (),
    base_files: Mapping[str, Mapping[str, str]] | None = None, write_beside: Callable[[Path], None] | None = None,
) -> None:
    """Write a model: weights (safetensors) or adapter, tokenizer, configuration with the names of the classes, and a README.md
    with the exact code that loads it. Needs no network.

    Args:
        model: the model.
        folder: where it is written; made where it is missing.
        plugins: names of the run's plugins, for the README.md.
        scores: the run's scores and baselines, for the README.md.
        base_files: what is known of the files of the checkpoint that it was trained from (hashes, or a revision), to see later
            whether that was changed; None: nothing is.
        write_beside: writes more files into the folder (`Loss.write_beside`); None: there are none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT would read an old card and complain about it
    use_cache(model.net.config, True)
    try:
        with quiet():
            _write_weights(model, folder)
    finally:
        use_cache(model.net.config, False)
    facts = Facts(model.head, model.labels, model.name, tuple(plugins), remote_code=runs_code(model),
                  base_files=base_files or {}, beside=_written_beside(folder, write_beside))
    came_from = origin(model.net)
    if came_from is not None:
        is_adapter = (folder / ADAPTER_CONFIG).exists()
        facts = replace(facts, key_mapping=dict(came_from.key_mapping) if is_adapter else {}, grown=came_from.grown,
                        quantization=dict(came_from.quantization), start=_start(came_from.source))
    write(folder, facts)
    (folder / "README.md").write_text(addresses.without(card(model, folder, plugins, scores)), encoding="utf-8")
    # safetensors writes for the owner alone; a new file has the mode that is usual here
    mode = (folder / FACTS).stat().st_mode
    for weights in folder.glob("*.safetensors"):
        weights.chmod(mode)


def _write_weights(model: Model, folder: Path) -> None:
    """Write weights, tokenizer and configurations."""
    came_from = origin(model.net)
    if model.save is not None:
        model.save(folder)
        _name_base(folder / ADAPTER_CONFIG, came_from.source if came_from else None)
    else:
        is_renamed = came_from is not None and bool(came_from.key_mapping)
        model.net.save_pretrained(folder, save_original_format=not is_renamed)
    save_tokenizer(model.tokenizer, folder)
    if (folder / ADAPTER_CONFIG).exists():
        model.net.config.save_pretrained(folder / BASE_CONFIG)
    if not (folder / BASE_CONFIG).is_dir():
        return
    _unquantised(folder / BASE_CONFIG / "config.json")
    # the base has fewer rows, and is read before it grows
    if came_from is not None and came_from.grown is not None:
        _as_before(folder / BASE_CONFIG / "config.json", came_from.grown)


def _written_beside(folder: Path, write_beside: Callable[[Path], None] | None) -> tuple[str, ...]:
    """Let more files be written into a folder; which they are."""
    before = set(folder.rglob("*"))
    if write_beside is not None:
        write_beside(folder)
    new = [file for file in folder.rglob("*") if file.is_file() and file not in before]
    return tuple(sorted(file.relative_to(folder).as_posix() for file in new))


def copy_beside(source: Path, folder: Path) -> None:
    """Copy what `save` let be written beside the weights in `source`."""
    for name in read(source).beside:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer without the cutting and padding of its last call, which would silently act on whoever reads
    `tokenizer.json` without Transformers, and without a word on where it was loaded from."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    for name in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.save_pretrained(folder)


def runs_code(model: Model) -> bool:
    """Whether any part of a model is code that came with its checkpoint (`trust_remote_code`), and no library's."""
    parts = (*model.net.modules(), model.net.config, model.tokenizer)
    return any(type(part).__module__.partition(".")[0] == TRANSFORMERS_DYNAMIC_MODULE_NAME for part in parts)


def _unquantised(file: Path) -> None:
    """Take the quantisation out of a base's configuration: it would say that the base's own weights are quantised."""
    config = read_json(file)
    if config.pop("quantization_config", None) is not None:
        write_json(file, config)


def _as_before(file: Path, grown: Grown) -> None:
    """Make a base's configuration say the number of rows that its own weights have."""
    config = read_json(file)
    # the number stands at the top, or in a part for the text of a model of images and text
    for part in (config, *config.values()):
        if isinstance(part, dict) and part.get("vocab_size") == grown.rows:
            part["vocab_size"] = grown.before
    write_json(file, config)


def reload(
    folder: Path, *, device: torch.device | str | None = None, trust_remote_code: bool = False, seed: int = 0,
    quantise: bool = True, allow_changed_base: bool = False,
) -> Model:
    """What `save` wrote, ready to answer: in evaluation mode, nothing trained.

    Its `reference` is the checkpoint that the run started from, loaded when it is asked for.

    Args:
        folder: the saved model.
        device: where it goes; None: it stays on the CPU.
        trust_remote_code: whether code that came with its checkpoint may run.
        seed: the run's, from which a head that the checkpoint had not was made.
        quantise: whether a base is read as the run read it, where that was quantised; else it is read in full.
        allow_changed_base: whether the base may have changed since the run.

    Raises:
        UserError: the folder or the base of its adapter is not there; or what is not allowed would be needed.
    """
    facts = read(folder)
    if facts.remote_code and not trust_remote_code:
        raise UserError(f"{folder}: this model needs code of its own to run, which came with {facts.base}",
                        "read that code, and if you trust it (in Python: trust_remote_code=True):", "add --trust-remote-code")
    if allow_changed_base:
        facts = replace(facts, base_files={})
    if not quantise:
        facts = replace(facts, quantization={})
    if (folder / ADAPTER_CONFIG).exists():
        model = _with_adapter(folder, facts)
    elif "base_model_name_or_path" in read_json(folder / "config.json"):
        model = _with_layout(folder, facts)
    else:
        source = Source(str(folder), folder=folder.resolve())
        model = load(source, facts.head, facts.labels, trust_remote_code=facts.remote_code)
        if model.fresh:
            raise UserError(f"{folder}: the weights of {', '.join(model.fresh)} are not in it", "the run did not end well")
    use_cache(model.net.config, heads.get(facts.head).writes_text)  # for generation; T5's encoder alone (tags) refuses one
    model.net.eval().requires_grad_(False)
    if device is not None:
        model.net.to(device)
    reference = _reference(model.net, folder, facts, facts.start, seed) if facts.start is not None else None
    return Model(model.net, model.tokenizer, facts.head, facts.labels, reference=reference, name=facts.base)


def _with_adapter(folder: Path, facts: Facts) -> Model:
    """The base with the adapter of PEFT that is in `folder`."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise UserError(f"{folder}: this is an adapter, and PEFT is not installed", command="ftp install --exact peft") from error
    base = _base(folder, folder / ADAPTER_CONFIG, facts)
    with quiet():
        net = PeftModel.from_pretrained(base.net, str(folder))
    return Model(net, _own_tokenizer(folder, facts), facts.head)


def _with_layout(folder: Path, facts: Facts) -> Model:
    """The base with what an installed package of the folder's layout puts on it."""
    layout = read_json(folder / "config.json")["model_type"]
    # only code of an installed package is run, never a file of the folder
    points = [point for point in entry_points(LAYOUTS) if point.name == layout]
    if not points:
        raise UserError(f"{folder}: no installed package knows models of the kind '{layout}'",
                        f"install the plugin that wrote it: {', '.join(facts.plugins) or 'unknown'}", "ftp plugins")
    base = _base(folder, folder / "config.json", facts)
    point = points[0]
    package = point.package
    put_on_base = cast(Callable[[PreTrainedModel, Path], object], point.load(f"layout '{layout}'"))
    try:
        net = put_on_base(base.net, folder)
    except (Exception, SystemExit) as error:
        if passes_through(error):
            raise
        raise PluginError(f"{folder}: {package}, which reads models of the kind '{layout}', failed: {describe(error)}") from error
    if not isinstance(net, torch.nn.Module):
        raise PluginError(f"{folder}: {package}, which reads models of the kind '{layout}', gave {an(net)}, "
                          "not a torch.nn.Module")
    return Model(net, _own_tokenizer(folder, facts), facts.head)


def _start(source: Source) -> Start:
    """Where a checkpoint came from, for `_reference`."""
    folder = str(source.folder) if source.folder is not None and source.offer is None else None
    return Start(source.name, folder, source.revision)


def _reference(
    net: PreTrainedModel, folder: Path, facts: Facts, start: Start, seed: int
) -> Callable[[], AbstractContextManager[PreTrainedModel]]:
    """`Model.reference` of a model that is read back: the checkpoint that its run started from."""

    def again() -> PreTrainedModel:
        if start.folder is None:
            source = find(start.name, facts.head, start.revision)
        elif Path(start.folder).is_dir():
            source = Source(start.name, folder=Path(start.folder))
        else:
            raise UserError(f"{folder}: the checkpoint that its run started from is not where it was: {start.folder}",
                            "what this run minimises compares with it: put it there again")
        check_base(folder, source, facts.base_files)
        return load(source, facts.head, facts.labels, seed=seed, trust_remote_code=facts.remote_code, grown=facts.grown).net

    return untouched(net, again)


def _name_base(config: Path, source: Source | None) -> None:
    """An adapter's base by its hub id where a package offers it under one: the package's folder is of this machine alone."""
    if source is None or source.offer is None or "/" not in source.name or not config.is_file():
        return
    write_json(config, {**read_json(config), "base_model_name_or_path": source.name})


def _base(folder: Path, config: Path, facts: Facts) -> Model:
    """The base that an adapter's configuration names."""
    content = read_json(config)
    where = content["base_model_name_or_path"]
    # a package's folder may be another one now; what is no path is a hub id
    if facts.base in offers() or not (Path(where).is_absolute() or Path(where).is_dir()):
        source = find(facts.base, facts.head, content.get("revision"))
    elif Path(where).is_dir():
        source = Source(facts.base, folder=Path(where))
    else:
        raise UserError(f"{folder}: the adapter's base model is not where it was: {where}",
                        f"put it there again, or change base_model_name_or_path in {config.name}")
    check_base(folder, source, facts.base_files)
    with quantized(facts.quantization):
        return load(source, facts.head, facts.labels, trust_remote_code=facts.remote_code, grown=facts.grown)


def _own_tokenizer(folder: Path, facts: Facts) -> PreTrainedTokenizerBase:
    """The run's own tokenizer: its template and special tokens may be new."""
    trust = facts.remote_code
    with quiet():
        config = AutoConfig.from_pretrained(config_folder(folder), trust_remote_code=trust)
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trust, config=config)
