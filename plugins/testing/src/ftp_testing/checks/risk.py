"""Checks of risk checks: what they say when there is little to see, or nothing. Heavy: a tiny model is trained on."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Protocol, get_args

import numpy as np

from ftp.folder.writing import plain
from ftp.forms import all_forms, get
from ftp.options import options_of
from ftp.types import Data, Evaluation, Level, Loss, Model, Predictions, Risk, Row, Run
from ftp_testing import domains
from ftp_testing import rows as written
from ftp_testing.outcome import Fault, NotApplicable, check
from ftp_testing.scene import Scene, build
from ftp_testing.subject import Subject

if TYPE_CHECKING:
    from datasets import Dataset

ROWS = {"train": 60, "validation": 40, "test": 24}
"""Rows that a check of the kit's rows is shown."""
STAGES = ("data", "start", "evaluation", "end")


class RiskPlugin(Protocol):
    """A plugin with a check of risks."""

    check_risks: Callable[..., object]


@dataclass(frozen=True)
class Case:
    """What a check is shown. `loss` and `model` are those of a tiny model, None where there are no rows for it."""

    name: str
    data: Data
    model: Model | None = None
    loss: Loss | None = None
    predictions: Mapping[str, Predictions] | None = None
    history: tuple[Evaluation, ...] = ()
    log: tuple[Row, ...] = ()


@check("risk")
def verdicts_are_sound(subject: Subject) -> str:
    """Each verdict has a name, a valid level, a finding, the numbers behind it, and for a warning advice."""
    levels: set[str] = set()
    for case in _cases(subject):
        for stage, risks in _speak(subject, case).items():
            for risk in risks:
                _check_verdict(risk, f"the verdict '{risk.name}' at stage {stage} ({case.name})")
                levels.add(f"{risk.name}: {risk.level}")
    if not levels:
        raise Fault("it says nothing at any stage, whatever it is shown", "give a verdict; not_run with the reason where nothing can be compared")
    return ", ".join(sorted(levels))


def _check_verdict(risk: Risk, where: str) -> None:
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
    for line in risk.advice:
        if not line.startswith(("ftp ", "pip install ")):
            raise Fault(f"{where} advises {line!r:.80}", "advice is commands to copy, such as run.command(\"--max-steps\", 50); "
                        "words belong in the finding")
    try:
        json.dumps(plain(risk.evidence))
    except (TypeError, ValueError) as error:
        raise Fault(f"{where} has evidence that JSON cannot say: {error}", "plain numbers, texts, lists and mappings") from error


@check("risk")
def raises_on_nothing(subject: Subject) -> str:
    """One split alone, three rows, empty texts, one class, a stream, losses that are no numbers, every form: a verdict, never an
    error."""
    cases = _cases(subject)
    for case in cases:
        for stage, risks in _stages(subject, case):
            try:
                risks()
            except Fault:
                raise
            except Exception as error:
                raise Fault(f"shown {case.name}, it raises at stage {stage}: {type(error).__name__}: {error}",
                            "give Risk(name, \"not_run\", reason) where something is missing") from error
    return f"shown {'; '.join(case.name for case in cases)}"


@check("risk")
def nothing_compared_is_not_ok(subject: Subject) -> str:
    """Where there is nothing to compare (no rows, no history, one split of a check that compares two) it says `not_run`, never `ok`."""
    data = _labelled(subject)
    train = data.splits["train"]
    nothing = Case("nothing at all", dataclasses.replace(data, splits={"train": train.select([])}))
    for stage, risks in _speak(subject, nothing).items():
        for risk in risks:
            if risk.level != "not_run":
                raise Fault(f"shown no rows, no predictions and no history, it says '{risk.level}' at stage {stage}: {risk.finding}",
                            "Risk(name, \"not_run\", reason): nothing was compared")
    # a check that warns of two equal splits compares splits, so that one alone leaves it nothing to say
    alone = Case("one split alone", dataclasses.replace(data, splits={"train": train}))
    equal = Case("two splits of the same rows", dataclasses.replace(data, splits={"train": train, "validation": train}))
    comparing = [risk.name for risk in _speak(subject, equal)["data"] if risk.level in ("warn", "stop")]
    for risk in _speak(subject, alone)["data"]:
        if risk.level == "ok" and risk.name in comparing:
            raise Fault(f"'{risk.name}' compares splits, and with one split alone it says ok: {risk.finding}",
                        "Risk(name, \"not_run\", \"there are no two splits to compare\")")
    past = _case_with_history(subject)
    without_past = dataclasses.replace(past, name="no history", history=(), log=(), predictions=None)
    with_history = {risk.name: risk for risk in _speak(subject, past)["end"]}
    for risk in _speak(subject, without_past)["end"]:
        before = with_history.get(risk.name)
        if risk.level != "ok" or before is None:
            continue
        # where it says the same, it looks at the rows or the weights alone, which are there
        if before.finding != risk.finding or before.evidence != risk.evidence:
            raise Fault(f"at the end, without an evaluation and without a log, '{risk.name}' says ok: {risk.finding}",
                        "Risk(name, \"not_run\", \"there was no evaluation\")")
    return "not_run, or silence"


