"""Write `model/` in the standard layout of Transformers or PEFT, with a card that says how to load it; read it back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

from ftp import addresses, heads
from ftp.answers.fields import an
from ftp.answers.origin import passes_through
from ftp.errors import PluginError, UserError, describe
from ftp.model.fingerprint import check_base
from ftp.model.growing import Grown
from ftp.model.loading import load, origin, quantized, quiet, untouched, use_cache
from ftp.model.source import Source, find
from ftp.plugins.offers import offers
from ftp.types import Baseline, Model, Score

FACTS = "ftp.json"
BASE_CONFIG = "base_config"
"""Beside an adapter: the base's configuration with this task's classes. In a folder of its own, as `config.json` beside
the adapter would make Transformers look for the whole weights there."""
LAYOUTS = "ftp.layouts"
"""Entry points of packages whose models need code of their own: the `model_type` of config.json -> a function that puts what is
in the folder on its base, `(net, folder) -> net`. The code in the folder itself is never run."""


def save(
    model: Model, folder: Path, *, plugins: Sequence[str] = (), scores: Sequence[Score | Baseline] = (),
    base_files: Mapping[str, Mapping[str, str]] | None = None, write_beside: Callable[[Path], None] | None = None,
) -> None:
    """Write the model: weights (safetensors) or adapter, tokenizer, configuration with the names of the classes, and a
    README.md with the exact code that loads it. Needs no network. `base_files`: what is known of the checkpoint that it was
    trained from, for `fingerprint.check_base`. `write_beside`: writes more files into the folder (`Loss.write_beside`)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT would read an old card and complain about it
    net: Any = model.net
    config: PretrainedConfig = net.config
    came_from = origin(net)
    renamed = dict(came_from.key_mapping) if came_from else {}
    use_cache(config, True)
    try:
        with quiet():
            if model.save is not None:
                model.save(folder)
                _name_base(folder / "adapter_config.json", came_from.source if came_from else None)
            else:
                net.save_pretrained(folder, save_original_format=not renamed)
            save_tokenizer(model.tokenizer, folder)
            adapter = (folder / "adapter_config.json").exists()
            if adapter:
                config.save_pretrained(folder / BASE_CONFIG)
            if (folder / BASE_CONFIG).is_dir():
                _unquantised(folder / BASE_CONFIG / "config.json")
                if came_from is not None and came_from.grown is not None:  # the base has fewer rows, and is read before it grows
                    _as_before(folder / BASE_CONFIG / "config.json", came_from.grown)
    finally:
        use_cache(config, False)
    facts = {"head": model.head, "labels": list(model.labels), "base": model.name, "plugins": list(plugins),
             "key_mapping": renamed if adapter else {}, "quantization": dict(came_from.quantization) if came_from else {},
             "from": _place(came_from.source) if came_from else {}, "remote_code": runs_code(model),
             "base_files": base_files or {}, "beside": _written_beside(folder, write_beside)}
    if came_from is not None and came_from.grown is not None:
        facts["grown"] = asdict(came_from.grown)
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(addresses.without(_card(model, folder, plugins, scores)), encoding="utf-8")
    mode = (folder / FACTS).stat().st_mode  # as a new file has it here; safetensors writes for the owner alone
    for weights in folder.glob("*.safetensors"):
        weights.chmod(mode)


def _written_beside(folder: Path, write_beside: Callable[[Path], None] | None) -> list[str]:
    """Let more files be written into a folder; which they are."""
    before = set(folder.rglob("*"))
    if write_beside is not None:
        write_beside(folder)
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file() and file not in before)


