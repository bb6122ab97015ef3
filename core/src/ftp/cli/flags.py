"""The words of `ftp run ...` as a recipe, plugins and options, with every mistake collected instead of the first raised.

click stops at the first mistake and must know all options beforehand; ours depend on the plugins that the same line
names. So the line is read twice: once for what names plugins, and again when their options are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from ftp.errors import PluginError, Problem, UserError, nearest
from ftp.folder import paths
from ftp.host.terminal import is_unicode, warn
from ftp.options import Option, flatten, read_recipe
from ftp.plugin_info import Picked
from ftp.plugins import trust
from ftp.plugins.find import discover, load_quietly, pick
from ftp.plugins.fit import core_options
from ftp.plugins.plan import Given, Prepared, options_for, prepare, recipe_folder, split_names
from ftp.runs import recipes

BOOLEANS = ("true", "false", "yes", "no", "on", "off", "1", "0")
FLAG = re.compile(r"--?[A-Za-z]")


@dataclass
class Line:
    """What a command line says, before anything is looked up. `values`: options by dotted key, as text (or True and
    False). `words`: what is no option. `changes`: what `--resume-with` gives, which is among the values too."""

    words: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    plugins: list[str] | None = None
    resume: str | None = None
    changes: dict[str, str] = field(default_factory=dict)
    trust_recipe: bool = False
    help: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(arguments: Sequence[str], options: Iterable[Option], switches: Iterable[str] = ()) -> Line:
    """Read a line with the options that are known. `switches`: flags without value that a command adds (`--json`).

    An option takes the word after it, whatever that is, unless it is itself a flag; `--name=value` takes anything.
    """
    flags = {spelling: item for item in options for spelling in item.flags}
    negative = {spelling: item for item in options if item.is_flag for spelling in _negative(item)}
    special = {"--plugins", "--resume", "--resume-with"}
    known = {*flags, *negative, *special, *switches, trust.FLAG, "--help", "-h"}
    line, given = Line(), list(arguments)
    line.problems += _not_utf8(given)
    while given:
        word = given.pop(0)
        if word == "--":
            line.words += given
            break
        if not FLAG.match(word):
            line.words.append(word)
            continue
        name, equals, value = word.partition("=")
        following = given[0] if given and not (FLAG.match(given[0]) and _looks_like_flag(given[0], known)) else None
        if name in ("--help", "-h"):
            line.help = True
        elif name == trust.FLAG:
            line.trust_recipe = True
        elif name in switches:
            line.extra[name] = True
        elif name in negative and name not in flags:
            if equals:
                line.problems.append(Problem(f"{word}: takes no value", f"write {name}, or {negative[name].flag} {value}"))
            _put(line, negative[name], False)
        elif name in flags and flags[name].is_flag:
            if not equals and following is not None and (following.lower() in BOOLEANS or not _is_recipe(following)):
                value, equals = given.pop(0), "="
            _put(line, flags[name], value if equals else True)
        elif name in flags or name in special:
            if not equals:
                if following is None:
                    kind = f"a value: {flags[name].help}" if name in flags else "a value"
                    line.problems.append(Problem(f"{name}: its value is missing", f"{name} takes {kind}"))
                    continue
                value = given.pop(0)
            if name == "--plugins":
                line.plugins = [*(line.plugins or []), *split_names(value)]
            elif name == "--resume":
                line.resume = value
            elif name == "--resume-with":
                _put_change(line, value)
            else:
                _put(line, flags[name], value)
        else:
            if not equals and following is not None and not _is_recipe(following):
                value, equals = given.pop(0), "="
            line.values[name.lstrip("-")] = value if equals else True
            if name.startswith("-") and not name.startswith("--"):
                line.values.pop(name.lstrip("-"))
                fix = nearest("-" + name, known) or "options begin with two dashes"
                line.problems.append(Problem(f"{name}: no such option", fix))
    return line


def _not_utf8(words: Sequence[str]) -> list[Problem]:
    """Names of files that are not UTF-8 cannot be written into the recipe of a run."""
    problems = []
    for word in words:
        if not is_unicode(word):
            problems.append(Problem(f"{word}: this name is not UTF-8, so that no recipe can hold it",
                                    "rename the file or folder, or make a link to it under another name", "ln -s OLD NEW"))
    return problems


def assemble(arguments: Sequence[str], switches: Iterable[str] = ()) -> tuple[Line, Prepared]:
    """A command line as a run that fits together. Raises `UserError` with all that is wrong with it."""
    line, names, given = understand(arguments, switches)
    return line, prepare(names, given=given, problems=line.problems, notes=line.notes)


def understand(arguments: Sequence[str], switches: Iterable[str] = ()) -> tuple[Line, list[str], Given]:
    """The line, the names of its plugins, and its sources of options (a recipe, the flags). Tables of the recipe whose plugins
    `--plugins` leaves out are not among them, which `notes` says."""
    core = core_options()
    first = read(arguments, core, switches)
    names, tables, source, problems = _recipe(first)
    code = code_of_recipe(first, names, tables, source)
    notes = trust.check(code, source, _how_to_trust(first, source), first.trust_recipe)
    local = _plugins_from(first, tables, source)
    picked = pick(names, local, []) if names or local else []
    line = read(arguments, options_for(picked)[0], switches)
    line.notes += notes
    for word in line.words[1:] if line.words and _is_recipe(line.words[0]) else line.words:
        if not (source and word == source):
            fix = "options begin with two dashes; a recipe's name ends in .toml"
            line.problems.append(Problem(f"{word}: not understood", fix, "ftp run --help"))
    line.problems += problems
    if line.plugins is not None:
        here, installed = {one.name for one in picked}, discover()
        for name in [key for key, value in tables.items() if isinstance(value, dict) and key not in here and key in installed]:
            del tables[name]
            line.notes.append(f"{source}: [{name}] is not read, as --plugins leaves {name} out")
    given = [(source, tables)] if source else []
    return line, names, [*given, ("flags", line.values)]


def plugins_of(arguments: Sequence[str], switches: Iterable[str] = ()) -> tuple[list[Picked], Given]:
    """The plugins that a line names, as far as they can be found (for its help), and the options of its recipe and its flags."""
    first = read(arguments, core_options(), switches)
    names, tables, source, _ = _recipe(first)
    names = [*names, *_broken_defaults(names)]
    code = code_of_recipe(first, names, tables, source)
    local: Sequence[str] = ()
    if first.trust_recipe or trust.is_trusted(code):
        local = _plugins_from(first, tables, source)
    else:
        for one in code:
            warn(f"{source}: {one}: not run, so its options are not shown; {trust.FLAG} shows them")
    return pick(names, local, []), [("recipe", tables), ("flags", first.values)]


def _broken_defaults(names: Sequence[str]) -> list[str]:
    """Words that leave out the plugins of every run that do not import: nobody named them, and help can do without."""
    words = []
    for found in (one for offered in discover().values() for one in offered):
        if not found.default or found.name in names:
            continue
        try:
            load_quietly(found)
        except (UserError, PluginError) as error:
            warn(f"{error}: its options are not shown")
            words.append(f"-{found.distribution}:{found.name}")
    return words


def code_of_recipe(line: Line, names: Sequence[str], tables: Mapping[str, Any], source: str) -> list[trust.Code]:
    """The code that the recipe of a line names, less what the line itself names in its place: that is the user's own word.
    Only installed plugins are imported for it."""
    if not source:
        return []
    own = {key.replace("-", "_") for key in line.values}
    named = {key: value for key, value in flatten(tables).items() if key.replace("-", "_") not in own}
    options = options_for(pick(names, (), []))[0]
    return trust.code_of({**named, **trust.typed_models(line.values, options)}, options, recipe_folder(source))


def _plugins_from(line: Line, tables: Mapping[str, Any], source: str) -> list[str]:
    """Where plugins that are not installed are: the flag's word, else the recipe's."""
    if "plugins_from" in line.values:
        return split_names(line.values["plugins_from"])
    folder = recipe_folder(source)
    return [trust.absolute(one, folder) for one in split_names(tables.get("plugins_from", ()))]


def _how_to_trust(line: Line, source: str) -> str:
    """The command that is being given, with the user's word for the code."""
    context = click.get_current_context(silent=True)
    command = context.command_path if context is not None else "ftp run"
    what = f"--resume {line.resume}" if line.resume is not None else source
    return f"{command} {what} {trust.FLAG}"


