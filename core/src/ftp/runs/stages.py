"""A recipe of several stages, each a run: `ftp run recipe.toml` does them one after the other.

    out = "runs/assistant"            the folder of all; options up here (no tables) are those of every stage
    [[stages]]
    name = "sft"
    plugins = ["sft", "lora", "chat"]
    [[stages]]
    name = "rlhf"
    plugins = ["rlhf", "lora", "chat"]
    model = "{sft}"                   the run folder of an earlier stage, anywhere in a text; an adapter is merged
    rlhf.reward = "judge.py:short"

Each stage's run is in a folder of its name. `ftp run --resume runs/assistant` skips stages that are finished, goes on with one
that was stopped, and begins the others. What is changed of a stage that has begun, by a flag or in stages.toml, must be harmless
(see `ftp.runs.recipes`). This module imports nothing heavy.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftp.errors import Problem, UserError, nearest
from ftp.folder import marker, paths, state, writing
from ftp.folder.files import Folder
from ftp.host.faults import disk
from ftp.options import flatten, read_recipe
from ftp.plugins import trust
from ftp.plugins.find import pick
from ftp.plugins.plan import Prepared, options_for, prepare, replace_settings, split_names
from ftp.runs import following, recipes

FILE, FLAGS = "stages.toml", "flags.toml"
"""The recipe of all stages, in their folder, and the options that were given beside it."""
ORIGINAL = "recipe"
"""In flags.toml: the recipe that stages.toml is a copy of. Its paths are taken from that one's folder."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
REFERENCE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Stage:
    """One run of several.

    `folder`: where it is. `done`: it is finished. `begun`: its folder holds a run that is not, and that has something to go on
    with. `changes`: what its recipe says otherwise than when it began.
    """

    name: str
    prepared: Prepared
    folder: Path
    done: bool = False
    begun: bool = False
    changes: tuple[recipes.Change, ...] = ()


def holds_stages(folder: Path) -> bool:
    """Whether a folder is that of a recipe of stages."""
    return (folder / FILE).is_file()


def is_staged(path: Path) -> bool:
    """Whether a file is a recipe of stages; False where it cannot be read, which is told elsewhere."""
    try:
        return "stages" in read_recipe(path)
    except UserError:
        return False


def read(path: Path, flags: Mapping[str, object], resume: bool = False) -> tuple[Path, list[Stage]]:
    """The folder of a recipe's stages, and the stages, every one known to fit together.

    Args:
        flags: options of every stage that count more than the recipe's, but for what a stage takes from an earlier one.
        resume: whether `path` is the recipe that is kept in the folder of stages that were begun.

    Raises:
        UserError: all that is wrong with all of them.
    """
    tables = read_recipe(path)
    kept, original = _kept(path) if resume else ({}, path)
    flags = {**kept, **flags}
    stage_tables = tables.pop("stages")
    common: dict[str, object] = {**tables, **flags}
    out = path.parent
    if not resume:
        out = Path(str(common.get("out", paths.RUNS / path.stem))).expanduser()
    common.pop("out", None)
    problems = []
    for key, value in common.items():
        if isinstance(value, dict):
            problems.append(Problem(f"{path}: [{key}] stands above the stages",
                                    "options of a plugin belong in a stage, as lora.r = 8"))
    if not isinstance(stage_tables, list) or not stage_tables or not all(isinstance(table, dict) for table in stage_tables):
        raise UserError(f"{path}: stages are no list of tables", "each begins with [[stages]]")

    folders: dict[str, Path] = {}  # of the stages so far, by name
    stages: list[Stage] = []
    for number, table in enumerate(stage_tables, 1):
        options = dict(table)
        name = options.pop("name", None)
        if not isinstance(name, str) or not NAME.fullmatch(name) or name in folders:
            problems.append(Problem(f"{path}: stage {number} has the name {name!r}",
                                    "a name of its own, of letters, digits and dashes"))
            continue
        folder = out / name
        if "out" in options:
            problems.append(Problem(f"{path}: stage {name} names a folder (out)",
                                    f"its run is in {folder}; set `out` once, above"))
            options.pop("out")
        plugins = options.pop("plugins", [])
        values = {}
        for key, value in _options_of_stage(options, common, flags).items():
            values[key] = _filled(value, folders, problems, f"{path}: stage {name}")
        folders[name] = folder  # from here on later stages may name it
        try:
            prepared = prepare(plugins, given=[(f"{original}, stage {name}", {**values, "out": str(folder)})])
        except UserError as error:
            problems += [Problem(f"stage {name}: {problem.what}", problem.fix, problem.command) for problem in error.problems]
            continue
        stage = _as_its_folder_shows(name, prepared, folder)
        problems += _edited(path, stage)
        stages.append(stage)
    if problems:
        raise UserError(problems)
    return out, stages