def copy_beside(source: Path, folder: Path) -> None:
    """Copy what `save` let be written beside the weights in `source`."""
    for name in _facts(source).get("beside", ()):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
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
    written = _read(file)
    if written.pop("quantization_config", None) is not None:
        file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def _as_before(file: Path, grown: Grown) -> None:
    """Make a base's configuration say the number of rows that its own weights have."""
    written = _read(file)
    parts = [written, *(part for part in written.values() if isinstance(part, dict))]
    for part in parts:
        if part.get("vocab_size") == grown.rows:
            part["vocab_size"] = grown.before
    file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def loading_code(folder: Path, name: str | None = None, base: str | None = None) -> str:
    """Python that loads a saved model with Transformers (and PEFT) alone. `name`: what the code calls the folder. `base`: what
    it calls an adapter's base, where it is not to be what the adapter's configuration says."""
    facts = _facts(folder)
    where = name or folder.name
    config = _read(_config_folder(folder) / "config.json")
    auto = heads.get(facts["head"]).auto_class_of(bool(config.get("is_encoder_decoder")))
    layout = "base_model_name_or_path" in _read(folder / "config.json")  # its code is that of the package that wrote it
    trust = ", trust_remote_code=True" if facts.get("remote_code") or layout else ""
    if not (folder / "adapter_config.json").exists():
        return (f"from transformers import {auto}, AutoTokenizer\n\n"
                f'model = {auto}.from_pretrained("{where}", dtype="float32"{trust})\n'
                f'tokenizer = AutoTokenizer.from_pretrained("{where}"{trust})\n')
    written = _read(folder / "adapter_config.json")
    more = f', revision="{written["revision"]}"' if written.get("revision") else ""
    more += f", key_mapping={facts['key_mapping']}" if facts.get("key_mapping") else ""
    quantised, imports = "", ""
    if facts.get("quantization"):
        imports = "from transformers.quantizers import AutoQuantizationConfig\n"
        quantised = f"quantization_config=AutoQuantizationConfig.from_dict({facts['quantization']}), "
    grown = _grown(facts)
    resized = (f"base.resize_token_embeddings({grown.rows}, mean_resizing=False)  # the adapter has the new rows\n"
               if grown is not None and grown.rows > grown.before else "")
    return (f"from peft import PeftModel\nfrom transformers import AutoConfig, {auto}, AutoTokenizer\n{imports}\n"
            f'config = AutoConfig.from_pretrained("{where}/{BASE_CONFIG}"{trust})\n'
            f'base = {auto}.from_pretrained({json.dumps(base or written["base_model_name_or_path"])}{more}, config=config, '
            f'{quantised}dtype="float32"{trust})\n'
            f'{resized}'
            f'model = PeftModel.from_pretrained(base, "{where}")\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{where}"{trust})\n')


def reload(
    folder: Path, *, device: torch.device | str | None = None, trust_remote_code: bool = False, seed: int = 0,
    quantise: bool = True, allow_changed_base: bool = False,
) -> Model:
    """What `save` wrote, ready to answer: in evaluation mode, nothing trained. `reference` is the checkpoint that the run started
    from, loaded when it is asked for (`seed`: the run's, from which a head that it had not was made). `quantise`: read a base as
    the run read it, where that was quantised; else in full. Raises `UserError` where the folder or the base of its adapter is
    not there, for a model with code of its own without `trust_remote_code`, and for a base that was changed since the run, unless
    `allow_changed_base`."""
    facts = _facts(folder)
    if allow_changed_base:
        facts = {**facts, "base_files": {}}
    if facts.get("remote_code") and not trust_remote_code:
        raise UserError(f"{folder}: this model needs code of its own to run, which came with {facts['base']}",
                        "read that code, and if you trust it (in Python: trust_remote_code=True):", "add --trust-remote-code")
    trust_remote_code = bool(facts.get("remote_code"))  # no more than what it was trained with
    if not quantise:
        facts = {**facts, "quantization": {}}
    head, labels = facts["head"], tuple(facts["labels"])
    if (folder / "adapter_config.json").exists():
        model = _with_adapter(folder, facts, trust_remote_code)
    elif "base_model_name_or_path" in _read(folder / "config.json"):
        model = _with_layout(folder, facts, trust_remote_code)
    else:
        model = load(Source(str(folder), folder=folder.resolve()), head, labels, trust_remote_code=trust_remote_code)
        if model.fresh:
            raise UserError(f"{folder}: the weights of {', '.join(model.fresh)} are not in it", "the run did not end well")
    use_cache(model.net.config, heads.get(head).writes_text)  # for generation; T5's encoder alone (tags) refuses one
    model.net.eval().requires_grad_(False)
    if device is not None:
        model.net.to(device)
    reference = _reference(model.net, folder, facts, trust_remote_code, seed) if facts.get("from") else None
    return Model(model.net, model.tokenizer, head, labels, reference=reference, name=facts["base"])


