"""A command line as a recipe, plugins and options that fit together, with every mistake collected instead of the first
raised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ftp.cli.words import Line, is_recipe, read
from ftp.errors import PluginError, Problem, UserError
from ftp.folder import paths
from ftp.host.terminal import warn
from ftp.options import flatten, read_recipe
from ftp.plugin_info import Picked
from ftp.plugins import trust
from ftp.plugins.find import discover, load_quietly, pick
from ftp.plugins.fit import core_options
from ftp.plugins.plan import Given, Prepared, options_for, prepare, recipe_folder, split_names
from ftp.runs import recipes


@dataclass(frozen=True)
class Recipe:
    """The recipe that a line goes by: the file that it names, or that of the folder that it resumes.

    `plugins`: the names that count, those of the line where it names any. `tables`: all else that it holds. `file`: empty
    where there is no recipe.
    """

    plugins: list[str]
    tables: dict[str, Any]
    file: str = ""
    problems: tuple[Problem, ...] = ()


def assemble(arguments: Sequence[str], switches: Iterable[str] = ()) -> tuple[Line, Prepared]:
    """A command line as a run that fits together. Raises `UserError` with all that is wrong with it."""
    line, names, sources = understand(arguments, switches)
    return line, prepare(names, given=sources, problems=line.problems, notes=line.notes)


def understand(arguments: Sequence[str], switches: Iterable[str] = ()) -> tuple[Line, list[str], Given]:
    """The line, the names of its plugins, and its sources of options (a recipe, the flags). Tables of the recipe whose plugins
    `--plugins` leaves out are not among them, which `notes` says."""
    first = read(arguments, core_options(), switches)
    recipe = _recipe(first)
    # a recipe may come from anywhere: none of its code is imported before the user's word for it
    code = code_of_recipe(first, recipe)
    notes = trust.check(code, recipe.file, _how_to_trust(first, recipe.file), first.trust_recipe)
    plugins_from = _plugins_from(first, recipe)
    picked = pick(recipe.plugins, plugins_from, []) if recipe.plugins or plugins_from else []

    # now that the plugins are known, so are their options
    line = read(arguments, options_for(picked)[0], switches)
    line.notes += notes
    line.problems += [*_not_understood(line, recipe), *recipe.problems]
    if line.plugins is not None:
        for name in _left_out(recipe, picked):
            del recipe.tables[name]
            line.notes.append(f"{recipe.file}: [{name}] is not read, as --plugins leaves {name} out")
    from_recipe = [(recipe.file, recipe.tables)] if recipe.file else []
    return line, recipe.plugins, [*from_recipe, ("flags", line.values)]


def _not_understood(line: Line, recipe: Recipe) -> list[Problem]:
    """Words that are neither an option nor the recipe."""
    words = line.words
    if words and is_recipe(words[0]):
        words = words[1:]
    problems = []
    for word in words:
        if word != recipe.file:
            problems.append(Problem(f"{word}: not understood", "options begin with two dashes; a recipe's name ends in .toml",
                                    "ftp run --help"))
    return problems


def _left_out(recipe: Recipe, picked: Sequence[Picked]) -> list[str]:
    """Tables of installed plugins that are no part of the run."""
    present = {plugin.name for plugin in picked}
    installed = discover()  # any other table is a mistake, which is told with the options
    tables = [name for name, value in recipe.tables.items() if isinstance(value, dict)]
    return [name for name in tables if name in installed and name not in present]


def plugins_of(arguments: Sequence[str], switches: Iterable[str] = ()) -> tuple[list[Picked], Given]:
    """The plugins that a line names, as far as they can be found (for its help), and the options of its recipe and its flags."""
    line = read(arguments, core_options(), switches)
    recipe = _recipe(line)
    names = [*recipe.plugins, *_broken_defaults(recipe.plugins)]
    code = code_of_recipe(line, recipe)
    plugins_from: list[str] = []
    if line.trust_recipe or trust.is_trusted(code):
        plugins_from = _plugins_from(line, recipe)
    else:
        for named in code:
            warn(f"{recipe.file}: {named}: not run, so its options are not shown; {trust.FLAG} shows them")
    return pick(names, plugins_from, []), [("recipe", recipe.tables), ("flags", line.values)]


def _broken_defaults(names: Sequence[str]) -> list[str]:
    """Words that leave out the plugins of every run that do not import: nobody named them, and help can do without."""
    words = []
    for of_name in discover().values():
        for plugin in of_name:
            if not plugin.default or plugin.name in names:
                continue
            try:
                load_quietly(plugin)
            except (UserError, PluginError) as error:
                warn(f"{error}: its options are not shown")
                words.append(f"-{plugin.distribution}:{plugin.name}")
    return words


def code_of_recipe(line: Line, recipe: Recipe) -> list[trust.Code]:
    """The code that the recipe of a line names, less what the line itself names in its place: that is the user's own word.
    Only installed plugins are imported for it."""
    if not recipe.file:
        return []
    # a flag replaces what the recipe says, so code that it names there is not run
    on_the_line = {key.replace("-", "_") for key in line.values}
    in_recipe = {key: value for key, value in flatten(recipe.tables).items() if key.replace("-", "_") not in on_the_line}
    options = options_for(pick(recipe.plugins, (), []))[0]
    return trust.code_of({**in_recipe, **trust.typed_models(line.values, options)}, options, recipe_folder(recipe.file))


def _plugins_from(line: Line, recipe: Recipe) -> list[str]:
    """Where plugins that are not installed are: the flag's word, else the recipe's."""
    if "plugins_from" in line.values:
        return split_names(str(line.values["plugins_from"]))
    folder = recipe_folder(recipe.file)
    return [trust.absolute(path, folder) for path in split_names(recipe.tables.get("plugins_from", ()))]


def _how_to_trust(line: Line, file: str) -> str:
    """The command that is being given, with the user's word for the code."""
    context = click.get_current_context(silent=True)
    command = "ftp run" if context is None else context.command_path
    recipe = file if line.resume is None else f"--resume {line.resume}"
    return f"{command} {recipe} {trust.FLAG}"