def _options_of_stage(
    own: Mapping[str, object], common: Mapping[str, object], flags: Mapping[str, object]
) -> dict[str, object]:
    """A stage's own options, and those of all stages that it leaves open. A flag counts more than its own, unless that names
    an earlier stage."""
    options = dict(own)
    for key, value in common.items():
        is_left_open = key not in own
        if key in flags and not REFERENCE.search(str(own.get(key, ""))):
            is_left_open = True
        if is_left_open and not isinstance(value, dict):
            options[key] = value
    return options


def code_of(path: Path, flags: Mapping[str, object], resume: bool = False) -> list[trust.Code]:
    """The code that a recipe of stages names, in any of them, less what a flag names in its place."""
    tables = read_recipe(path)
    kept, original = _kept(path) if resume else ({}, path)
    on_the_line = {key.replace("-", "_") for key in flags}
    stages = tables.pop("stages", [])
    if not isinstance(stages, list):
        return []
    code: list[trust.Code] = []
    for stage in stages:
        values = flatten({**tables, **kept, **dict(stage)})
        in_recipe = {key: value for key, value in values.items() if key not in on_the_line}
        options = options_for(pick(split_names(stage.get("plugins", ())), (), []))[0]
        code += trust.code_of({**in_recipe, **trust.typed_models(flags, options)}, options, original.parent)
    return list(dict.fromkeys(code))


def _filled(value: object, folders: Mapping[str, Path], problems: list[Problem], where: str) -> object:
    """A value with the names of earlier stages in braces replaced by their folders.

    Args:
        folders: those of earlier stages by name.
        problems: gets every name that is none of theirs.
        where: the stage, for the problems.
    """
    if isinstance(value, dict):
        return {key: _filled(inner, folders, problems, where) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, folders, problems, where) for inner in value]
    if not isinstance(value, str):
        return value

    def folder(match: re.Match[str]) -> str:
        if match[1] not in folders:
            fix = nearest(match[1], folders) or f"earlier stages: {', '.join(folders) or 'none'}"
            problems.append(Problem(f"{where}: {match[0]} is no earlier stage", fix))
            return match[0]
        return str(folders[match[1]])

    return REFERENCE.sub(folder, value)


def _as_its_folder_shows(name: str, prepared: Prepared, folder: Path) -> Stage:
    """A stage as its folder shows it."""
    if not state.holds_run(folder):
        return Stage(name, prepared, folder)
    # what never came to an update is begun anew, with whatever options
    done = Folder(folder).read_facts().get("status") == "finished"
    begun = not done and not state.came_to_nothing(folder)
    merges = _to_merge(prepared, folder)
    if merges is not None:
        prepared = replace_settings(prepared, model=str(_merged_folder(merges)))
    if done or begun:
        prepared = following.as_in_folder(prepared, folder)
    changes = recipes.since_began(folder, prepared) if done or begun else []
    return Stage(name, prepared, folder, done, begun, tuple(changes))


def _edited(path: Path, stage: Stage) -> list[Problem]:
    """What is wrong with the changes of a stage that has begun, or is finished."""
    wrong = []
    for change in stage.changes:
        is_late = stage.done and change.key in recipes.LONGER
        if is_late or not recipes.is_harmless(stage.folder, change):
            wrong.append(str(change))
    if not wrong:
        return []
    begun = "was finished" if stage.done else "began"
    return [Problem(f"{path}: stage {stage.name} has other options than when it {begun}: {'; '.join(wrong)}",
                    "put back what it said, or do all stages anew in another folder",
                    f"ftp run {path} --out {path.parent}-anew")]


def _kept(path: Path) -> tuple[dict[str, object], Path]:
    """The options that were given beside a recipe of stages that was begun, and that recipe's own path."""
    kept = read_recipe(path.parent / FLAGS)
    return kept, Path(str(kept.pop(ORIGINAL, path)))