def _with_adapter(folder: Path, facts: dict[str, Any], trust_remote_code: bool) -> Model:
    """The base with the adapter of PEFT that is in `folder`."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise UserError(f"{folder}: this is an adapter, and PEFT is not installed", command="pip install peft") from error
    base = _base(folder, folder / "adapter_config.json", facts, trust_remote_code)
    with quiet():
        net = PeftModel.from_pretrained(base.net, str(folder))
    return Model(net, _own_tokenizer(folder, trust_remote_code), facts["head"])


def _with_layout(folder: Path, facts: dict[str, Any], trust_remote_code: bool) -> Model:
    """The base with what an installed package of the folder's layout puts on it."""
    layout = _read(folder / "config.json")["model_type"]
    points = list(metadata.entry_points(group=LAYOUTS, name=layout))
    if not points:
        raise UserError(f"{folder}: no installed package knows models of the kind '{layout}'",
                        f"install the plugin that wrote it: {', '.join(facts.get('plugins', ())) or 'unknown'}", "ftp plugins")
    base = _base(folder, folder / "config.json", facts, trust_remote_code)
    package = f"{points[0].dist.name} {points[0].dist.version}" if points[0].dist else points[0].value
    try:
        put: Callable[[Any, Path], Any] = points[0].load()
        net = put(base.net, folder)
    except (Exception, SystemExit) as error:
        if passes_through(error):
            raise
        raise PluginError(f"{folder}: {package}, which reads models of the kind '{layout}', failed: {describe(error)}") from error
    if not isinstance(net, torch.nn.Module):
        raise PluginError(f"{folder}: {package}, which reads models of the kind '{layout}', gave {an(net)}, "
                          "not a torch.nn.Module")
    return Model(net, _own_tokenizer(folder, trust_remote_code), facts["head"])


def _place(source: Source) -> dict[str, str | None]:
    """Where a checkpoint came from, for `_reference`."""
    return {"name": source.name, "folder": str(source.folder) if source.folder is not None and source.offer is None else None,
            "revision": source.revision}


def _reference(
    net: PreTrainedModel, folder: Path, facts: dict[str, Any], trust_remote_code: bool, seed: int
) -> Callable[[], AbstractContextManager[PreTrainedModel]]:
    """`Model.reference` of a model that is read back: the checkpoint that its run started from."""
    name, where, revision = (facts["from"][field] for field in ("name", "folder", "revision"))

    def again() -> PreTrainedModel:
        if where is not None and not Path(where).is_dir():
            raise UserError(f"{folder}: the checkpoint that its run started from is not where it was: {where}",
                            "what this run minimises compares with it: put it there again")
        source = Source(name, folder=Path(where)) if where is not None else find(name, facts["head"], revision)
        check_base(folder, source, facts.get("base_files") or {})
        return load(source, facts["head"], tuple(facts["labels"]), seed=seed, trust_remote_code=trust_remote_code,
                    grown=_grown(facts)).net

    return untouched(net, again)


def _name_base(config: Path, source: Source | None) -> None:
    """An adapter's base by its hub id where a package offers it under one: the package's folder is of this machine alone."""
    if source is None or source.offer is None or "/" not in source.name or not config.is_file():
        return
    config.write_text(json.dumps({**_read(config), "base_model_name_or_path": source.name}, indent=2) + "\n", encoding="utf-8")


