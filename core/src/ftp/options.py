"""Options: dataclass fields <-> command-line flags <-> TOML tables, with all mistakes told at once.

A plugin is a dataclass; each field made with `option(...)` is an option. The flag of field `lora_alpha` of plugin `lora`
is `--lora.lora_alpha` (a dash may stand for an underscore), its TOML place is `lora_alpha` in the table `[lora]`.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ftp.errors import Problem, UserError, nearest


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Iterable[str] = (),
    group: str = "",
    path: bool = False,
    code: bool = False,
    flag: str = "",
) -> Any:
    """A dataclass field that is an option of a run.

    `low` and `high` are inclusive bounds of a number. `choices` are the words allowed (a `Literal` annotation does the
    same). The annotation gives the type: int, float, str, bool, Path, `X | None`, or `tuple[X, ...]`. `path`: a text that may
    be a path (a file, or else the name of a model): where there is such a file, a run's recipe has it with its whole path.
    `code`: names Python files, as `path.py` or `path.py:name`; where a recipe names them, they run only when the user says so.
    `flag`: a shorter name, which the command line and Python take as well.
    """
    metadata = {"help": help, "low": low, "high": high, "choices": tuple(choices), "group": group, "path": path, "code": code,
                "flag": flag, "option": True}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One option as flags, files and help need it."""

    owner: str  # plugin name, or "" for core
    name: str
    kind: Any
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    group: str = ""
    path: bool = False
    code: bool = False
    short: str = ""  # another name of it, the one to show

    @property
    def key(self) -> str:
        return f"{self.owner}.{self.name}" if self.owner else self.name

    @property
    def flag(self) -> str:
        if self.short:
            return f"--{self.short}"
        return "--" + (self.key if self.owner else self.key.replace("_", "-"))

    @property
    def flags(self) -> tuple[str, ...]:
        """Every spelling of the flag: as Python names it and with dashes."""
        return tuple(dict.fromkeys((self.flag, "--" + self.key, "--" + self.key.replace("_", "-"))))

    @property
    def type_name(self) -> str:
        return _name(self.kind)

    @property
    def is_flag(self) -> bool:
        return _plain(self.kind) is bool


def options_of(cls: type, owner: str) -> list[Option]:
    """The options of a plugin class (or of core's settings, with owner ``""``)."""
    hints = get_type_hints(cls)
    found = []
    for item in dataclasses.fields(cls):
        meta = item.metadata
        if not meta.get("option"):
            continue
        kind = hints[item.name]
        choices = meta["choices"] or (get_args(_plain(kind)) if get_origin(_plain(kind)) is Literal else ())
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        found.append(
            Option(owner, item.name, kind, default, meta["help"], meta["low"], meta["high"], tuple(choices), meta["group"],
                   meta.get("path", False) or _plain(kind) is Path, meta.get("code", False), meta.get("flag", ""))
        )
    return found


def convert(option: Option, value: Any) -> tuple[Any, Problem | None]:
    """`value` (a word of the command line, or a TOML value) as the option's type, or what is wrong with it."""
    try:
        converted = _convert(option.kind, value)
    except (ValueError, TypeError, OverflowError):
        return None, Problem(f"{option.flag} {_show(value)}: not {_article(option.type_name)}", _range(option))
    for part in converted if isinstance(converted, tuple) else (converted,):
        if part is None:
            continue
        if option.choices and part not in option.choices:
            fix = f"one of: {', '.join(map(str, option.choices))}"
            hint = nearest(str(part), map(str, option.choices))
            return None, Problem(f"{option.flag} {_show(value)}: unknown value", f"{fix}. {hint}".rstrip())
        if isinstance(part, (int, float)) and not isinstance(part, bool):
            if not math.isfinite(part):
                return None, Problem(f"{option.flag} {_show(value)}: not a finite number", _range(option))
            if (option.low is not None and part < option.low) or (option.high is not None and part > option.high):
                return None, Problem(f"{option.flag} {_show(value)}: out of range", _range(option))
    return converted, None


