"""From plugin names and options to a run that is known to fit together, before anything heavy is imported.

`prepare` is the one way in, for the command line and for Python: it picks plugins, audits them, settles the task and
resolves the options, and reports every mistake at once.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftp import addresses
from ftp.errors import Problem, UserError
from ftp.option_types import split_at_commas
from ftp.options import Option, flatten, resolve, write_recipe
from ftp.plugin_info import Picked
from ftp.plugins import several
from ftp.plugins.audit import audit
from ftp.plugins.find import discover, pick
from ftp.plugins.fit import Suggestions, core_options, settle, suggested
from ftp.plugins.offers import wishes
from ftp.plugins.trust import absolute
from ftp.settings import FOLLOWING, Settings
from ftp.types import Task

Given = Sequence[tuple[str, Mapping[str, object]]]
"""Sources of options, weakest first: the source's name (`flags`, a file) and its values, nested or by dotted key."""


@dataclass(frozen=True)
class Prepared:
    """A run that fits together.

    Args:
        plugins: the names as the user wrote them.
        options: those of core and of the plugins.
        values: every option by dotted key.
        origin: where each came from (`default`, `suggested by lora`, a file's name, `flags`).
        notes: what the user should know of them.
        reasons: option -> why it has its value, where that follows from the data; empty until the rows are known.
    """

    plugins: tuple[str, ...]
    picked: tuple[Picked, ...]
    options: tuple[Option, ...]
    values: Mapping[str, Any]
    origin: Mapping[str, str]
    task: Task
    settings: Settings
    notes: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    def recipe(self, *, comments: bool = False) -> str:
        """The fully resolved run as the text of a recipe that `ftp run` takes. The run folder is left out, so that
        repeating the recipe makes a folder of its own."""
        values = {key: addresses.written(value) for key, value in self.values.items()}
        for key, source in self.origin.items():  # left out, the default or what a plugin suggests would count again
            if values.get(key) is None and source != "default":
                values[key] = "none"
        values["out"] = None
        return write_recipe(self.plugins, self.options, values, comments=comments, remarks=self.reasons)

    def anywhere(self) -> Prepared:
        """The same run with whole paths, so that its recipe repeats it from any folder; names and hub ids are left as they
        are."""
        values = dict(self.values)
        for item in self.options:
            if item.path:
                values[item.key] = _whole(values[item.key])
            if item.code:
                values[item.key] = tuple(map(absolute, values[item.key]))
        return dataclasses.replace(self, values=values)


def prepare(
    plugins: Sequence[str] | str,
    plugins_from: Sequence[str] = (),
    given: Given = (),
    *,
    problems: Iterable[Problem] = (),
    notes: Iterable[str] = (),
) -> Prepared:
    """Pick, audit, settle and resolve. Defaults < what plugins suggest < the sources in `given`, in their order.

    Args:
        plugins_from: paths beside those of the option of that name.
        problems: mistakes that were met on the way here.
        notes: what the user should know besides.

    Raises:
        UserError: every mistake, `problems` included.
    """
    mistakes = list(problems)
    names = split_names(plugins)
    sources: Given = [(source, flatten(values)) for source, values in given]
    notes = list(notes)
    sources = beside_recipe(sources, core_options(), notes)
    where = [absolute(path) for path in _plugins_from(plugins_from, sources)]
    is_recipe_broken = any(problem.what.startswith(("recipe ", "--resume")) for problem in mistakes)
    if not names and not where and not is_recipe_broken:
        mistakes.append(Problem("no plugins are named", "a method and a domain make a run", "ftp run --plugins lora,sentiment"))
        raise UserError(mistakes)

    unpicked: list[Problem] = []
    picked = pick(names, where, unpicked)
    mistakes += unpicked
    mistakes += audit(picked, names)
    options, broken = options_for(picked)
    mistakes += broken
    sources = beside_recipe(sources, [item for item in options if item.owner], notes)
    task: Task | None = None
    if not unpicked:  # a plugin that is missing would make any word about the forms misleading
        task, misfits = settled(picked, sources)
        mistakes += misfits

    # options of a plugin that a mistake names already are left out
    absent = set(names) - {plugin.name for plugin in picked}
    suggestions = suggestions_for(picked, task, sources)
    values, origin = _resolved(options, _without_plugins(sources, absent), suggestions, mistakes)
    mistakes += several.problems_with(picked, values)
    values["plugins_from"] = tuple(where)
    addresses.remember(values.values())
    if mistakes:
        raise UserError(list(dict.fromkeys(mistakes)))
    assert task is not None
    core = {}
    for item in options:
        is_open = item.name in FOLLOWING and values[item.key] is None
        if not item.owner and not is_open:
            core[item.name] = values[item.key]
    return Prepared(tuple(names), tuple(picked), tuple(options), values, origin, task, Settings(**core), tuple(notes))


