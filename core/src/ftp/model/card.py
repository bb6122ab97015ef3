"""The README.md of a saved model: what it is, its scores, and the exact code that loads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ftp import heads
from ftp.model.loading import origin
from ftp.model.saved_facts import ADAPTER_CONFIG, BASE_CONFIG, Facts, config_folder, read, read_json
from ftp.types import Baseline, Model, Score

PLAIN = """\
from transformers import {auto}, AutoTokenizer

model = {auto}.from_pretrained("{where}", dtype="float32"{trust})
tokenizer = AutoTokenizer.from_pretrained("{where}"{trust})
"""
"""Code that loads a whole model."""


def loading_code(folder: Path, name: str | None = None, base: str | None = None) -> str:
    """Python that loads a saved model with Transformers (and PEFT) alone.

    Args:
        folder: the saved model.
        name: what the code calls the folder; None: its own name.
        base: what it calls an adapter's base; None: what the adapter's configuration says.
    """
    facts = read(folder)
    where = name or folder.name
    is_encoder_decoder = bool(read_json(config_folder(folder) / "config.json").get("is_encoder_decoder"))
    auto = heads.get(facts.head).auto_class_of(is_encoder_decoder)
    # the code of a layout is that of the package that wrote it
    has_layout = "base_model_name_or_path" in read_json(folder / "config.json")
    trust = ", trust_remote_code=True" if facts.remote_code or has_layout else ""
    if not (folder / ADAPTER_CONFIG).exists():
        return PLAIN.format(auto=auto, where=where, trust=trust)
    return _adapter_code(folder, facts, where, base, auto, trust)


def _adapter_code(folder: Path, facts: Facts, where: str, base: str | None, auto: str, trust: str) -> str:
    """Python that loads an adapter and its base."""
    config = read_json(folder / ADAPTER_CONFIG)
    imports = ["from peft import PeftModel", f"from transformers import AutoConfig, {auto}, AutoTokenizer"]
    arguments = [json.dumps(base or config["base_model_name_or_path"])]
    # without it a later version of the base would be loaded under these adapters
    if config.get("revision"):
        arguments.append(f'revision="{config["revision"]}"')
    if facts.key_mapping:
        arguments.append(f"key_mapping={facts.key_mapping}")
    arguments.append("config=config")
    if facts.quantization:
        imports.append("from transformers.quantizers import AutoQuantizationConfig")
        arguments.append(f"quantization_config=AutoQuantizationConfig.from_dict({facts.quantization})")
    lines = [
        *imports,
        "",
        f'config = AutoConfig.from_pretrained("{where}/{BASE_CONFIG}"{trust})',
        f'base = {auto}.from_pretrained({", ".join(arguments)}, dtype="float32"{trust})',
    ]
    # PEFT loads the rows of new tokens into a table that is large enough, and makes none
    if facts.grown is not None and facts.grown.rows > facts.grown.before:
        lines.append(f"base.resize_token_embeddings({facts.grown.rows}, mean_resizing=False)  # the adapter has the new rows")
    lines += [
        f'model = PeftModel.from_pretrained(base, "{where}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{where}"{trust})',
        "",
    ]
    return "\n".join(lines)


def card(model: Model, folder: Path, plugins: Sequence[str], scores: Sequence[Score | Baseline]) -> str:
    """The text of the README.md of a model that was saved in a folder."""
    is_adapter = (folder / ADAPTER_CONFIG).exists()
    lines = ["---", f"library_name: {'peft' if is_adapter else 'transformers'}"]
    if "/" in model.name and not Path(model.name).exists():
        lines.append(f"base_model: {model.name}")
    made_with = f" with ftp, plugins: {', '.join(plugins)}" if plugins else ""
    lines += ["---", "", f"# {folder.resolve().parent.name}", "",
              f"Made from `{model.name or model.net.name_or_path}`{made_with}.", ""]
    if model.labels:
        lines += [f"Classes: {', '.join(model.labels)}.", ""]
    if scores:
        lines += [*_score_table(scores), ""]
    lines += ["## Load it", "", "Transformers and, for an adapter, PEFT are all that is needed:", "", "```python",
              loading_code(folder, name="model").rstrip(), "```", ""]
    if is_adapter:
        lines += _where_the_base_is(model)
    example = heads.get(model.head).example
    if example:
        lines += ["```python", example.rstrip(), "```", ""]
    return "\n".join(lines)


def _score_table(scores: Sequence[Score | Baseline]) -> list[str]:
    lines = ["| score | value | split | rows |", "| --- | --- | --- | --- |"]
    for score in scores:
        name = f"{score.name} ({score.baseline})" if isinstance(score, Baseline) else score.name
        lines.append(f"| {name} | {score.value:.4g} | {score.split} | {score.n} |")
    return lines


def _where_the_base_is(model: Model) -> list[str]:
    """How to find the base of an adapter where the code alone does not say it."""
    came_from = origin(model.net)
    if came_from is None:
        return []
    source = came_from.source
    if source.offer is not None and "/" in source.name:
        return [f"Without a network, the package `{source.package.split()[0]}` has the base; its folder is "
                f'`ftp.model.find("{source.name}", "{model.head}").folder`.', ""]
    if source.folder is not None:
        return [f"The folder of the base is that of the machine where the adapter was trained. Elsewhere, put the folder of "
                f"`{model.name}` in its place, here and as `base_model_name_or_path` in adapter_config.json.", ""]
    return []