@check("risk")
def verdicts_repeat(subject: Subject) -> str:
    """The same evidence gives the same verdicts."""
    case = _case_with_history(subject)
    verdicts = _speak(subject, case)
    again = _speak(subject, case)
    for stage, risks in verdicts.items():
        if _plain(risks) != _plain(again[stage]):
            raise Fault(f"shown the same a second time it says something else at stage {stage}",
                        "draw samples from random.Random(run.settings.seed), and sort what comes from sets")
    return f"{sum(map(len, verdicts.values()))} verdicts twice"


@check("risk")
def one_name_at_each_stage(subject: Subject) -> str:
    """A verdict keeps its name over the run, as the last one of a name is reported."""
    case = _case_with_history(subject)
    spoken: dict[str, set[str]] = {}
    for stage, risks in _speak(subject, case).items():
        spoken[stage] = {risk.name for risk in risks}
    for length in range(1, len(case.history)):  # at each evaluation of the run
        beginning = dataclasses.replace(case, history=case.history[:length])
        spoken[f"evaluation {length}"] = {risk.name for risk in _speak(subject, beginning)["evaluation"]}
    # a stage at which it says nothing takes no name away
    spoken = {stage: names for stage, names in spoken.items() if names}
    for (stage, names), (other, others) in combinations(spoken.items(), 2):
        if not names & others:
            raise Fault(f"at stage {stage} it speaks of {', '.join(sorted(names))}, at stage {other} of {', '.join(sorted(others))}: old "
                        "verdicts would stay beside new ones", "give the same name at each stage; the stage is noted by core")
    return "; ".join(f"{stage}: {', '.join(sorted(names))}" for stage, names in spoken.items()) or "it does not speak here"


# --- what it is shown ---


def _case_with_history(subject: Subject) -> Case:
    return next(case for case in _cases(subject) if case.history)


def _speak(subject: Subject, case: Case) -> dict[str, list[Risk]]:
    """What the check says at each stage of a run, by one object as in a run."""
    return {stage: risks() for stage, risks in _stages(subject, case)}


def _stages(subject: Subject, case: Case) -> Iterator[tuple[str, Callable[[], list[Risk]]]]:
    """Each stage of a run with what asks the check at it; to be called in this order, as all ask one object."""
    plugin = subject.cls(**{item.name: item.default for item in options_of(subject.cls, subject.name)})
    for stage in STAGES:
        yield stage, partial(_verdicts, plugin, stage, _shown(subject, case, stage))


def _shown(subject: Subject, case: Case, stage: str) -> dict[str, object]:
    """What a run shows a check at a stage: no model before it is built, nothing of training before it begins."""
    has_model = stage != "data"
    has_trained = stage not in ("data", "start")
    return {
        "run": _run(subject), "stage": stage, "data": case.data,
        "model": case.model if has_model else None, "loss": case.loss if has_model else None,
        "predictions": case.predictions if has_trained else None,
        "history": case.history if has_trained else (), "log": case.log if has_trained else (),
        "baselines": {}, "comparisons": (),
    }


def _verdicts(plugin: RiskPlugin, stage: str, shown: Mapping[str, object]) -> list[Risk]:
    """What the check answers to the arguments that it takes."""
    takes = inspect.signature(plugin.check_risks).parameters
    answer = plugin.check_risks(**{name: value for name, value in shown.items() if name in takes})
    if answer is None:
        return []
    if not isinstance(answer, (list, tuple)) or not all(isinstance(risk, Risk) for risk in answer):
        raise Fault(f"at stage {stage} it gives {answer!r:.80}", "a list of ftp.types.Risk, an empty one where it has nothing to say")
    return list(answer)


def _run(subject: Subject) -> Run:
    return _scene(subject).run


def _scene(subject: Subject) -> Scene:
    if subject.memory.risk_scene is None:
        data = None
        if "domain" in subject.parts:
            with_classes = [form for form in domains.given(subject) if get(form).of_kind("class")]
            if not with_classes:
                raise NotApplicable("this domain's checks read rows that the kit does not make")
            data = domains.source(subject, with_classes[0])
        subject.memory.risk_scene = build(subject, "bert", data=data)
    return subject.memory.risk_scene