def _resolved(
    options: Sequence[Option], sources: Given, suggestions: Suggestions, mistakes: list[Problem]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of all options by dotted key, with the secrets of addresses in their places, and where each came from.

    Args:
        mistakes: gets what is wrong with them.
    """
    # two suggestions contradict one another only where the user has not chosen
    chosen: set[str] = set()
    for _, values_of_source in sources:
        chosen.update(key.replace("-", "_") for key in values_of_source)
    mistakes += [problem for key, problem in suggestions.problems.items() if key not in chosen]

    # weaker than anything that the user says
    defaults = [(suggestions.origin[key], {key: value}) for key, value in suggestions.values.items()]
    values, origin = resolve(options, [*defaults, *sources], _known_names(sources, options), mistakes)
    return {key: addresses.filled(value) for key, value in values.items()}, origin


def _without_plugins(sources: Given, names: Collection[str]) -> Given:
    """The sources without the options of these plugins."""
    kept = []
    for source, values in sources:
        of_others = {}
        for key, value in values.items():
            owner, dot, _ = key.partition(".")
            if not dot or owner not in names:
                of_others[key] = value
        kept.append((source, of_others))
    return kept


def settled(picked: Sequence[Picked], sources: Given) -> tuple[Task | None, list[Problem]]:
    """The task of these plugins with the form that `--form` names."""
    return settle(picked, _last(sources, "form"))


def _last(sources: Given, key: str) -> str | None:
    """The value of an option in the last source that has it. One that is no text is skipped: `resolve` reports it."""
    for _, values in reversed(sources):
        value = values.get(key)
        if isinstance(value, str) and value:
            return value
    return None


def suggestions_for(
    picked: Sequence[Picked], task: Task | None, sources: Given
) -> Suggestions:
    """What `suggested` gives for these plugins and the model that `--model` means, where an installed package offers it."""
    if task is None:
        return suggested(picked)
    return suggested(picked, *wishes(_last(sources, "model"), task.head))


def split_names(plugins: Sequence[str] | str) -> list[str]:
    """`"a,b"`, `["a,b", "c"]` or `["a", "b", "c"]` as a list of names."""
    parts = [plugins] if isinstance(plugins, str) else list(plugins)
    return split_at_commas(",".join(map(str, parts)))


def options_for(picked: Sequence[Picked]) -> tuple[list[Option], list[Problem]]:
    """Core's options and those of each plugin; and what is wrong with plugins whose options cannot be read."""
    options = core_options()
    problems = []
    taken = {item.name for item in options} | {"plugins"}
    for plugin in picked:
        who = f"plugin '{plugin.name}' of {plugin.found.package}"
        try:
            options += plugin.options
        except Exception as error:
            problems.append(Problem(f"{who}: its options cannot be read: {type(error).__name__}: {error}",
                                    "each is annotated with a type that can be imported"))
        if plugin.name in taken:
            problems.append(Problem(f"{who} has the name of an option of core",
                                    "its table in a recipe could not be told from that option; rename the plugin"))
    return options, problems


def recipe_folder(source: str) -> Path | None:
    """The folder of the recipe that a source of options is (`r.toml`, or `r.toml, stage sft`); None for flags."""
    file = source.split(", stage ")[0]
    return Path(file).expanduser().parent if file.endswith(".toml") else None


def beside_recipe(sources: Given, options: Iterable[Option], notes: list[str]) -> Given:
    """The sources with paths of recipes taken from the recipe's own folder, where they are there; else they are left, and
    mean the working folder. What a run writes (`out`, `cache_dir`) always lies in the working folder."""
    option_of_path = {}
    for item in options:
        if (item.path or item.code) and item.key not in ("out", "cache_dir"):
            option_of_path[item.key] = item
    moved = []
    for source, values in sources:
        folder = recipe_folder(source)
        beside = dict(values)
        for key, value in values.items():
            option = option_of_path.get(key.replace("-", "_"))
            if option is not None and folder is not None:
                beside[key] = _beside(value, folder, option.code, f"{source}: {key}", notes)
        moved.append((source, beside))
    return moved


def _beside(value: object, folder: Path, code: bool, key: str, notes: list[str]) -> object:
    """A path, or each of a list of them, from a folder where it is there.

    Args:
        code: a path may be followed by `:name`.
        key: where the path stands, for a note.
        notes: gets a line where a path means another file than in the working folder.
    """
    if isinstance(value, list | tuple) or (isinstance(value, str) and code):
        return [_path_beside(part, folder, code, key, notes) for part in split_names(value)]
    return _path_beside(value, folder, code, key, notes) if isinstance(value, str) else value


def _path_beside(value: str, folder: Path, code: bool, key: str, notes: list[str]) -> str:
    file, colon, name = value.partition(":") if code else (value, "", "")
    here = os.path.abspath(os.path.expanduser(file))  # noqa: PTH100, PTH111 - any text, maybe too long for pathlib
    moved = os.path.join(folder.absolute(), os.path.expanduser(file))  # noqa: PTH111, PTH118
    if not file or not os.path.exists(moved):  # noqa: PTH110
        return value
    if os.path.exists(here) and not os.path.samefile(here, moved):  # noqa: PTH110, PTH121
        notes.append(f"{key} means {moved}, beside the recipe, and not {here}")
    return f"{moved}{colon}{name}"


def _plugins_from(explicit: Sequence[str], sources: Given) -> list[str]:
    """Paths of plugins that are not installed: explicit ones, and those of the last source that names any."""
    paths: list[str] = []
    for _, values in sources:
        value = values.get("plugins_from", values.get("plugins-from"))
        if value is not None:  # of another type it is a mistake, which `resolve` reports
            paths = split_names(value) if isinstance(value, str | list | tuple) else []
    return list(dict.fromkeys([*explicit, *paths]))


def _whole(value: object) -> object:
    """A path, also one in a list, as an absolute one; a text is one where it is there."""
    if isinstance(value, tuple):
        return tuple(map(_whole, value))
    if isinstance(value, Path):
        return value.expanduser().absolute()
    # any text, maybe too long for a path, which pathlib does not forgive
    if isinstance(value, str) and os.path.exists(os.path.expanduser(value)):  # noqa: PTH110, PTH111
        return str(Path(value).expanduser().absolute())
    return value


def _known_names(sources: Given, options: Sequence[Option]) -> list[str]:
    """Names of installed plugins, looked up only where some option could belong to one that is not in the run."""
    owners = {item.owner for item in options}
    for _, values in sources:
        if any("." in key and key.split(".")[0] not in owners for key in values):
            return list(discover())
    return []


def replace_settings(prepared: Prepared, **changes: Any) -> Prepared:
    """The same run with other values of core's options (the number of processes on a resume, for example)."""
    return dataclasses.replace(prepared, settings=dataclasses.replace(prepared.settings, **changes),
                               values={**prepared.values, **changes})
