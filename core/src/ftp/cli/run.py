"""`ftp run`: read the line, tell all its mistakes, start the processes, do the run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from ftp.cli import flags, words
from ftp.cli.words import Line
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
    line = words.read(arguments, core_options())
    recipe = _recipe_of_stages(line)
    if recipe is not None:
        _do_stages(recipe, line)
    else:
        _do_run(arguments)


def _do_run(arguments: Sequence[str]) -> None:
    """One run."""
    line, prepared = flags.assemble(arguments)
    resume = None if line.resume is None else Path(line.resume).expanduser()
    if resume is not None:
        recipes.accept(resume, prepared)  # told before anything heavy
    elif line.changes:
        raise UserError("--resume-with is for a run that is resumed", "give the option itself, or add --resume DIR")
    processes = prepared.settings.processes
    if processes > 1:  # this process starts them with the same line, and waits
        from ftp.train.launch import inside, launch

        if not inside():
            status = launch(["run", *arguments], processes)
            if status:
                raise ExitStatus(status)
            return
    from ftp.runs.run import execute

    result = execute(prepared, resume=resume)
    if os.environ.get("RANK", "0") == "0":
        from ftp.report.outcome import show_result

        show_result(result)


def _recipe_of_stages(line: Line) -> Path | None:
    """The recipe of several stages that a line means: a file, or what is kept in the folder that is resumed."""
    if line.resume is not None:
        folder = Path(line.resume).expanduser()
        return folder / stages.FILE if stages.holds_stages(folder) else None
    for word in line.words:
        if words.is_recipe(word):
            recipe = Path(word).expanduser()
            return recipe if stages.is_staged(recipe) else None
    return None


def _do_stages(recipe: Path, line: Line) -> None:
    """The runs of a recipe of several stages, one after the other; those that are finished are skipped."""
    is_resumed = line.resume is not None
    if problems := _problems_of_stages(recipe, line):
        raise UserError(problems)
    again = f"ftp run --resume {line.resume} {trust.FLAG}" if is_resumed else f"ftp run {recipe} {trust.FLAG}"
    code = stages.code_of(recipe, line.values, is_resumed)
    for note in trust.check(code, str(recipe), again, line.trust_recipe):
        say(note)
    out, all_stages = stages.read(recipe, line.values, resume=is_resumed)
    if not is_resumed:
        stages.begin(recipe, out, all_stages, line.values)
    elif line.values:
        stages.add_flags(out, line.values)
    for number, stage in enumerate(all_stages, 1):
        title = f"stage {number} of {len(all_stages)}: {stage.name}"
        if stage.done:
            say(f"{title} is finished: {stage.folder}")
            continue
        say(f"{title}, in {stage.folder}" + (", goes on" if stage.begun else ""))
        try:
            _do_run([*stages.command(stage)[1:], trust.FLAG])  # the user's word was asked for all stages, above
        except BaseException:
            warn(f"ftp: {title} did not end; to go on from there: ftp run --resume {out}")
            raise


def _problems_of_stages(recipe: Path, line: Line) -> list[Problem]:
    """What a line says that a recipe of stages cannot take."""
    from ftp.train.launch import inside

    problems = list(line.problems)
    # each stage may ask for another number of processes
    if inside():
        problems.append(Problem(f"{recipe}: stages start their own processes", "give --processes N, without a launcher"))
    if line.plugins is not None:
        problems.append(Problem("--plugins: each stage of a recipe names its own", "leave it out"))
    if line.resume is not None:
        refused = list(line.words)
        refused += [f"--{key}" for key in line.values if key not in recipes.HARMLESS]
        if refused:
            problems.append(Problem(f"--resume {line.resume} goes on with the options of those stages: {', '.join(refused)} "
                                    "cannot be given with it", f"leave that out; what may be given: {recipes.allowed()}",
                                    f"ftp run --resume {line.resume}"))
    for key in line.values:
        if "." in key:
            problems.append(Problem(f"--{key}: an option of a plugin belongs in a stage", f"write it into {recipe}"))
    return problems


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether -h or --help stands among the words."""
    return any(word in words.HELP for word in arguments)


def help_text(name: str, arguments: Sequence[str], summary: str, fixed: Sequence[tuple[str, str]]) -> str:
    """The help of a command that takes a run's options, those of the plugins on its line included.

    Args:
        fixed: the flags of the command itself, each with what it means.
    """
    from ftp.cli import help
    from ftp.plugins.plan import options_for

    picked, sources = flags.plugins_of([word for word in arguments if word not in words.HELP])
    usage = f"{name} [RECIPE.toml] --plugins A,B [OPTIONS]"
    return help.text(usage, summary, fixed, options_for(picked)[0], picked, sources)