def _recipe(line: Line) -> Recipe:
    """The recipe that a line goes by, with what is wrong with it."""
    if line.resume is not None:
        return _recipe_of_folder(line, Path(line.resume).expanduser())
    file = next(filter(is_recipe, line.words), "")
    tables: dict[str, Any] = {}
    problems: list[Problem] = []
    if file:
        try:
            tables = read_recipe(Path(file).expanduser())
        except UserError as error:
            problems += error.problems
    names = tables.pop("plugins", [])
    if not _is_names(names):
        problems.append(Problem(f'{file}: plugins is not a list of names', 'plugins = ["lora", "sentiment"]'))
        names = []
    plugins = split_names(names) if line.plugins is None else line.plugins
    return Recipe(plugins, tables, file, tuple(problems))


def _is_names(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(name, str) for name in value))


def _recipe_of_folder(line: Line, folder: Path) -> Recipe:
    """A resume repeats the recipe of its folder; only what leaves it the same run may be given beside it."""
    # another option would make another run under the first one's name
    refused = list(line.words)
    if line.plugins is not None:
        refused.insert(0, "--plugins")
    refused += [f"--{key}" for key in line.values if key not in recipes.HARMLESS]
    if refused:
        raise UserError(f"--resume {folder} goes on with the options of that run: {', '.join(refused)} cannot be given with it",
                        f"leave that out, or start another run; what may be given: {recipes.allowed()} (or as --resume-with "
                        "KEY=VALUE)", f"ftp run --resume {folder}")
    file = folder / paths.RECIPE
    put_back = ("put back the recipe that the run began with", recipes.restore_command(folder))
    if not file.is_file():
        if (folder / paths.BEGAN).is_file():
            raise UserError(f"--resume {folder}: {paths.RECIPE} is missing", *put_back)
        why = "there is no such folder"
        if folder.is_dir():
            why = f"there is no {paths.RECIPE} in it, so it is not a run's folder"
        raise UserError(f"--resume {folder}: {why}", "name the folder of a run", "ftp runs")
    try:
        tables = read_recipe(file)
    except UserError as error:
        raise UserError([Problem(problem.what, *put_back) for problem in error.problems]) from error
    names = split_names(tables.pop("plugins", []))
    recipes.check_plugins(folder, names)
    return Recipe(names, {**tables, "out": str(folder)}, str(file))
