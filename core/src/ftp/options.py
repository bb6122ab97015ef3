"""Options: dataclass fields <-> command-line flags <-> TOML tables, with all mistakes reported at once.

A plugin is a dataclass; each field made with `option(...)` is an option. The flag of field `lora_alpha` of plugin `lora`
is `--lora.lora_alpha` (a dash may stand for an underscore), its TOML place is `lora_alpha` in the table `[lora]`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ftp import option_types
from ftp.errors import Problem, UserError, nearest

if TYPE_CHECKING:
    from tomlkit import TOMLDocument
    from tomlkit.items import Item, Table

T = TypeVar("T")


def option(
    default: T,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Iterable[str] = (),
    group: str = "",
    path: bool = False,
    code: bool = False,
    flag: str = "",
) -> T:
    """A dataclass field that is an option of a run.

    The annotation gives its type: int, float, str, bool, Path, `X | None`, `X | Y`, `Literal[...]`, or `tuple[X, ...]`.

    Args:
        default: its value where nobody gives one.
        help: what it does, for `--help` and recipes.
        low: the smallest number allowed; None: no bound.
        high: the largest number allowed; None: no bound.
        choices: the words allowed (a `Literal` annotation does the same).
        group: heading under which core's options are listed.
        path: a text that may be a path (a file, or else the name of a model): where there is such a file, a run's recipe has
            it with its whole path.
        code: names Python files, as `path.py` or `path.py:name`; where a recipe names them, they run only when the user says
            so.
        flag: a shorter name, which the command line and Python take as well.
    """
    metadata = {
        "help": help, "low": low, "high": high, "choices": tuple(choices), "group": group, "path": path, "code": code,
        "flag": flag, "option": True,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One option as flags, files and help need it."""

    owner: str  # plugin name, or "" for core
    name: str
    kind: object  # its annotation
    default: object
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
        if self.owner:
            return f"--{self.key}"
        return "--" + self.key.replace("_", "-")

    @property
    def flags(self) -> tuple[str, ...]:
        """Every spelling of the flag: as Python names it and with dashes."""
        return tuple(dict.fromkeys((self.flag, "--" + self.key, "--" + self.key.replace("_", "-"))))

    @property
    def type_name(self) -> str:
        return option_types.name_of(self.kind)

    @property
    def is_flag(self) -> bool:
        return option_types.plain(self.kind) is bool


def options_of(cls: type, owner: str) -> list[Option]:
    """The options of a plugin class (or of core's settings, with owner ``""``)."""
    hints = get_type_hints(cls)
    options = []
    for item in dataclasses.fields(cls):
        meta = item.metadata
        if not meta.get("option"):
            continue
        kind = option_types.plain(hints[item.name])
        choices = meta["choices"]
        if not choices and get_origin(kind) is Literal:
            choices = get_args(kind)
        default = item.default
        if item.default_factory is not MISSING:
            default = item.default_factory()
        options.append(Option(
            owner, item.name, hints[item.name], default, meta["help"], meta["low"], meta["high"], tuple(choices), meta["group"],
            path=meta["path"] or kind is Path, code=meta["code"], short=meta["flag"],
        ))  # fmt: skip
    return options


def convert(option: Option, value: object) -> tuple[object, Problem | None]:
    """`value` (a word of the command line, or a TOML value) as the option's type, or what is wrong with it."""
    flag = f"{option.flag} {_show(value)}"
    try:
        converted = option_types.convert(option.kind, value)
    except (ValueError, TypeError, OverflowError):
        return None, Problem(f"{flag}: not {_article(option.type_name)}", _range(option))
    parts = converted if isinstance(converted, tuple) else (converted,)
    for part in parts:
        if part is None:
            continue
        if option.choices and part not in option.choices:
            hint = nearest(str(part), map(str, option.choices))
            return None, Problem(f"{flag}: unknown value", f"{_range(option)}. {hint}".rstrip())
        if isinstance(part, int | float) and not isinstance(part, bool):
            if not math.isfinite(part):
                return None, Problem(f"{flag}: not a finite number", _range(option))
            is_too_low = option.low is not None and part < option.low
            is_too_high = option.high is not None and part > option.high
            if is_too_low or is_too_high:
                return None, Problem(f"{flag}: out of range", _range(option))
    return converted, None


