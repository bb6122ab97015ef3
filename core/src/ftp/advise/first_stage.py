"""A first stage on plain text of the domain (`--unlabelled`), trained once for all methods that are raced after it.

Which plugins can be one is what they declare: an objective that reads plain text. Whether it suits a model shows when the network
is laid out, as a head that the model cannot have is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftp.advise.kept import WIDTH
from ftp.advise.question import Question
from ftp.advise.situation import objectives_of, readable_forms, run_of
from ftp.advise.stage_run import train
from ftp.advise.types import Entry, FirstStage, Situation
from ftp.contract import VERSION
from ftp.data.collect import collect
from ftp.data.fingerprint import fingerprint
from ftp.errors import PluginError, Problem, UserError
from ftp.folder.log import Log
from ftp.plugins.call import Hooks
from ftp.plugins.fit import core_options
from ftp.plugins.offers import offer_meant
from ftp.plugins.plan import Prepared, prepare
from ftp.types import Run

Tell = Callable[[str], None]

PLAIN_TEXT = "text"
"""The form of rows that are a text and nothing else."""
STAGES = "stages"
"""The folder of first stages in that of an advice."""
SECOND = "tuned"
"""What the stage after it is called in a recipe."""
SHARE = 0.5
"""Of the budget, that first stages may take at most: the pilots need the rest."""
SHARED_GROUPS = ("run", "model")
"""Groups of options that hold for a first stage as well; all others are about the rows that have answers, or about training."""
OF_THE_RACE = ("model", "out", "plugins_from")
"""Options of these groups that it has its own of."""


@dataclass(frozen=True)
class Staged:
    """What first stages came to.

    Attributes:
        entries: what can be raced after them, with a name and a model of its own.
        seconds: that they took, of which no more than their share of the budget is counted.
        notes: what would change it.
    """

    entries: tuple[Entry, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


def check(situation: Situation) -> None:
    """Refuse texts that cannot be a first stage before anything is measured.

    Raises:
        UserError: the file cannot be read, no installed objective reads plain text, or the rows are plain text themselves.
    """
    if situation.data.form == PLAIN_TEXT:
        raise UserError("--unlabelled: a first stage goes before rows that have answers, and these are plain text themselves",
                        "leave it out, or add its texts to those of --data")
    # what cannot be prepared, or read, is told now and not after minutes of looks
    prepared = [_prepared(situation.question, objective, None) for objective in _objectives()]
    if not prepared:
        raise UserError("--unlabelled: no installed objective and domain read plain text", "install one that does",
                        "ftp install ./plugins/mlm")
    _texts_key(prepared[0])


def train_and_stage(situation: Situation, entries: Sequence[Entry], tell: Tell) -> Staged:
    """Train the first stage of each model, and give each entry once more as what comes after it.

    Args:
        situation: the rows that have answers.
        entries: what is raced without a first stage.
        tell: is given a line on what is being done.

    Raises:
        UserError: no installed objective trains one of the models on plain text.
    """
    # one stage a model, and the methods raced on that model share it
    models = list(dict.fromkeys(entry.model for entry in entries))
    limit = SHARE * situation.question.budget_seconds / max(1, len(models))
    staged: list[Entry] = []
    notes = []
    total = 0.0
    for model in models:
        prepared = _fitting(situation, model)
        stage = _stage_of(prepared, situation.question.out)
        tell(f"first stage: {stage.name} on {situation.question.unlabelled}")
        problem, seconds = train(stage, situation.question, limit)
        total += min(seconds, limit)
        if problem:
            notes.append(problem)
            tell(problem)
            continue
        stage = dataclasses.replace(stage, seconds=seconds)
        staged += [_after(situation, stage, entry) for entry in entries if entry.model == model]
    return Staged(tuple(staged), total, tuple(notes))


def recipe_of_stages(first: FirstStage, second: Prepared, out: Path) -> str:
    """Both stages as one recipe that `ftp run` takes.

    Args:
        first: the stage on plain text.
        second: the run that begins from its model.
        out: the folder of both runs.
    """
    import tomlkit

    tables: list[dict[str, Any]] = [{"name": first.name, **tomllib.loads(first.recipe)}]
    tables.append({"name": SECOND, **tomllib.loads(second.recipe()), "model": f"{{{first.name}}}"})
    return tomlkit.dumps({"out": str(out), "stages": tables})


# --- which ---


def _objectives() -> list[str]:
    """Installed objectives that read plain text, where a domain gives it."""
    return objectives_of(PLAIN_TEXT) if PLAIN_TEXT in readable_forms() else []


def _prepared(question: Question, objective: str, model: str | None) -> Prepared:
    """A run of an objective on the texts."""
    group_of = {item.name: item.group for item in core_options()}
    options: dict[str, object] = {"seed": question.seed, "data": question.unlabelled}
    for name, value in question.options.items():
        if group_of.get(name) in SHARED_GROUPS and name not in OF_THE_RACE:
            options[name] = value
    if model is not None:
        options["model"] = model
    domain = readable_forms()[PLAIN_TEXT]
    return prepare((objective, domain), question.plugins_from, [("the first stage", options)])


def _fitting(situation: Situation, model: str | None) -> Prepared:
    """The first stage that suits a model: of the first objective for which its network can be laid out.

    Args:
        model: as an entry has it; None: the one of the question, else the offer for the task.
    """
    from ftp.runs import dry_run

    named = model or situation.prepared.settings.model
    if named is None:
        offered = offer_meant(None, situation.prepared.task.head)
        named = offered[0] if offered is not None else None
    # a masked language model is refused a head that predicts the next token, and the other way round
    problems = []
    for objective in _objectives():
        prepared = _prepared(situation.question, objective, named)
        try:
            dry_run.forecast(prepared)
        except (UserError, PluginError) as error:
            problems.append(Problem(f"{objective}: {str(error).splitlines()[0]}"))
            continue
        return prepared
    refusal = Problem(f"--unlabelled: no installed objective trains {named or 'this model'} on plain text", "leave it out",
                      "ftp plugins")
    raise UserError([refusal, *problems])


def _stage_of(prepared: Prepared, out: Path) -> FirstStage:
    """A first stage, its folder named by all that decides its model."""
    versions = sorted(f"{plugin.name} {plugin.found.package}" for plugin in prepared.picked)
    whole = prepared.anywhere()
    said = {"core": VERSION, "versions": versions, "recipe": whole.recipe(), "texts": _texts_key(prepared)}
    key = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:WIDTH]
    name = prepared.plugins[0]
    return FirstStage(name, whole.recipe(), str((out / STAGES / f"{name}-{key}").absolute()))


def _texts_key(prepared: Prepared) -> Mapping[str, str]:
    """A hash of the texts by split.

    Raises:
        UserError: they cannot be read.
    """
    run = Run(prepared.settings, prepared.task, Hooks(prepared.picked, prepared.values), log=Log(None, writer=False))
    return {split: fingerprint(rows) for split, rows in collect(run).splits.items()}


def _after(situation: Situation, stage: FirstStage, entry: Entry) -> Entry:
    """An entry that begins from the model of a first stage, and is trained as it is without one."""
    staged = dataclasses.replace(entry, name=f"{stage.name} > {entry.name}", model=stage.folder, first=stage)
    alone = run_of(situation, entry)
    after = run_of(situation, staged)
    options = dict(entry.options)
    # what a package suggests for a model that it offers is not known of that model's new weights
    for key, value in alone.values.items():
        if key != "model" and value is not None and value != after.values.get(key):
            options[key] = value
    return dataclasses.replace(staged, options=options)