def _labelled(subject: Subject) -> Data:
    """Labelled rows: the domain's own, or enough of the kit's for statistics."""
    from datasets import Dataset

    from ftp.data.loading import settle

    if "domain" in subject.parts:
        return _scene(subject).data
    if subject.memory.risk_rows is None:
        splits = {split: Dataset.from_list(written.rows("labelled", split, count)) for split, count in ROWS.items()}
        subject.memory.risk_rows = settle(splits, _run(subject))[0]
    return subject.memory.risk_rows


def _cases(subject: Subject) -> list[Case]:
    if subject.memory.risk_cases is None:
        subject.memory.risk_cases = _make_cases(subject)
    return subject.memory.risk_cases


def _make_cases(subject: Subject) -> list[Case]:
    from datasets import Dataset

    scene = _scene(subject)
    data = _labelled(subject)
    splits = data.splits
    usual = Case("rows of three splits and a history", data, scene.model, scene.loss, domains.predictions(data, True),
                 _history(len(splits["validation"])), _log())
    few = _with_splits(data, {split: rows.select(range(min(3, len(rows)))) for split, rows in splits.items()})
    empty = _with_splits(data, {split: _with_column(rows, "text", [""] * len(rows)) for split, rows in splits.items()})
    one_class = _with_splits(data, {split: _with_column(rows, "label", [0] * len(rows)) for split, rows in splits.items()})
    streamed = _with_splits(data, {**splits, "train": splits["train"].to_iterable_dataset()})
    # as after a run that diverged
    no_losses = np.full(len(splits["validation"]), np.nan)
    no_numbers = []
    for evaluation in usual.history:
        no_numbers.append(dataclasses.replace(evaluation, loss=float("nan"), losses=no_losses))
    cases = [
        usual,
        Case("one split alone", _with_splits(data, {"train": splits["train"]})),
        dataclasses.replace(usual, name="three rows of each split", data=few, predictions=domains.predictions(few, True),
                            history=_history(3)),
        dataclasses.replace(usual, name="empty texts", data=empty, predictions=domains.predictions(empty, True)),
        dataclasses.replace(usual, name="one class", data=one_class, predictions=domains.predictions(one_class, True)),
        dataclasses.replace(usual, name="a stream", data=streamed, predictions=None),
        dataclasses.replace(usual, name="losses that are no numbers", predictions=domains.predictions(data, False),
                            history=tuple(no_numbers), log=_log(np.nan)),
        dataclasses.replace(usual, name="a single evaluation", history=usual.history[:1], log=_log()[:3]),
        dataclasses.replace(usual, name="no history", history=(), log=()),
    ]
    if "domain" in subject.parts:
        return cases
    for form in all_forms():
        if get(form).of_kind("class"):
            continue  # rows with a class are those above
        splits = {split: Dataset.from_list(rows) for split, rows in written.splits(form).items()}
        rows_of_form = Data(splits, form, written.labels_of(form))
        cases.append(Case(f"rows of the form {form}", rows_of_form, history=usual.history, log=_log()))
    return cases


def _with_splits(data: Data, splits: Mapping[str, Dataset]) -> Data:
    return dataclasses.replace(data, splits=splits)


def _with_column(rows: Dataset, column: str, values: Sequence[object]) -> Dataset:
    """Rows whose column holds other values of the same type."""
    features = rows.features
    return rows.remove_columns(column).add_column(column, list(values)).cast(features)


def _history(rows: int) -> tuple[Evaluation, ...]:
    """Four evaluations of a quiet run: both losses fall, the held-out one less."""
    start = np.random.default_rng(3).uniform(0.6, 0.8, rows)  # nats
    history = []
    for number in range(4):
        held_out = start * 0.9**number
        train = start * 0.85**number
        history.append(Evaluation(5 * (number + 1), float(held_out.mean()), (), float(train.mean()), held_out, train))
    return tuple(history)


def _log(loss: float = 1.0) -> tuple[Row, ...]:
    """The lines of twenty updates."""
    lines = []
    for step in range(1, 21):
        lines.append({"event": "step", "step": step, "loss": loss * 0.7 * 0.98**step, "grad_norm": 1.0, "learning_rate": 1e-4,
                      "epoch": step / 6})
    return tuple(lines)


def _plain(risks: Sequence[Risk]) -> str:
    return json.dumps([plain(vars(risk)) for risk in risks], sort_keys=True)