def resolve(
    options: Iterable[Option],
    sources: Iterable[tuple[str, Mapping[str, object]]],
    installed: Iterable[str] = (),
    problems: list[Problem] | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of all options by dotted key, and where each came from (`default` or the source's name).

    Args:
        sources: name of the source (`flags`, a file) and its values by dotted key; a later source counts more.
        installed: plugins that could be added to the run, for the message about an option of one of them.
        problems: gets every mistake, where a list is given; else they are raised.

    Raises:
        UserError: unknown keys, options of plugins that are not in the run, and bad values, all together.
    """
    table = {item.key: item for item in options}
    key_of_short = {item.short: key for key, item in table.items() if item.short}
    values = {key: item.default for key, item in table.items()}
    origin = dict.fromkeys(values, "default")
    mistakes: list[Problem] = [] if problems is None else problems
    installed = set(installed)
    for source, raw_values in sources:
        for raw, value in raw_values.items():
            key = key_of_short.get(raw, raw)
            # flags are written with a dash, keys of a recipe with an underscore; a name of a plugin may hold a dash
            if key not in table:
                key = key.replace("-", "_")
            if key not in table:
                mistakes.append(_unknown(raw, source, table, installed))
                continue
            converted, problem = convert(table[key], value)
            if problem is None:
                values[key] = converted
                origin[key] = source
            # a flag is on the line before the reader's eyes; a file is named, as several may be read
            elif source == "flags":
                mistakes.append(problem)
            else:
                mistakes.append(dataclasses.replace(problem, what=f"{source}: {problem.what}"))
    if mistakes and problems is None:
        raise UserError(mistakes)
    return values, origin


def flatten(tables: Mapping[str, object]) -> dict[str, Any]:
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
    plugins: Iterable[str], options: Iterable[Option], values: Mapping[str, object], *, comments: bool = False,
    extra: Mapping[str, object] | None = None, remarks: Mapping[str, str] | None = None,
) -> str:
    """The text of a recipe: plugins, core's options, then a table for each plugin.

    Options whose value is None are written as comments, as TOML has no null.

    Args:
        values: by dotted key; an option without one has its default.
        comments: explain each option.
        extra: keys that stand before the options.
        remarks: option -> what to say behind its value.
    """
    import tomlkit

    document = tomlkit.document()
    document.add("plugins", tomlkit.item(list(plugins)))
    for key, value in (extra or {}).items():
        document.add(key, tomlkit.item(value))
    tables: dict[str, TOMLDocument | Table] = {"": document}
    group = ""
    for item in sorted(options, key=lambda item: item.owner != ""):  # a key behind a table would belong to the table
        if item.owner not in tables:
            table = tomlkit.table()
            document.add(item.owner, table)
            tables[item.owner] = table
        if comments:
            if not item.owner and item.group != group:
                group = item.group
                document.add(tomlkit.nl())
                document.add(tomlkit.comment(f"--- {group} ---"))
            tables[item.owner].add(tomlkit.comment(f"{item.help} ({_range(item) or item.type_name})"))
        value = values.get(item.key, item.default)
        if value is None:
            tables[item.owner].add(tomlkit.comment(f"{item.name} ="))
        else:
            written = _toml(value)
            if remark := (remarks or {}).get(item.key):
                written.comment(remark)
            tables[item.owner].add(item.name, written)
    return tomlkit.dumps(document)


def _toml(value: object) -> Item:
    """A value as a recipe has it: paths are texts."""
    import tomlkit

    if isinstance(value, tuple):
        return tomlkit.item([str(part) if isinstance(part, Path) else part for part in value])
    return tomlkit.item(str(value) if isinstance(value, Path) else value)


def _unknown(raw: str, source: str, table: Mapping[str, Option], installed: set[str]) -> Problem:
    """The mistake of a key that is no option of the run."""
    name = f"--{raw}" if source == "flags" else f"{source}: {raw}"
    owner, dot, _ = raw.partition(".")
    in_run = {item.owner for item in table.values()}
    if dot and owner in installed and owner not in in_run:
        return Problem(f"{name}: plugin '{owner}' is not in this run", f"add it to --plugins, or leave out --{raw}")
    fix = nearest(raw.replace("-", "_"), table)
    if not fix:
        fix = "nobody in this run reads it; see the options with: ftp run --plugins ... --help"
    elif source == "flags":  # on the command line by its flag, in a recipe by its key
        fix = re.sub(r"'([^']*)'", lambda match: f"'{table[match[1]].flag}'", fix)
    return Problem(f"{name}: no such option", fix)


def _article(word: str) -> str:
    return word if word.startswith(("text", "yes")) else f"a {word}"


def _range(item: Option) -> str:
    """What an option may be, in words; empty where any value of its type will do."""
    if item.choices:
        return f"one of: {', '.join(map(str, item.choices))}"
    if item.low is not None and item.high is not None:
        return f"{_article(item.type_name)} from {item.low:.12g} to {item.high:.12g}"
    if item.low is not None:
        return f"{_article(item.type_name)}, at least {item.low:g}"
    if item.high is not None:
        return f"{_article(item.type_name)}, at most {item.high:g}"
    return ""


def _show(value: object) -> str:
    return value if isinstance(value, str) and value else repr(value)
