"""Checks of risk checks: what they say when there is little to see, or nothing. Heavy: a tiny model is trained on."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from ftp.folder.writing import plain
from ftp.forms import all_forms, get
from ftp.options import options_of
from ftp.types import Data, Evaluation, Level, Loss, Model, Predictions, Risk, Run
from ftp_testing import domains
from ftp_testing import rows as written
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.scene import build
from ftp_testing.subject import Subject

ROWS = {"train": 60, "validation": 40, "test": 24}
"""Rows that a check of the kit's rows is shown."""
STAGES = ("data", "start", "evaluation", "end")


@dataclass(frozen=True)
class Case:
    """What a check is shown. `loss` and `model` are those of a tiny model, None where there are no rows for it."""

    name: str
    data: Data
    model: Model | None = None
    loss: Loss | None = None
    predictions: Mapping[str, Predictions] | None = None
    history: tuple[Evaluation, ...] = ()
    log: tuple[Mapping[str, Any], ...] = field(default=())


@check("risk")
def verdicts_are_sound(subject: Subject) -> str:
    """Each verdict has a name, a level that there is, words, numbers behind them, and for a warning what to do."""
    told = set()
    for case in _cases(subject):
        for stage, risks in _speak(subject, case).items():
            for risk in risks:
                where = f"the verdict '{risk.name}' at stage {stage} ({case.name})"
                if risk.level not in get_args(Level):
                    raise Fault(f"{where} has the level {risk.level!r}", f"one of: {', '.join(get_args(Level))}")
                if not risk.name or not risk.finding.strip():
                    raise Fault(f"{where} says nothing", "name and finding are words for the user")
                if risk.level in ("ok", "warn", "stop") and not risk.evidence:
                    raise Fault(f"{where} is '{risk.level}' without evidence", "give the numbers that it was read from; where there are none: not_run")
                if risk.level in ("warn", "stop") and not risk.advice:
                    raise Fault(f"{where} is '{risk.level}' without advice", "say which command or change would help")
                if isinstance(risk.advice, str):
                    raise Fault(f"{where} has a text as advice", "advice is a tuple of texts: (\"...\",)")
                if words := next((line for line in risk.advice if not line.startswith(("ftp ", "pip install "))), None):
                    raise Fault(f"{where} advises {words!r:.80}", "advice is commands to copy, such as run.command(\"--max-steps\", 50); "
                                "words belong in the finding")
                try:
                    json.dumps(plain(risk.evidence))
                except (TypeError, ValueError) as error:
                    raise Fault(f"{where} has evidence that JSON cannot say: {error}", "plain numbers, texts, lists and mappings") from error
                told.add(f"{risk.name}: {risk.level}")
    if not told:
        raise Fault("it says nothing at any stage, whatever it is shown", "give a verdict; not_run with the reason where nothing can be compared")
    return ", ".join(sorted(told))


@check("risk")
def raises_on_nothing(subject: Subject) -> str:
    """One split alone, three rows, empty texts, one class, a stream, losses that are no numbers, every form: a verdict, never an
    error."""
    cases = _cases(subject)
    for case in cases:
        try:
            _speak(subject, case)
        except Fault:
            raise
        except Exception as error:
            stage = getattr(error, "stage", "?")
            raise Fault(f"shown {case.name}, it raises at stage {stage}: {type(error).__name__}: {error}",
                        "give Risk(name, \"not_run\", reason) where something is missing") from error
    return f"shown {'; '.join(case.name for case in cases)}"


