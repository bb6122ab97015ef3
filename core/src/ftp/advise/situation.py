"""The rows of a question as a run reads them, and the plugins that every run of them has. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftp import forms, heads
from ftp.advise.question import Question
from ftp.advise.types import Entry, Situation
from ftp.data import suggest
from ftp.data.collect import collect
from ftp.data.loading import mapping
from ftp.data.read import read
from ftp.data.row_types import Rows
from ftp.errors import Problem, UserError
from ftp.folder.log import Log
from ftp.model import source
from ftp.plugin_info import declaration_of
from ftp.plugins.call import Hooks
from ftp.plugins.declare import answers_hook, kind_of
from ftp.plugins.find import installed
from ftp.plugins.fit import trains_alone
from ftp.plugins.plan import Prepared, prepare
from ftp.runs import following
from ftp.types import Run

SOURCE = "the question"
"""What options of a question are said to come from."""


@dataclass(frozen=True)
class Reading:
    """One way in which rows may be meant.

    Args:
        form: what they are read as.
        guessed: our column -> the column that is probably meant, where the file has none of our names.
    """

    form: str
    guessed: Mapping[str, str]


def open_situation(question: Question) -> Situation:
    """Read the rows of a question as a run would, under its seed.

    Args:
        question: what the user asks.

    Raises:
        UserError: the rows cannot be read, or no installed plugin reads them.
    """
    if question.plugins:
        return _read_as_named(question)
    failed: list[tuple[Reading, UserError]] = []
    for reading in _readings(question):
        # what the richer form refused is not to be read as a poorer one: its answers would be lost
        if any(forms.way(other.form, reading.form) for other, _ in failed):
            continue
        try:
            return _read_as(question, reading)
        except UserError as error:  # labels that are numbers, for example: another form may take them
            failed.append((reading, error))
    raise failed[0][1]


def started_options(question: Question) -> dict[str, object]:
    """The options that a question gives every run, by name."""
    options: dict[str, object] = {"seed": question.seed, **question.options}
    if question.data is not None:
        options["data"] = question.data
    if question.columns:
        options["columns"] = list(question.columns)
    if question.models:  # an entry names another one
        options["model"] = question.models[0]
    return options


def check_models(situation: Situation) -> None:
    """Refuse models that the user names and that are not there, before anything is measured.

    Raises:
        UserError: all of them.
    """
    problems: list[Problem] = []
    for name in situation.question.models:
        try:
            source.find(name, situation.prepared.task.head)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(list(dict.fromkeys(problems)))


# --- with the plugins that the user names ---


def _read_as_named(question: Question) -> Situation:
    """The rows as the user's own plugins read them; an objective is added where they have none and need one."""
    try:
        return _situation(question, question.plugins, {}, {})
    except UserError as error:
        for objective in _objectives_for(question.plugins):
            try:
                return _situation(question, (*question.plugins, objective), {}, {})
            except UserError:
                continue
        raise error


def _objectives_for(plugins: Iterable[str]) -> Iterator[str]:
    """Installed objectives that read rows which one of these domains gives."""
    classes = dict(installed())
    gives: list[str] = []
    for name in plugins:
        if name in classes:
            gives += declaration_of(classes[name]).gives
    for form in gives:
        if not trains_alone(form):
            yield from objectives_of(form)


def objectives_of(form: str) -> list[str]:
    """Installed objectives that read a form, those that like it best first."""
    ranked = []
    for name, cls in installed():
        wants = declaration_of(cls).wants
        if kind_of(cls) == "objective" and form in wants:
            ranked.append((wants.index(form), len(wants), name))
    return [name for _, _, name in sorted(ranked)]


# --- without ---