def keep_flags(out: Path, original: Path, flags: Mapping[str, object]) -> None:
    """Write down the options that were given beside a recipe of stages."""
    import tomlkit

    without_out = {key: value for key, value in flags.items() if key != "out"}
    writing.write_text(out / FLAGS, tomlkit.dumps({ORIGINAL: str(original.absolute()), **without_out}))


def add_flags(out: Path, flags: Mapping[str, object]) -> None:
    """Write down options that were given at a resume, beside those from before."""
    kept, original = _kept(out / FILE)
    keep_flags(out, original, {**kept, **flags})


def begin(path: Path, out: Path, stages: Sequence[Stage], flags: Mapping[str, object]) -> None:
    """Make the folder of all stages, with the recipe and the options that came beside it. Raises `UserError` where it holds
    some already, unless none of them came to its first update."""
    folders = [stage.folder for stage in stages]
    if holds_stages(out):
        folders += out.iterdir()
    if any(state.holds_run(folder) and not state.came_to_nothing(folder) for folder in folders):
        raise UserError(f"{out} holds these stages already", "go on with them, or name another folder (--out)",
                        f"ftp run --resume {out}")
    inside = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    mark = marker.read(out)
    if inside and (mark is None or mark.kind != "stages"):
        raise UserError(f"--out {out}: the folder is not empty, and what it holds are not the stages of a recipe that ftp began "
                        f"({marker.NAME} is missing)", "name a folder that is new or empty")
    # a folder of stages may hold files of others: none of them is written over
    own = [FLAGS, FILE, *(f"{stage.name}.toml" for stage in stages)]
    foreign = [name for name in own if name in inside and not marker.lists(mark, name)]
    if foreign:
        raise UserError(f"--out {out}: stages would write over {', '.join(foreign)}, which ftp did not write",
                        "move it elsewhere, or name another folder")
    with disk(out):
        out.mkdir(parents=True, exist_ok=True)
        if mark is None:
            marker.create(out, "stages")
        marker.add(out, own)
        keep_flags(out, path, flags)
        # the recipe may lie there already, as its own copy
        if path.resolve() != (out / FILE).resolve():
            writing.write_text(out / FILE, path.read_text(encoding="utf-8"))


def command(stage: Stage) -> list[str]:
    """The words after `ftp` that do a stage, or go on with it; its recipe is written beside its folder.

    Where it begins from a stage that trained an adapter, that is merged into its base first (`<name>-merged`), once.
    """
    if stage.begun:
        changes = [f"--resume-with={change.key}={recipes.shown(change.new)}" for change in stage.changes]
        return ["run", "--resume", str(stage.folder), *changes]
    prepared = stage.prepared
    merges = _to_merge(prepared, stage.folder)
    if merges is not None:
        prepared = replace_settings(prepared, model=str(_merged(merges, prepared.settings.trust_remote_code)))
    recipe = stage.folder.with_name(f"{stage.folder.name}.toml")
    with disk(recipe):
        recipe.write_text(prepared.recipe(), encoding="utf-8")
    return ["run", str(recipe), "--out", str(stage.folder)]


def _to_merge(prepared: Prepared, folder: Path) -> Path | None:
    """The earlier stage that a stage begins from, where that trained an adapter."""
    before = Path(prepared.settings.model or "")
    if before.parent == folder.parent and (before / paths.MODEL / "adapter_config.json").is_file():
        return before
    return None


def _merged_folder(run: Path) -> Path:
    return run.with_name(f"{run.name}-merged")


def _merged(run: Path, trust_remote_code: bool) -> Path:
    """The model of a run with its adapter in the weights, written under its name when it is whole."""
    from ftp import model

    out = _merged_folder(run)
    mark = marker.read(out.parent)
    if out.exists() and mark is not None and not marker.lists(mark, f"{out.name}/"):
        raise UserError(f"{out}: ftp did not write this folder, and the merged model of {run.name} belongs there",
                        "move it elsewhere", f"ftp run --resume {out.parent}")
    if not out.is_dir():
        aside = run.with_name(f".{out.name}.partial")
        if marker.lists(mark, f"{aside.name}/"):  # what a kill left of it
            shutil.rmtree(aside, ignore_errors=True)
        marker.add(out.parent, [f"{out.name}/", f"{aside.name}/"])
        model.merged(run / paths.MODEL, aside, trust_remote_code=trust_remote_code)
        writing.sync_tree(aside)
        aside.rename(out)
        writing.sync_folder(out.parent)
    return out