def _recipe(line: Line) -> tuple[list[str], dict[str, Any], str, list[Problem]]:
    """The names of plugins, and the tables of the recipe with its name where the line names one."""
    if line.resume is not None:
        return _resumed(line)
    source = next((word for word in line.words if _is_recipe(word)), "")
    tables: dict[str, Any] = {}
    problems: list[Problem] = []
    if source:
        try:
            tables = read_recipe(Path(source).expanduser())
        except UserError as error:
            problems += error.problems
    named = tables.pop("plugins", [])
    if not isinstance(named, (str, list)) or not all(isinstance(name, str) for name in named):
        problems.append(Problem(f'{source}: plugins is not a list of names', 'plugins = ["lora", "sentiment"]'))
        named = []
    return (line.plugins if line.plugins is not None else split_names(named)), tables, source, problems


def _resumed(line: Line) -> tuple[list[str], dict[str, Any], str, list[Problem]]:
    """A resume repeats the recipe of its folder; only what leaves it the same run may be given beside it."""
    path = Path(str(line.resume)).expanduser()
    recipe = path / paths.RECIPE
    given = [*(["--plugins"] if line.plugins is not None else []), *line.words]
    given += [f"--{key}" for key in line.values if key not in recipes.HARMLESS]
    if given:
        raise UserError(f"--resume {path} goes on with the options of that run: {', '.join(given)} cannot be given with it",
                        f"leave that out, or start another run; what may be given: {recipes.allowed()} (or as --resume-with "
                        "KEY=VALUE)", f"ftp run --resume {path}")
    if not recipe.is_file():
        if (path / paths.BEGAN).is_file():
            raise UserError(f"--resume {path}: {paths.RECIPE} is missing", "put back the recipe that the run began with",
                            recipes.restore_command(path))
        what = f"there is no {paths.RECIPE} in it, so it is not a run's folder" if path.is_dir() else "there is no such folder"
        raise UserError(f"--resume {path}: {what}", "name the folder of a run", "ftp runs")
    try:
        tables = read_recipe(recipe)
    except UserError as error:
        raise UserError([Problem(problem.what, "put back the recipe that the run began with", recipes.restore_command(path))
                         for problem in error.problems]) from error
    names = split_names(tables.pop("plugins", []))
    recipes.check_plugins(path, names)
    return names, {**tables, "out": str(path)}, str(recipe), []