def resolve(
    known: Iterable[Option],
    given: Iterable[tuple[str, Mapping[str, Any]]],
    installed: Iterable[str] = (),
    problems: list[Problem] | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of all options: defaults, overridden by each source in `given` (name of the source, dotted key -> value).

    Returns the values by dotted key, and where each came from (`default` or the source's name). Unknown keys, options
    of plugins that are not in the run (`installed` names those that could be added), bad values: all are told at once
    by a `UserError`, or added to `problems` where a list is given.
    """
    table = {item.key: item for item in known}
    key_of_short = {item.short: key for key, item in table.items() if item.short}
    values = {key: item.default for key, item in table.items()}
    origin = dict.fromkeys(values, "default")
    mine: list[Problem] = [] if problems is None else problems
    owners = {item.owner for item in table.values() if item.owner}
    for source, pairs in given:
        for raw, value in pairs.items():
            key = key_of_short.get(raw, raw)
            key = key if key in table else key.replace("-", "_")
            if key not in table:
                mine.append(_unknown(raw, source, table, owners, set(installed)))
                continue
            converted, problem = convert(table[key], value)
            if problem:
                mine.append(problem if source == "flags" else dataclasses.replace(problem, what=f"{source}: {problem.what}"))
            else:
                values[key], origin[key] = converted, source
    if mine and problems is None:
        raise UserError(mine)
    return values, origin


def flatten(tables: Mapping[str, Any]) -> dict[str, Any]:
    """`{"lora": {"r": 8}, "seed": 1}` -> `{"lora.r": 8, "seed": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{name}": inner for name, inner in flatten(value).items()})
        else:
            flat[key] = value
    return flat


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe file as nested tables. Raises `UserError` when it is missing or is not TOML."""
    import tomllib

    if not path.is_file():
        raise UserError(f"recipe {path}: there is no such file", command="ftp config --plugins lora,sentiment > recipe.toml")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {path}: not TOML ({error})", "see https://toml.io for the format") from error


def write_recipe(
    plugins: Iterable[str], known: Iterable[Option], values: Mapping[str, Any], *, comments: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """The text of a recipe: plugins, core's options, then a table for each plugin. `comments` explains each option.
    Options whose value is None are written as comments, as TOML has no null."""
    import tomlkit

    doc = tomlkit.document()
    doc.add("plugins", tomlkit.item(list(plugins)))
    for key, value in (extra or {}).items():
        doc.add(key, tomlkit.item(value))
    tables: dict[str, Any] = {"": doc}
    group = None
    for item in sorted(known, key=lambda one: one.owner != ""):
        if item.owner not in tables:
            tables[item.owner] = tomlkit.table()
            doc.add(item.owner, tables[item.owner])
        table, value = tables[item.owner], values.get(item.key, item.default)
        if comments:
            if not item.owner and item.group != group:
                group = item.group
                table.add(tomlkit.nl())
                table.add(tomlkit.comment(f"--- {group} ---"))
            table.add(tomlkit.comment(f"{item.help} ({_range(item) or item.type_name})"))
        if value is None:
            table.add(tomlkit.comment(f"{item.name} ="))
        else:
            table.add(item.name, _toml(value))
    return tomlkit.dumps(doc)


def _toml(value: Any) -> Any:
    import tomlkit

    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, tuple):
        value = [str(part) if isinstance(part, Path) else part for part in value]
    return tomlkit.item(value)


def _unknown(raw: str, source: str, table: Mapping[str, Option], owners: set[str], installed: set[str]) -> Problem:
    where = f"--{raw}" if source == "flags" else f"{source}: {raw}"
    owner = raw.split(".", 1)[0] if "." in raw else ""
    if owner and owner not in owners and owner in installed:
        return Problem(f"{where}: plugin '{owner}' is not in this run", f"add it to --plugins, or leave out --{raw}")
    hint = nearest(raw.replace("-", "_"), table)
    if hint:
        fix = re.sub(r"'([^']*)'", lambda found: f"'{table[found[1]].flag}'" if source == "flags" else found[0], hint)
    else:
        fix = "nobody in this run reads it; see the options with: ftp run --plugins ... --help"
    return Problem(f"{where}: no such option", fix)


def _plain(kind: Any) -> Any:
    """`X` for `X | None`."""
    if get_origin(kind) in (Union, types.UnionType):
        inner = [arg for arg in get_args(kind) if arg is not type(None)]
        if len(inner) == 1:
            return inner[0]
    return kind


def _optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


def _convert(kind: Any, value: Any) -> Any:
    if _optional(kind) and (value is None or (isinstance(value, str) and value.lower() in ("none", ""))):
        return None
    kind = _plain(kind)
    if get_origin(kind) in (Union, types.UnionType):
        for part in get_args(kind):  # int | str: the first type that takes the value
            try:
                return _convert(part, value)
            except (ValueError, TypeError):
                continue
        raise ValueError(value)
    if get_origin(kind) is tuple:
        parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)):
            raise ValueError(value)
        return tuple(_convert(get_args(kind)[0], part) for part in parts)
    if get_origin(kind) is Literal:
        return str(value)
    if kind is bool:
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        if word in ("true", "yes", "on", "1"):
            return True
        if word in ("false", "no", "off", "0"):
            return False
        raise ValueError(value)
    if isinstance(value, bool):  # True is not 1 here: `r = true` is a mistake
        raise ValueError(value)
    if kind is int:
        number = float(value)
        if number != int(number):
            raise ValueError(value)
        return int(value) if isinstance(value, int) or str(value).lstrip("+-").isdigit() else int(number)
    if kind is float:
        return float(value)
    if kind is Path:
        return Path(str(value)).expanduser()
    if kind is str:
        return str(value)
    raise TypeError(f"options of type {kind!r} are not supported")


def _name(kind: Any) -> str:
    if get_origin(_plain(kind)) is Literal:
        return "word"
    if get_origin(_plain(kind)) is tuple:
        return f"list of {_name(get_args(_plain(kind))[0])}"
    if get_origin(_plain(kind)) in (Union, types.UnionType):
        return " or ".join(_name(part) for part in get_args(_plain(kind)))
    names = {int: "whole number", float: "number", str: "text", bool: "yes or no", Path: "path"}
    return names.get(_plain(kind), str(kind))


def _article(word: str) -> str:
    return word if word.startswith(("text", "yes")) else f"a {word}"


def _range(item: Option) -> str:
    if item.choices:
        return "one of: " + ", ".join(map(str, item.choices))
    if item.low is not None and item.high is not None:
        return f"{_article(item.type_name)} from {item.low:.12g} to {item.high:.12g}"
    if item.low is not None:
        return f"{_article(item.type_name)}, at least {item.low:g}"
    if item.high is not None:
        return f"{_article(item.type_name)}, at most {item.high:g}"
    return ""


def _show(value: Any) -> str:
    return value if isinstance(value, str) and value else repr(value)
