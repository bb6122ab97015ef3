"""`ftp advise`: which approach for these rows, measured on them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from ftp.advise.question import BUDGET_SECONDS, Question
from ftp.cli import words
from ftp.errors import ExitStatus, Problem, UserError, nearest
from ftp.host.terminal import persistent, say, say_json
from ftp.plugins.fit import core_options
from ftp.plugins.plan import split_names

RAW = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Lets click pass the whole line on as it is."""
BUDGET = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)")
SECONDS_OF = {"s": 1, "m": 60, "h": 3600}
OWN = ("--goal", "--budget", "--model", "--unlabelled")
"""Flags with a value that this command reads itself; `--model` may come several times."""
FIXED = [
    ("--data FILE", "a file, a folder of splits, or a hub id"),
    ("--columns A=B", "what the columns are, ours=theirs: text=review,label=stars; default: by their names and values"),
    ("--plugins A,B", "plugins that every run is to have (a domain, an objective); default: by the columns"),
    ("--model NAME", "what may be trained: a folder, an offered name or a hub id; several times; default: the installed offer"),
    ("--unlabelled FILE", "plain text of the domain: methods are raced after a first stage on it as well"),
    ("--goal SCORE", "the score that counts; default: the one that a run of these rows shows first"),
    ("--budget TIME", "for all pilots together: 90s, 10m, 2h; 0: none, facts and looks alone; default: 10m"),
    ("--out DIR", "folder of the advice; default: advice/<name of the data>"),
    ("--json", "advice.json on standard output, and nothing else"),
    ("-h, --help", "this help; further options are those of a run: ftp run --help"),
]


MEANINGS = {flags.split()[0]: meaning for flags, meaning in FIXED}


@click.command("advise", context_settings=RAW, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Say which approach these rows want, by measuring on them: facts, simple models, and a race of pilots."""
    from ftp.cli.run import wants_help

    if wants_help(arguments):
        say(_help())
        return
    persistent()
    from ftp.advise import write
    from ftp.advise.ladder import advise
    from ftp.advise.show import Shown, Silent

    question, as_json = read_question(arguments)
    with write.claimed(question.out), Silent() if as_json else Shown() as shown:
        situation, advice = advise(question, shown)
        written = write.write(situation, advice)
        shown.end(advice, written)
    if as_json:
        say_json(write.as_json(advice), indent=2)
    # as a run that a check stops
    if advice.facts.stopped:
        raise ExitStatus(2)


def _help() -> str:
    from ftp.cli import help

    return help.text("advise --data FILE [OPTIONS]", command.help or "", FIXED, [], [], [])


def read_question(arguments: Sequence[str]) -> tuple[Question, bool]:
    """The question that a line asks, and whether the answer is wanted as JSON.

    Raises:
        UserError: all that is wrong with the line.
    """
    own, rest, problems = _own_options(arguments)
    line = words.read(rest, core_options(), switches=("--json",))
    problems += [*line.problems, *_not_understood(line)]
    values: dict[str, object] = {key.replace("-", "_"): value for key, value in line.values.items()}
    data = values.pop("data", None)
    plugins = tuple(line.plugins or ())
    if data is None and not plugins:
        problems.append(Problem("no data are named", "a file, a folder of splits, or a hub id", "ftp advise --data FILE"))
    budget = BUDGET_SECONDS
    if "--budget" in own:
        budget, problem = _seconds(own["--budget"][-1])
        problems += problem
    seed, problem = _seed(str(values.pop("seed", "0")))
    problems += problem
    if problems:
        raise UserError(list(dict.fromkeys(problems)))
    out = values.pop("out", None)
    columns = values.pop("columns", None)
    plugins_from = values.pop("plugins_from", None)
    question = Question(
        data=None if data is None else str(data),
        columns=() if columns is None else (str(columns),),
        plugins=plugins,
        models=tuple(own.get("--model", ())),
        goal=own["--goal"][-1] if "--goal" in own else None,
        budget_seconds=budget,
        unlabelled=own["--unlabelled"][-1] if "--unlabelled" in own else None,
        out=Path(str(out)).expanduser() if out is not None else _default_out(data, plugins),
        seed=seed,
        options=values,
        plugins_from=() if plugins_from is None else tuple(split_names(str(plugins_from))),
    )
    return question, "--json" in line.switches


def _own_options(arguments: Sequence[str]) -> tuple[dict[str, list[str]], list[str], list[Problem]]:
    """The values of this command's own flags, in their order; the other words; and flags without a value."""
    values: dict[str, list[str]] = {}
    rest: list[str] = []
    problems: list[Problem] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        if flag not in OWN:
            rest.append(word)
            continue
        if not equals:
            if not left or left[0].startswith("--"):
                problems.append(Problem(f"{flag}: its value is missing", MEANINGS[flag]))
                continue
            value = left.pop(0)
        values.setdefault(flag, []).append(value)
    return values, rest, problems


def _not_understood(line: words.Line) -> list[Problem]:
    """Words that are no option of this command, or of a run."""
    problems = [Problem(f"{word}: not understood", "options begin with two dashes", "ftp advise --help") for word in line.words]
    if line.resume is not None:
        problems.append(Problem("--resume: an advice goes on where it stopped when it is asked for again", "leave it out"))
    known = [item.flag for item in core_options()]
    for key in line.values:
        flag = f"--{key.replace('_', '-')}"
        if "." in key:
            problems.append(Problem(f"--{key}: an option of a plugin is not asked for here", "candidates say what is tried; give "
                                    "it to ftp run, or in the recipe"))
        elif flag not in known:
            fix = nearest(flag, [*known, *OWN, "--plugins", "--json"]) or "ftp advise --help lists what there is"
            problems.append(Problem(f"{flag}: no such option", fix))
    return problems


def _seconds(budget: str) -> tuple[float, list[Problem]]:
    """A time as seconds."""
    match = BUDGET.fullmatch(budget.strip())
    if match is not None:
        return float(match[1]) * SECONDS_OF[match[2]], []
    if budget.strip() == "0":
        return 0.0, []
    return 0.0, [Problem(f"--budget {budget}: not a time", "a number with its unit: 90s, 10m, 2h; or 0", "--budget 10m")]


def _seed(text: str) -> tuple[int, list[Problem]]:
    if text.isdigit() and int(text) < 2**31:
        return int(text), []
    return 0, [Problem(f"--seed {text}: not a whole number", "0 to 2147483647")]


def _default_out(data: object, plugins: Sequence[str]) -> Path:
    """`advice/<name of the data>`, so that another set gets a folder of its own."""
    name = "-".join(plugins) if data is None else Path(str(data)).name.split(".")[0]
    return Path("advice") / (re.sub(r"[^\w-]+", "-", name) or "rows")