@check("risk")
def nothing_compared_is_not_ok(subject: Subject) -> str:
    """Where there is nothing to compare (no rows, no history, one split of a check that compares two) it says `not_run`, never `ok`."""
    data = _labelled(subject)
    nothing = Case("nothing at all", dataclasses.replace(data, splits={"train": data.splits["train"].select([])}))
    for stage, risks in _speak(subject, nothing).items():
        if wrong := [risk for risk in risks if risk.level in ("ok", "note", "warn", "stop")]:
            raise Fault(f"shown no rows, no predictions and no history, it says '{wrong[0].level}' at stage {stage}: {wrong[0].finding}",
                        "Risk(name, \"not_run\", reason): nothing was compared")
    alone = Case("one split alone", dataclasses.replace(data, splits={"train": data.splits["train"]}))
    doubled = Case("two splits of the same rows", dataclasses.replace(data, splits={"train": data.splits["train"],
                                                                                    "validation": data.splits["train"]}))
    compares = [risk.name for risk in _speak(subject, doubled)["data"] if risk.level in ("warn", "stop")]
    for risk in _speak(subject, alone)["data"]:
        if risk.level == "ok" and risk.name in compares:
            raise Fault(f"'{risk.name}' compares splits, and with one split alone it says ok: {risk.finding}",
                        "Risk(name, \"not_run\", \"there are no two splits to compare\")")
    past = next(case for case in _cases(subject) if case.history)
    for risk in _speak(subject, dataclasses.replace(past, name="no history", history=(), log=(), predictions=None)).get("end", []):
        if risk.level == "ok" and risk.name in {one.name for one in _speak(subject, past)["end"]}:
            before = next(one for one in _speak(subject, past)["end"] if one.name == risk.name)
            if before.finding == risk.finding and before.evidence == risk.evidence:
                continue  # it looks at the rows or the weights alone, which are there
            raise Fault(f"at the end, without an evaluation and without a log, '{risk.name}' says ok: {risk.finding}",
                        "Risk(name, \"not_run\", \"there was no evaluation\")")
    return "not_run, or silence"


@check("risk")
def verdicts_repeat(subject: Subject) -> str:
    """The same evidence gives the same verdicts."""
    case = next(case for case in _cases(subject) if case.history)
    first, again = _speak(subject, case), _speak(subject, case)
    if _plain(first) != _plain(again):
        stage = next(stage for stage in first if _plain({stage: first[stage]}) != _plain({stage: again[stage]}))
        raise Fault(f"shown the same a second time it says something else at stage {stage}",
                    "draw samples from random.Random(run.settings.seed), and sort what comes from sets")
    return f"{sum(map(len, first.values()))} verdicts twice"


@check("risk")
def one_name_at_each_stage(subject: Subject) -> str:
    """A verdict keeps its name over the run, as the last one of a name is reported."""
    case = next(case for case in _cases(subject) if case.history)
    spoken: dict[str, set[str]] = {}
    for stage, risks in _speak(subject, case).items():
        if risks:
            spoken[stage] = {risk.name for risk in risks}
    for shorter in range(1, len(case.history)):  # at each evaluation of the run
        part = dataclasses.replace(case, history=case.history[:shorter])
        if names := {risk.name for risk in _speak(subject, part).get("evaluation", [])}:
            spoken[f"evaluation {shorter}"] = names
    for stage, names in spoken.items():
        for other, others in spoken.items():
            if not names & others:
                raise Fault(f"at stage {stage} it speaks of {', '.join(sorted(names))}, at stage {other} of {', '.join(sorted(others))}: old "
                            "verdicts would stay beside new ones", "give the same name at each stage; the stage is noted by core")
    return "; ".join(f"{stage}: {', '.join(sorted(names))}" for stage, names in spoken.items()) or "it does not speak here"


# --- what it is shown ---


def _speak(subject: Subject, case: Case) -> dict[str, list[Risk]]:
    """What the check says at each stage of a run, by one object as in a run."""
    one = subject.cls(**{item.name: item.default for item in options_of(subject.cls, subject.name)})
    run = _run(subject)
    wanted = inspect.signature(one.check_risks).parameters
    said = {}
    for stage in STAGES:
        early = stage in ("data", "start")
        shown: dict[str, Any] = {
            "run": run, "stage": stage, "data": case.data, "model": None if stage == "data" else case.model,
            "loss": None if stage == "data" else case.loss, "predictions": None if early else case.predictions,
            "history": () if early else case.history, "log": () if early else case.log}
        try:
            answer = one.check_risks(**{name: value for name, value in shown.items() if name in wanted})
        except Exception as error:
            error.stage = stage  # type: ignore[attr-defined]
            raise
        if answer is None:
            answer = []
        if not isinstance(answer, (list, tuple)) or not all(isinstance(risk, Risk) for risk in answer):
            raise Fault(f"at stage {stage} it gives {answer!r:.80}", "a list of ftp.types.Risk, an empty one where it has nothing to say")
        said[stage] = list(answer)
    return said


def _run(subject: Subject) -> Run:
    return _scene(subject).run  # type: ignore[no-any-return]


def _scene(subject: Subject) -> Any:
    if "risk scene" not in subject.kept:
        options: dict[str, Any] = {}
        if "domain" in subject.parts:
            with_classes = [form for form in domains.given(subject) if get(form).of_kind("class")]
            if not with_classes:
                raise NotApplicable("this domain's checks read rows that the kit does not make")
            options["data"] = domains.source(subject, with_classes[0])
        subject.kept["risk scene"] = build(subject, "bert", **options)
    return subject.kept["risk scene"]


