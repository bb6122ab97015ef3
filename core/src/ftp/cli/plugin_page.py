"""What `ftp plugins show` says of one plugin: what it declares, answers and takes, and what its package brings beside it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import TypedDict

from ftp.cli.help import bounds, show
from ftp.contract import CONTRACT, VERSION
from ftp.entry_points import groups_of
from ftp.hooks import ARITY
from ftp.options import Option
from ftp.plugin_info import Candidate, Declaration, Found, Picked
from ftp.plugins.audit import absent_plugins, audit_class
from ftp.plugins.declare import implementations, kind_of, summary_of

DECLARED = {
    "wants": "reads rows of the form: {}",
    "gives": "gives rows of the form: {}",
    "splits": "gives the splits: {}",
    "general": "reads any rows of its forms, whatever they are about",
    "head": "trains the head: {}",
    "suggests": "suggests: {}",
    "decides": "alone in a run decides: {}",
    "requires": "requires in the same run: {}",
    "replaces": "takes the place of: {}",
    "before": "acts before: {}",
    "after": "acts after: {}",
    "builds_with": "builds the network itself where these options are given: {}",
    "candidates": "settings worth a try: {}",
    "main_only": "hears events on the main process alone",
    "adds_weights": "adds no weights: it trains those of the base",
    "starts_as_base": "changes the answers of the model before any training",
    "detaches": "leaves out of the gradient: {}",
    "goes_with": "checked together with: {}",
    "tried_with": "checked with the options: {}",
    "needs": "checked only where these libraries are installed: {}",
}
"""The words of a declaration, and what each of them means to whoever uses the plugin; `kind` stands in the first line."""

REGISTERED = {
    "ftp.forms": "forms of rows",
    "ftp.heads": "heads",
    "ftp.readers": "file formats",
    "ftp.exports": "exports of other tools",
    "ftp.models": "models",
    "ftp.layouts": "layouts of saved models",
    "ftp.commands": "commands",
}
"""Groups of entry points that a package may use beside its plugins."""


class HookEntry(TypedDict):
    """How a plugin acts at a hook (`answers`, `wraps` or `default`), and how many answers the hook takes."""

    how: str
    takes: str


class OptionEntry(TypedDict):
    """An option, as `ftp.options.Option` has it; `type` in words."""

    flag: str
    name: str
    type: str
    default: object
    help: str
    low: float | None
    high: float | None
    choices: Sequence[str]


class Page(TypedDict):
    """Everything that is known of a plugin without a run.

    `declares`: the words of its declaration that say something else than their default. `registers`: what its package brings
    beside plugins, by group of entry points. `not_installed`: plugins that it names and that are not there. `problems`: what the
    audit finds.
    """

    name: str
    kind: str
    distribution: str
    version: str
    target: str
    default: bool
    summary: str
    help: str
    core_versions: str
    core: str
    contract: str
    hooks: Mapping[str, HookEntry]
    wants: Sequence[str]
    gives: Sequence[str]
    suggests: Mapping[str, object]
    head: Sequence[str]
    declares: Mapping[str, object]
    keeps_state: bool
    not_installed: Sequence[str]
    registers: Mapping[str, Sequence[str]]
    options: Sequence[OptionEntry]
    problems: Sequence[str]


def describe(found: Found) -> Page:
    """The page of a plugin. Raises `UserError` where it does not import."""
    cls = found.load()
    picked = Picked(found, cls)
    declaration = picked.declaration
    return {
        "name": found.name, "kind": kind_of(cls), "distribution": found.distribution, "version": found.version,
        "target": found.target, "default": found.default, "summary": summary_of(cls), "help": inspect.getdoc(cls) or "",
        "core_versions": found.core_versions, "core": VERSION, "contract": CONTRACT,
        "hooks": _hooks(cls),
        "wants": declaration.wants, "gives": declaration.gives, "suggests": declaration.suggests,
        "head": [declaration.head] if declaration.head else [],
        "declares": declared(declaration),
        "keeps_state": inspect.isroutine(getattr(cls, "state", None)),
        "not_installed": absent_plugins(cls),
        "registers": _registered(found.distribution),
        "options": [_option(item) for item in picked.options],
        "problems": [str(problem) for problem in audit_class(cls, f"plugin '{found.name}' of {found.package}")],
    }


def declared(declaration: Declaration) -> dict[str, object]:
    """The words of a declaration that say something else than their default, in the order of `DECLARED`."""
    default = Declaration()
    words = {}
    for word in DECLARED:
        value = getattr(declaration, word)
        if value != getattr(default, word):
            words[word] = value
    if declaration.candidates:
        words["candidates"] = [_candidate(candidate) for candidate in declaration.candidates]
    return words


def _candidate(candidate: Candidate) -> dict[str, object]:
    """The settings of a candidate, and what else it says otherwise than its default."""
    words: dict[str, object] = {"settings": dict(candidate.settings)}
    for item in dataclasses.fields(Candidate):
        value = getattr(candidate, item.name)
        if item.name != "settings" and value != item.default:
            words[item.name] = value
    return words


def _candidates_in_words(candidates: Sequence[Mapping[str, object]]) -> str:
    """Candidates as a user would write them, each with what it says beside its settings."""
    texts = []
    for candidate in candidates:
        rest = {name.replace("_", " "): value for name, value in candidate.items() if name != "settings"}
        text = _in_words(candidate["settings"]) or "as it is"
        texts.append(f"{text} ({_in_words(rest)})" if rest else text)
    return "; or ".join(texts)


def _hooks(cls: type) -> dict[str, HookEntry]:
    """The hooks that a plugin answers, in the order of the contract."""
    answers = implementations(cls)
    hooks: dict[str, HookEntry] = {}
    for hook, arity in ARITY.items():
        if hook in answers:
            hooks[hook] = {"how": _how(answers[hook]), "takes": arity}
    return hooks


def _how(options: Mapping[str, object]) -> str:
    """How a method answers its hook."""
    if options.get("wrapper"):
        return "wraps"
    return "default" if options.get("trylast") else "answers"


def _registered(distribution: str) -> dict[str, list[str]]:
    """What a package registers beside its plugins: group -> names. A file that is not installed registers nothing."""
    groups = groups_of(distribution)
    return {group: groups[group] for group in REGISTERED if group in groups}


def _option(item: Option) -> OptionEntry:
    return {"flag": item.flag, "name": item.name, "type": item.type_name, "default": item.default, "help": item.help,
            "low": item.low, "high": item.high, "choices": item.choices}


def as_text(page: Page) -> list[str]:
    """The lines of a page."""
    lines = [f"{page['name']} ({page['kind']}), from {page['distribution']} {page['version']}".rstrip(), ""]
    lines += [f"  {line}".rstrip() for line in page["help"].splitlines()]
    if page["default"]:
        lines += ["", f"part of every run; left out with --plugins ...,-{page['name']}"]
    if page["declares"] or page["keeps_state"]:
        lines.append("")
    for word, value in page["declares"].items():
        in_words = _candidates_in_words if word == "candidates" else _in_words
        lines.append(DECLARED[word].format(in_words(value)))  # type: ignore[arg-type]
    if page["keeps_state"]:
        lines.append("keeps a state in checkpoints")
    if page["not_installed"]:
        lines.append(f"names plugins that are not installed: {', '.join(page['not_installed'])}")
    lines += ["", "hooks:", *_hook_lines(page["hooks"])]
    lines += ["", "options:", *_option_lines(page["options"])]
    if page["registers"]:
        lines += ["", f"{page['distribution']} also brings:"]
        lines += [f"  {line}" for line in registered_lines(page["registers"])]
    lines += ["", _contract_line(page)]
    if page["problems"]:
        lines += ["", "problems:", *(f"  {text}" for text in page["problems"])]
    return lines


def registered_lines(registers: Mapping[str, Sequence[str]]) -> list[str]:
    """What a package registers beside its plugins, a line for each group."""
    return [f"{REGISTERED[group]}: {', '.join(registers[group])}" for group in REGISTERED if group in registers]


def _contract_line(page: Page) -> str:
    """The versions of core that the plugin's package runs with, beside the one that is there."""
    versions = page["core_versions"]
    required = f"runs with ftp-core {versions}" if versions else "names no versions of ftp-core that it runs with"
    return f"{required}; {page['core']} is installed (contract {page['contract']})"


def _in_words(value: object) -> str:
    """A value of a declaration as a user would write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {show(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        separator = "; or " if any(isinstance(inner, Mapping) for inner in value) else ", "
        return separator.join(_in_words(inner) for inner in value)
    return str(value)


def _hook_lines(hooks: Mapping[str, HookEntry]) -> list[str]:
    width = max(map(len, hooks), default=0)
    return [f"  {name.ljust(width)}  {hook['how']}" for name, hook in hooks.items()] or ["  none"]


def _option_lines(options: Sequence[OptionEntry]) -> list[str]:
    lines = []
    for item in options:
        limits = "|".join(item["choices"]) or item["type"]
        if within := bounds(item["low"], item["high"]):
            limits += f", {within}"
        default = "" if item["default"] in (None, ()) else f" [{show(item['default'])}]"
        lines += [f"  {item['flag']}  ({limits}){default}", f"      {item['help']}"]
    return lines or ["  none"]
