"""The plugin that is looked at, and what the checks need around it. Imports nothing heavy."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from ftp.errors import UserError, nearest
from ftp.plugin_info import Found, Picked
from ftp.plugins.declare import implementations, kind_of
from ftp.plugins.find import clash, discover, from_path, meant
from ftp.plugins.plan import Prepared, prepare

Part = Literal["every", "objective", "parameterisation", "run", "events", "domain", "risk"]
"""What a check is about."""

ROWS = f"{Path(__file__).parent / 'stand_in.py'}:KitRows"
JUDGE = f"{Path(__file__).parent / 'stand_in.py'}:KitJudge"
HALT = f"{Path(__file__).parent / 'stand_in.py'}:KitHalt"
RANKS = f"{Path(__file__).parent / 'stand_in.py'}:KitRanks"


@dataclass(eq=False)
class Subject:
    """A plugin to look at. `local`: where it is (`path.py:Class`) when it is not installed; `named`: how it was asked for
    (`package:name`); `kept`: what checks share."""

    found: Found
    cls: type
    local: str = ""
    named: str = ""
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def picked(self) -> Picked:
        return Picked(self.found, self.cls)

    @cached_property
    def kind(self) -> str:
        return kind_of(self.cls)

    @cached_property
    def folder(self) -> Path:
        """A place to write to, removed when the process ends."""
        folder = Path(tempfile.mkdtemp(prefix=f"ftp-check-{self.name}-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Which checks are about this plugin: by its kind, and by the hooks that it answers or wraps beside."""
        hooks = implementations(self.cls)
        builds = "build_model" in hooks and bool(hooks["build_model"].get("wrapper"))
        trains = "make_loss" in hooks or "train_step" in hooks
        found: list[Part] = ["every"]
        if self.kind == "core":
            return tuple(found)
        if self.kind == "objective" or (trains and self.kind != "domain"):
            found.append("objective")
        if self.kind == "parameterisation" or (builds and self.kind == "extra"):
            found.append("parameterisation")
        if self.kind != "risk":
            found.append("run")
        if "on_event" in hooks:
            found.append("events")
        if "load_data" in hooks and not hooks["load_data"].get("wrapper"):
            found.append("domain")
        if "check_risks" in hooks:
            found.append("risk")
        return tuple(found)

    def prepared(self, *more: str, plugins: tuple[str, ...] = (), **options: Any) -> Prepared:
        """A run of this plugin, quick and quiet: on rows of the kit unless it is a domain, without the risk checks of every
        run. `more`: plugins that are not installed; `plugins`: installed ones; `options` as for `ftp.run`. A plugin that only goes
        with others names them in `requires` or `goes_with`, and in `tried_with` the options that it cannot do without."""
        local = [self.local] if self.local else []
        companions = dict.fromkeys([*self.picked.declaration.requires, *self.picked.declaration.goes_with])
        beside = [name for name in companions if name not in plugins]
        names = [*([] if local else [self.named or self.name]), *plugins, *beside, *(f"-{name}" for name in _risks() if name != self.name)]
        rows = [] if "domain" in self.parts else [ROWS]
        usual = {"device": "cpu", "precision": "fp32", "baselines": False, "verify": False, "report": False,
                 "cache_dir": str(self.folder / "cache")}
        return prepare(names, [*local, *rows, JUDGE, *more], [("ftp check", {**usual, **self.picked.declaration.tried_with, **options})])


def find(name: str) -> Subject:
    """The plugin of a name, or `path.py:Class`. Raises `UserError` where there is none, or two."""
    if ".py" in name:
        found, _ = from_path(name)
        if len(found) > 1:
            raise UserError(f"{name}: there are several plugins in it", f"name one: {name}:{found[0].target.rsplit(':', 1)[-1]}")
        return Subject(found[0], found[0].load(), name if ":" in name else f"{name}:{found[0].target.rsplit(':', 1)[-1]}")
    known = discover()
    candidates = meant(name, known)
    if not candidates:
        raise UserError(f"ftp check {name}: no such plugin is installed",
                        nearest(name, known) or "one that is not installed is named by its file: ftp check path.py:Class", "ftp plugins")
    if len(candidates) > 1:
        raise UserError([clash(f"ftp check {name}", candidates)])
    return Subject(candidates[0], candidates[0].load(), named=name)


@cache
def _risks() -> tuple[str, ...]:
    """The risk checks that are part of every run."""
    found = []
    for name, offered in discover().items():
        try:
            if offered[0].default and kind_of(offered[0].load()) == "risk":
                found.append(name)
        except UserError:  # a default plugin that is broken must not stand in the way of another's check
            found.append(name)
    return tuple(found)


DROPOUT = {
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"), "roberta": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"), "llama": ("attention_dropout",), "t5": ("dropout_rate",),
    "bart": ("dropout",),
}
"""What dropout is called in the configuration of each kind of tiny model."""


@cache
def tiny_model(kind: str, dropout: float = 0.0) -> Path:
    """The folder of a tiny model, made once in a process."""
    from ftp.model import quiet
    from ftp_testing.models import tiny

    folder = Path(tempfile.mkdtemp(prefix=f"ftp-check-{kind}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with quiet():
        return tiny(kind, folder, **dict.fromkeys(DROPOUT[kind], dropout))  # type: ignore[arg-type]
