"""The plugin that is looked at, and what the checks need around it. Imports nothing heavy."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftp.errors import UserError, nearest
from ftp.plugin_info import Found, Picked
from ftp.plugins.declare import implementations, kind_of
from ftp.plugins.find import clash, discover, from_path, meant
from ftp.plugins.plan import Prepared, prepare
from ftp.types import Data
from ftp_testing.models import Kind

if TYPE_CHECKING:
    from ftp_testing.checks.risk import Case
    from ftp_testing.scene import Scene

Part = Literal["every", "objective", "parameterisation", "run", "events", "domain", "risk"]
"""What a check is about."""

ROWS = f"{Path(__file__).parent / 'stand_in.py'}:KitRows"
JUDGE = f"{Path(__file__).parent / 'stand_in.py'}:KitJudge"
HALT = f"{Path(__file__).parent / 'stand_in.py'}:KitHalt"
RANKS = f"{Path(__file__).parent / 'stand_in.py'}:KitRanks"


@dataclass(frozen=True)
class Fit:
    """Whether a plugin builds a loss on a tiny model. `kind`: the first on which it does; None where there is none. `makes_rows`: whether the model makes
    its own rows (`Loss.makes_rows`). `broken`: why it builds none; empty where it does."""

    kind: Kind | None = None
    makes_rows: bool = False
    broken: str = ""


@dataclass
class Memory:
    """What checks of one plugin share, so that none does it twice; None and empty until one of them has.

    `data`: rows of the kit by form. `domain_rows`: a domain's rows by form, and whether they are its own alone.
    `unsuited`: why the plugin cannot be tried, and `unsuited_said_by`: the check that has failed for it.
    `has_run`: whether an unbroken run was begun. `num_models`: models saved so far. `risk_...`: what checks of risks are shown.
    """

    fit: Fit | None = None
    data: dict[str, Data] = field(default_factory=dict)
    domain_rows: dict[tuple[str, bool], Data] = field(default_factory=dict)
    unsuited: str | None = None
    unsuited_said_by: str = ""
    has_run: bool = False
    num_models: int = 0
    risk_scene: Scene | None = None
    risk_rows: Data | None = None
    risk_cases: list[Case] | None = None


@dataclass(eq=False)
class Subject:
    """A plugin to look at. `local`: where it is (`path.py:Class`) when it is not installed; `named`: how it was asked for
    (`package:name`)."""

    found: Found
    cls: type
    local: str = ""
    named: str = ""
    memory: Memory = field(default_factory=Memory)

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
        parts: list[Part] = ["every"]
        if self.kind == "core":
            return tuple(parts)
        if self.kind == "objective" or (trains and self.kind != "domain"):
            parts.append("objective")
        if self.kind == "parameterisation" or (builds and self.kind == "extra"):
            parts.append("parameterisation")
        if self.kind != "risk":
            parts.append("run")
        if "on_event" in hooks:
            parts.append("events")
        if "load_data" in hooks and not hooks["load_data"].get("wrapper"):
            parts.append("domain")
        if "check_risks" in hooks:
            parts.append("risk")
        return tuple(parts)

    def prepared(self, *more: str, plugins: tuple[str, ...] = (), **options: Any) -> Prepared:
        """A run of this plugin, quick and quiet: on rows of the kit unless it is a domain, without the risk checks of every
        run. `more`: plugins that are not installed; `plugins`: installed ones; `options` as for `ftp.run`. A plugin that only goes
        with others names them in `requires` or `goes_with`, and in `tried_with` the options that it cannot do without."""
        declaration = self.picked.declaration
        names = [] if self.local else [self.named or self.name]
        names += plugins
        names += [name for name in dict.fromkeys(declaration.requires + declaration.goes_with) if name not in plugins]
        # risk checks of every run would judge the kit's rows
        names += [f"-{name}" for name in _risks() if name != self.name]
        files = [self.local] if self.local else []
        if "domain" not in self.parts:
            files.append(ROWS)
        usual = {"device": "cpu", "precision": "fp32", "baselines": False, "verify": False, "report": False,
                 "cache_dir": str(self.folder / "cache")}
        return prepare(names, [*files, JUDGE, *more], [("ftp check", {**usual, **declaration.tried_with, **options})])


def find(name: str) -> Subject:
    """The plugin of a name, or `path.py:Class`. Raises `UserError` where there is none, or two."""
    if ".py" in name:
        in_file, _ = from_path(name)
        with_class = f"{name}:{in_file[0].target.rsplit(':', 1)[-1]}"
        if len(in_file) > 1:
            raise UserError(f"{name}: there are several plugins in it", f"name one: {with_class}")
        return Subject(in_file[0], in_file[0].load(), name if ":" in name else with_class)
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
    risks = []
    for name, offered in discover().items():
        try:
            if offered[0].default and kind_of(offered[0].load()) == "risk":
                risks.append(name)
        except UserError:  # a default plugin that is broken must not stand in the way of another's check
            risks.append(name)
    return tuple(risks)


DROPOUT: dict[Kind, tuple[str, ...]] = {
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"), "roberta": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"), "llama": ("attention_dropout",), "t5": ("dropout_rate",),
    "bart": ("dropout",),
}
"""What dropout is called in the configuration of each kind of tiny model."""


@cache
def tiny_model(kind: Kind, dropout: float = 0.0) -> Path:
    """The folder of a tiny model, made once in a process."""
    from ftp.model import quiet
    from ftp_testing.models import tiny

    folder = Path(tempfile.mkdtemp(prefix=f"ftp-check-{kind}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with quiet():
        options: dict[str, Any] = dict.fromkeys(DROPOUT[kind], dropout)
        return tiny(kind, folder, **options)
