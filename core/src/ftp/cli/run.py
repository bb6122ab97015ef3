"""`ftp run`: read the line, tell all its mistakes, start the processes, do the run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from ftp.cli import flags
from ftp.errors import ExitStatus, Problem, UserError
from ftp.host.terminal import persistent, say, warn
from ftp.plugins import trust
from ftp.plugins.fit import core_options
from ftp.runs import recipes, stages

FIXED = [
    ("RECIPE.toml", "a file of options (ftp config prints one); flags count more than it does"),
    ("--plugins A,B,-C", "plugins of the run: a method, a domain, ...; -C leaves a default plugin out"),
    ("--resume DIR", "go on with a run, or with the stages of a recipe, that were stopped"),
    ("--resume-with K=V", "change an option of the run that is resumed, where that leaves it the same run (save_steps=50)"),
    ("--debug", "show tracebacks"),
    ("--trust-recipe", "run the Python files that the recipe names, and remember them"),
    ("-h, --help", "this help; with --plugins it shows the options of those too"),
]
RAW = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Lets click pass the whole line on as it is."""


@click.command("run", context_settings=RAW, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Fine-tune a model: a method, a domain, and whatever else you name."""
    if wants_help(arguments):
        say(help_text("run", arguments, command.help or "", FIXED))
        return
    persistent()  # a run goes on when nobody reads what it says
    first = flags.read(arguments, core_options())
    if staged := _staged(first):
        _do_stages(staged, first)
    else:
        _do(arguments)


def _do(arguments: Sequence[str]) -> None:
    """One run."""
    line, prepared = flags.assemble(arguments)
    if line.resume is not None:
        recipes.accept(Path(line.resume).expanduser(), prepared)  # told before anything heavy
    elif line.changes:
        raise UserError("--resume-with is for a run that is resumed", "give the option itself, or add --resume DIR")
    processes = prepared.settings.processes
    if processes > 1:
        from ftp.train.launch import inside, launch

        if not inside():
            status = launch(["run", *arguments], processes)
            if status:
                raise ExitStatus(status)
            return
    from ftp.runs.run import execute

    result = execute(prepared, resume=Path(line.resume).expanduser() if line.resume else None)
    if os.environ.get("RANK", "0") == "0":
        from ftp.report.outcome import show_result

        show_result(result)


def _staged(line: flags.Line) -> Path | None:
    """The recipe of several stages that a line means: a file, or what is kept in the folder that is resumed."""
    if line.resume is not None:
        folder = Path(line.resume).expanduser()
        return folder / stages.FILE if stages.holds_stages(folder) else None
    recipe = next((Path(word).expanduser() for word in line.words if word.endswith(".toml")), None)
    return recipe if recipe is not None and stages.is_staged(recipe) else None


def _do_stages(recipe: Path, line: flags.Line) -> None:
    """The runs of a recipe of several stages, one after the other; those that are finished are skipped."""
    from ftp.train.launch import inside

    problems = list(line.problems)
    if inside():
        problems.append(Problem(f"{recipe}: stages start their own processes", "give --processes N, without a launcher"))
    if line.plugins is not None:
        problems.append(Problem("--plugins: each stage of a recipe names its own", "leave it out"))
    if line.resume is not None:
        refused = [*line.words, *(f"--{key}" for key in line.values if key not in recipes.HARMLESS)]
        if refused:
            problems.append(Problem(f"--resume {line.resume} goes on with the options of those stages: {', '.join(refused)} "
                                    "cannot be given with it", f"leave that out; what may be given: {recipes.allowed()}",
                                    f"ftp run --resume {line.resume}"))
    for key in line.values:
        if "." in key:
            problems.append(Problem(f"--{key}: an option of a plugin belongs in a stage", f"write it into {recipe}"))
    if problems:
        raise UserError(problems)
    again = f"ftp run {f'--resume {line.resume}' if line.resume is not None else recipe} {trust.FLAG}"
    for note in trust.check(stages.code_of(recipe, line.values, line.resume is not None), str(recipe), again, line.trust_recipe):
        say(note)
    out, found = stages.read(recipe, line.values, resume=line.resume is not None)
    if line.resume is None:
        stages.begin(recipe, out, found, line.values)
    elif line.values:
        stages.add_flags(out, line.values)
    for number, stage in enumerate(found, 1):
        what = f"stage {number} of {len(found)}: {stage.name}"
        if stage.done:
            say(f"{what} is finished: {stage.folder}")
            continue
        say(f"{what}, in {stage.folder}" + (", goes on" if stage.begun else ""))
        try:
            _do([*stages.command(stage)[1:], trust.FLAG])  # the user's word was asked for all stages, above
        except BaseException:
            warn(f"ftp: {what} did not end; to go on from there: ftp run --resume {out}")
            raise


def wants_help(arguments: tuple[str, ...]) -> bool:
    """Whether -h or --help stands among the words."""
    return any(word in ("-h", "--help") for word in arguments)


def help_text(name: str, arguments: tuple[str, ...], summary: str, fixed: list[tuple[str, str]]) -> str:
    """The help of a command that takes a run's options, those of the plugins on its line included."""
    from ftp.cli import help
    from ftp.plugins.plan import options_for

    picked, given = flags.plugins_of([word for word in arguments if word not in ("-h", "--help")])
    return help.text(f"{name} [RECIPE.toml] --plugins A,B [OPTIONS]", summary, fixed, options_for(picked)[0], picked, given)