def _labelled(subject: Subject) -> Data:
    """Labelled rows: the domain's own, or enough of the kit's for statistics."""
    from datasets import Dataset

    from ftp.data.load import settle

    if "domain" in subject.parts:
        return _scene(subject).data  # type: ignore[no-any-return]
    if "risk rows" not in subject.kept:
        splits = {split: Dataset.from_list(written.rows("labelled", split, count)) for split, count in ROWS.items()}
        subject.kept["risk rows"] = settle(splits, _run(subject))[0]
    return subject.kept["risk rows"]  # type: ignore[no-any-return]


def _cases(subject: Subject) -> list[Case]:
    if "cases" not in subject.kept:
        subject.kept["cases"] = _made(subject)
    return subject.kept["cases"]  # type: ignore[no-any-return]


def _made(subject: Subject) -> list[Case]:
    from datasets import Dataset

    scene, data = _scene(subject), _labelled(subject)
    parts = {"model": scene.model, "loss": scene.loss}
    few = dataclasses.replace(data, splits={split: rows.select(range(min(3, len(rows)))) for split, rows in data.splits.items()})
    empty = dataclasses.replace(data, splits={split: _with(rows, "text", [""] * len(rows)) for split, rows in data.splits.items()})
    single = dataclasses.replace(data, splits={split: _with(rows, "label", [0] * len(rows)) for split, rows in data.splits.items()})
    alone = dataclasses.replace(data, splits={"train": data.splits["train"]})
    streamed = dataclasses.replace(data, splits={**data.splits, "train": data.splits["train"].to_iterable_dataset()})
    past = _history(len(data.splits["validation"]))
    no_losses = np.full(len(data.splits["validation"]), np.nan)
    broken = tuple(dataclasses.replace(evaluation, loss=float("nan"), losses=no_losses) for evaluation in past)
    cases = [
        Case("rows of three splits and a history", data, **parts, predictions=domains.predictions(data, True), history=past, log=_log()),
        Case("one split alone", alone),
        Case("three rows of each split", few, **parts, predictions=domains.predictions(few, True), history=_history(3), log=_log()),
        Case("empty texts", empty, **parts, predictions=domains.predictions(empty, True), history=past, log=_log()),
        Case("one class", single, **parts, predictions=domains.predictions(single, True), history=past, log=_log()),
        Case("a stream", streamed, **parts, history=past, log=_log()),
        Case("losses that are no numbers", data, **parts, predictions=domains.predictions(data, False), history=broken, log=_log(np.nan)),
        Case("a single evaluation", data, **parts, predictions=domains.predictions(data, True), history=past[:1], log=_log()[:3]),
        Case("no history", data, **parts, predictions=domains.predictions(data, True)),
    ]
    if "domain" in subject.parts:
        return cases
    for form in all_forms():
        if get(form).of_kind("class"):
            continue  # rows with a class are those above
        splits = {split: Dataset.from_list(rows) for split, rows in written.splits(form).items()}
        cases.append(Case(f"rows of the form {form}", Data(splits, form, written.labels_of(form)), history=past, log=_log()))
    return cases


def _with(rows: Any, column: str, values: Sequence[Any]) -> Any:
    features = rows.features
    return rows.remove_columns(column).add_column(column, list(values)).cast(features)


def _history(rows: int) -> tuple[Evaluation, ...]:
    """Four evaluations of a quiet run: both losses fall, the held-out one less."""
    dice = np.random.default_rng(3)
    start = dice.uniform(0.6, 0.8, rows)
    made = []
    for number in range(4):
        held, train = start * 0.9**number, start * 0.85**number
        made.append(Evaluation(5 * (number + 1), float(held.mean()), (), float(train.mean()), held, train))
    return tuple(made)


def _log(loss: float = 1.0) -> tuple[Mapping[str, Any], ...]:
    return tuple({"event": "step", "step": step, "loss": loss * 0.7 * 0.98**step, "grad_norm": 1.0, "learning_rate": 1e-4, "epoch": step / 6}
                 for step in range(1, 21))


def _plain(said: Mapping[str, Sequence[Risk]]) -> str:
    return json.dumps({stage: [plain(vars(risk)) for risk in risks] for stage, risks in said.items()}, sort_keys=True)
