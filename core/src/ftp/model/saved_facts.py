"""`ftp.json`: what a saved model's own files do not say, and what its base's configuration says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ftp.errors import UserError
from ftp.model.growing import Grown

FACTS = "ftp.json"
ADAPTER_CONFIG = "adapter_config.json"
BASE_CONFIG = "base_config"
"""Beside an adapter: the base's configuration with this task's classes. In a folder of its own, as `config.json` beside
the adapter would make Transformers look for the whole weights there."""

Json = dict[str, Any]
"""An object of JSON whose fields another library decides."""


@dataclass(frozen=True)
class Start:
    """The checkpoint that a run started from. `folder`: None where a package or the hub has it."""

    name: str
    folder: str | None
    revision: str | None


@dataclass(frozen=True)
class Facts:
    """What `ftp.json` holds.

    `base`: the model that it was made from, as the user called it. `key_mapping` and `quantization`: how the base of an adapter
    is read. `start`: None where the run had no checkpoint. `remote_code`: whether it needs code that came with its base.
    `base_files`: what is known of the base's files, for `fingerprint.check_base`. `beside`: files that the loss wrote. `grown`:
    rows that the run gave to tokens of its own.
    """

    head: str
    labels: tuple[str, ...]
    base: str
    plugins: tuple[str, ...] = ()
    key_mapping: Mapping[str, str] = field(default_factory=dict)
    quantization: Json = field(default_factory=dict)
    start: Start | None = None
    remote_code: bool = False
    base_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    grown: Grown | None = None


def write(folder: Path, facts: Facts) -> None:
    """Write the facts of a saved model."""
    content = asdict(facts)
    content["from"] = content.pop("start") or {}
    if facts.grown is None:
        del content["grown"]
    (folder / FACTS).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> Facts:
    """The facts of a saved model. Raises `UserError` where there are none."""
    try:
        content: Json = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: not a model that a run wrote ({FACTS} is missing or not readable)",
                        "name the folder of a run", "ftp runs") from error
    # models of earlier versions lack some of them
    known = {name: content[name] for name in ("key_mapping", "quantization", "remote_code", "base_files") if name in content}
    start = content.get("from")
    grown = content.get("grown")
    return Facts(
        content["head"], tuple(content["labels"]), content["base"], tuple(content.get("plugins", ())), **known,
        start=Start(**start) if start else None,
        beside=tuple(content.get("beside", ())),
        grown=Grown(tuple(grown["ids"]), grown["rows"], grown["before"]) if grown else None,
    )


def read_json(file: Path) -> Json:
    """A file of JSON; empty where there is none."""
    content: Json = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return content


def write_json(file: Path, content: Json) -> None:
    """Write a file of JSON."""
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def config_folder(folder: Path) -> Path:
    """The folder with the configuration of a saved model, or of its base."""
    return folder / BASE_CONFIG if (folder / BASE_CONFIG).is_dir() else folder