def _base(folder: Path, config: Path, facts: dict[str, Any], trust_remote_code: bool) -> Model:
    """The base that an adapter's configuration names."""
    written = _read(config)
    where, head = written["base_model_name_or_path"], facts["head"]
    if facts["base"] in offers() or not (Path(where).is_absolute() or Path(where).is_dir()):
        source = find(facts["base"], head, written.get("revision"))
    elif Path(where).is_dir():
        source = Source(facts["base"], folder=Path(where))
    else:
        raise UserError(f"{folder}: the adapter's base model is not where it was: {where}",
                        f"put it there again, or change base_model_name_or_path in {config.name}")
    check_base(folder, source, facts.get("base_files") or {})
    with quantized(facts.get("quantization") or {}):
        return load(source, head, tuple(facts["labels"]), trust_remote_code=trust_remote_code, grown=_grown(facts))


def _own_tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    """The run's own tokenizer: its template and special tokens may be new."""
    with quiet():
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trust_remote_code,
                                             config=AutoConfig.from_pretrained(_config_folder(folder),
                                                                               trust_remote_code=trust_remote_code))


def _read(file: Path) -> dict[str, Any]:
    """A file of JSON; empty where there is none."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return content


def _grown(facts: Mapping[str, Any]) -> Grown | None:
    """The rows that the run gave to tokens of its own."""
    kept = facts.get("grown")
    return Grown(tuple(kept["ids"]), kept["rows"], kept["before"]) if kept else None


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: not a model that a run wrote ({FACTS} is missing or not readable)",
                        "name the folder of a run", "ftp runs") from error
    return facts


def _config_folder(folder: Path) -> Path:
    return folder / BASE_CONFIG if (folder / BASE_CONFIG).is_dir() else folder


def _card(model: Model, folder: Path, plugins: Sequence[str], scores: Sequence[Score | Baseline]) -> str:
    origin_line = f"Made from `{model.name or model.net.name_or_path}`"
    if plugins:
        origin_line += f" with ftp, plugins: {', '.join(plugins)}"
    head = ["---", "library_name: " + ("peft" if (folder / "adapter_config.json").exists() else "transformers")]
    if "/" in model.name and not Path(model.name).exists():
        head.append(f"base_model: {model.name}")
    lines = [*head, "---", "", f"# {folder.resolve().parent.name}", "", origin_line + ".", ""]
    if model.labels:
        lines += [f"Classes: {', '.join(model.labels)}.", ""]
    if scores:
        lines += ["| score | value | split | rows |", "| --- | --- | --- | --- |"]
        for score in scores:
            name = f"{score.name} ({score.baseline})" if isinstance(score, Baseline) else score.name
            lines.append(f"| {name} | {score.value:.4g} | {score.split} | {score.n} |")
        lines.append("")
    lines += ["## Load it", "", "Transformers and, for an adapter, PEFT are all that is needed:", "", "```python"]
    lines += [loading_code(folder, name="model").rstrip(), "```", ""]
    came_from = origin(model.net)
    source = came_from.source if came_from is not None else None
    if (folder / "adapter_config.json").exists() and source is not None and source.offer is not None and "/" in source.name:
        lines += [f"Without a network, the package `{source.package.split()[0]}` has the base; its folder is "
                  f'`ftp.model.find("{source.name}", "{model.head}").folder`.', ""]
    elif (folder / "adapter_config.json").exists() and source is not None and source.folder is not None:
        lines += [f"The folder of the base is that of the machine where the adapter was trained. Elsewhere, put the folder of "
                  f"`{model.name}` in its place, here and as `base_model_name_or_path` in adapter_config.json.", ""]
    if example := heads.get(model.head).example:
        lines += ["```python", example.rstrip(), "```", ""]
    return "\n".join(lines)