def _readings(question: Question) -> list[Reading]:
    """What the rows may be meant as, the likeliest first.

    Raises:
        UserError: there is no file, or its columns are of no form that an installed plugin reads.
    """
    if question.data is None:
        raise UserError("no data are named", "a file, a folder of splits, or a hub id", "ftp advise --data FILE")
    rows = _some_rows(question.data, mapping(question.columns))
    columns = list(rows.column_names or ())
    readable = readable_forms()
    asked_form = question.options.get("form")
    if asked_form is not None:
        readable = {form: name for form, name in readable.items() if form == asked_form}

    readings = [Reading(form, {}) for form in forms.offers(columns) if form in readable]
    # other meanings of the columns: classes, tags and numbers show in what columns hold, all else hardly
    has_name_of_ours = bool(readings)
    guesses = [Reading(form, suggest.columns_meant(rows, form)) for form in readable]
    for guess in sorted(guesses, key=lambda guess: (not _has_short_answers(guess.form), len(guess.guessed))):
        if guess.guessed and (_has_short_answers(guess.form) or not has_name_of_ours):
            readings.append(guess)
    if not readings:
        known = ", ".join(f"{form} ({', '.join(forms.get(form).required)})" for form in readable)
        raise UserError(f"{question.data}: what its columns mean is not known: {', '.join(columns)}",
                        f"say it with --columns ours=theirs; what can be read: {known}",
                        f"ftp advise --data {question.data} --columns text=COLUMN,label=COLUMN")
    return readings


def _some_rows(data: str, columns: Mapping[str, str]) -> Rows:
    """The training rows of a source, else those of its first split: those on the hub as a stream, which imports torch."""
    is_here = Path(data).expanduser().exists()
    splits = read(data, columns=columns, streaming=not is_here)
    return splits.get("train", next(iter(splits.values())))


def _has_short_answers(form: str) -> bool:
    return heads.get(forms.get(form).default_head).follows_rows


def readable_forms() -> dict[str, str]:
    """Each form -> the installed plugin that reads any rows of it, the first by its name where there are several."""
    readers: dict[str, str] = {}
    for name, cls in sorted(installed()):
        declaration = declaration_of(cls)
        if declaration.general and answers_hook(cls, "load_data"):
            for form in declaration.gives:
                readers.setdefault(form, name)
    return {form: readers[form] for form in forms.all_forms() if form in readers}


def _read_as(question: Question, reading: Reading) -> Situation:
    """The rows in one form, with the first objective that fits where the form needs one."""
    domain = readable_forms()[reading.form]
    columns = {**mapping(question.columns), **reading.guessed}
    options: dict[str, object] = {}
    if columns:
        options["columns"] = [f"{ours}={theirs}" for ours, theirs in columns.items()]
    cls = dict(installed())[domain]
    if kind_of(cls) == "objective":
        return _situation(question, (domain,), options, reading.guessed)
    if trains_alone(reading.form):
        return _situation(question, (domain,), {**options, "form": reading.form}, reading.guessed)
    problems: list[Problem] = []
    for objective in objectives_of(reading.form):
        try:
            return _situation(question, (domain, objective), options, reading.guessed)
        except UserError as error:
            problems += error.problems
    if not problems:
        problems = [Problem(f"no installed objective reads rows of the form {reading.form}", "name one that does",
                            "ftp plugins")]
    raise UserError(problems[:1])


# --- the rows ---


def _situation(
    question: Question, plugins: Sequence[str], more: Mapping[str, object], guessed: Mapping[str, str]
) -> Situation:
    """The rows as these plugins read them.

    Args:
        more: options beside those of the question.
        guessed: columns that the user did not name.
    """
    prepared = prepared_run(question, plugins, more)
    log = Log(None, writer=False)
    run = Run(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), log=log)
    data = collect(run)
    prepared = following.follow(prepared, following.training_rows(data, prepared.task))
    return Situation(question, tuple(plugins), prepared, data, log, mapping(prepared.settings.columns), bool(guessed))


def prepared_run(question: Question, plugins: Sequence[str], more: Mapping[str, object]) -> Prepared:
    """A run of these plugins on the rows of a question.

    Args:
        question: gives data, seed and options.
        plugins: those of the run.
        more: options that count more than those of the question, by dotted key.

    Raises:
        UserError: they do not fit together.
    """
    return prepare(plugins, question.plugins_from, [(SOURCE, {**started_options(question), **more})])


def run_of(situation: Situation, entry: Entry) -> Prepared:
    """The run of an entry on the rows of a situation, read in the same way.

    Args:
        situation: the rows.
        entry: what is to be run.

    Raises:
        UserError: its plugins do not fit together.
    """
    options: dict[str, object] = {}
    if situation.columns:
        options["columns"] = [f"{ours}={theirs}" for ours, theirs in situation.columns.items()]
    if situation.prepared.values.get("form") is not None:
        options["form"] = situation.prepared.values["form"]
    if entry.model is not None:
        options["model"] = entry.model
    options.update(entry.options)
    return prepared_run(situation.question, entry.plugins, options)