def _put_change(line: Line, text: str) -> None:
    """One `KEY=VALUE` of `--resume-with`."""
    key, equals, value = text.partition("=")
    if not equals:
        line.problems.append(Problem(f"--resume-with {text}: not KEY=VALUE", "for example: --resume-with save_steps=50"))
        return
    name = key.strip().replace("-", "_")
    line.changes[name] = line.values[name] = value.strip()


def _put(line: Line, item: Option, value: Any) -> None:
    if item.key in line.values and item.type_name.startswith("list of"):
        value = f"{line.values[item.key]},{value}"
    elif item.key in line.values and line.values[item.key] != value:
        what = f"{item.flag}: given twice, as {line.values[item.key]} and as {value}"
        line.problems.append(Problem(what, "keep one of the two"))
    line.values[item.key] = value


def _negative(item: Option) -> list[str]:
    return ["--no-" + spelling[2:] for spelling in item.flags]


def _looks_like_flag(word: str, known: Iterable[str]) -> bool:
    """Whether a word is meant as a flag: one that is known, or one with two dashes. `-1` and `-gap` are values."""
    return word.startswith("--") or word in known


def _is_recipe(word: str) -> bool:
    return word.endswith(".toml")


def grouped(options: Iterable[Option]) -> Mapping[str, list[Option]]:
    """Options by heading, core's groups first and then one for each plugin."""
    groups: dict[str, list[Option]] = {}
    for item in sorted(options, key=lambda one: one.owner != ""):
        groups.setdefault(item.owner or item.group or "run", []).append(item)
    return groups
