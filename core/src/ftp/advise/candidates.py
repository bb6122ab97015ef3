"""What may be raced: from what installed plugins declare alone (`@plugin(candidates=...)`). Imports nothing heavy.

Every parameterisation that declares candidates is tried by itself, with each objective that reads the same rows for the same head
and each model at hand. Extras are tried beside what leads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ftp import heads
from ftp.advise.situation import run_of
from ftp.advise.types import Entry, Situation
from ftp.errors import UserError
from ftp.model import source
from ftp.plugin_info import NEEDS, Candidate, declaration_of
from ftp.plugins import offers
from ftp.plugins.declare import kind_of
from ftp.plugins.find import installed
from ftp.plugins.plan import Prepared
from ftp.runs import following

Variant = tuple[str, Candidate]
"""A plugin with one of its candidates."""


@dataclass(frozen=True)
class Field:
    """Who may take part.

    Attributes:
        parameterisations: name -> its candidates, those that fit the rows.
        objectives: likewise; the one of the situation is not among them.
        extras: likewise.
        options: name -> the options of this plugin by their own names.
        notes: who was left out, and why.
    """

    parameterisations: Mapping[str, Sequence[Candidate]]
    objectives: Mapping[str, Sequence[Candidate]]
    extras: Mapping[str, Sequence[Candidate]]
    options: Mapping[str, frozenset[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def field_of(situation: Situation) -> Field:
    """The candidates of all installed plugins that fit the rows of a situation."""
    by_kind: dict[str, dict[str, Sequence[Candidate]]] = {"parameterisation": {}, "objective": {}, "extra": {}}
    rows = following.training_rows(situation.data, situation.prepared.task)
    facts = _Facts(situation)
    notes = []
    options = {}
    for name, cls in installed():
        declaration = declaration_of(cls)
        kind = kind_of(cls)
        # what every run has is no question
        if not declaration.candidates or kind not in by_kind or name in situation.plugins:
            continue
        options[name] = frozenset(item.name for item in dataclasses.fields(cls))
        fitting = []
        for candidate in declaration.candidates:
            reason = _unfit(candidate, rows.count, facts)
            if reason:
                notes.append(f"{named(name, candidate.settings)}: {reason}")
            else:
                fitting.append(candidate)
        if fitting:
            by_kind[kind][name] = fitting
    own_kinds = {kind_of(plugin.cls) for plugin in situation.prepared.picked if not plugin.found.default}
    # what the user named is not up for a race
    is_objective_named = any(name in situation.question.plugins for name in _objectives_of(situation.prepared))
    objectives = {} if is_objective_named else _of_same_head(situation, by_kind["objective"])
    parameterisations = {} if "parameterisation" in own_kinds else by_kind["parameterisation"]
    return Field(parameterisations, objectives, by_kind["extra"], options, tuple(notes))


def entries_of(situation: Situation, field: Field) -> list[Entry]:
    """What the race begins with, the cheapest first: what does not fit together is left out."""
    entries: list[Entry] = []
    objective = next(iter(_objectives_of(situation.prepared)), "")
    variants: list[Variant] = [(objective, Candidate())]
    for name, candidates in field.objectives.items():
        variants += [(name, candidate) for candidate in candidates]
    methods: list[Variant] = []
    for name, candidates in field.parameterisations.items():
        methods += [(name, candidate) for candidate in candidates]
    if not field.parameterisations:  # the user's own, or none is installed
        methods = [("", Candidate())]
    for model in _models(situation):
        for variant in variants:
            for method in methods:
                entry = _entry(situation, field, variant, method, model, objective, shows_objective=len(variants) > 1)
                entries += _if_sound(situation, entry)
    return _distinct(entries)


def beside(situation: Situation, field: Field, leader: Entry) -> list[Entry]:
    """The leader with each extra that goes with it, the cheapest first."""
    entries: list[Entry] = []
    for name, candidates in field.extras.items():
        for candidate in candidates:
            options = {**leader.options, **_options(field, name, candidate)}
            entry = dataclasses.replace(
                leader, name=f"{leader.name}, {named(name, candidate.settings)}", plugins=(name, *leader.plugins),
                options=options, cost=leader.cost * candidate.cost, why=candidate.why)
            entries += _if_sound(situation, entry)
    return _distinct(entries)


def _distinct(entries: Sequence[Entry]) -> list[Entry]:
    """The cheapest first, one of each name: a race and its table know entries by their names."""
    by_name: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.cost):
        by_name.setdefault(entry.name, entry)
    return list(by_name.values())


def named(plugin: str, settings: Mapping[str, object]) -> str:
    """A plugin with its settings, as in `lora (r 64)`."""
    if not settings:
        return plugin
    words = ", ".join(f"{name} {value}" for name, value in settings.items())
    return f"{plugin} ({words})"


# --- what fits ---


class _Facts:
    """The needs that hold here."""

    def __init__(self, situation: Situation) -> None:
        task = situation.prepared.task
        self.has_classes = heads.get(task.head).has_classes
        self.is_uneven = following.training_rows(situation.data, task).are_uneven
        self.device = situation.prepared.settings.device

    def hold(self, need: str) -> bool:
        """Whether what a candidate needs is so."""
        if need == "classes":
            return self.has_classes
        if need == "uneven":
            return self.is_uneven
        return need == "gpu" and self._has_gpu()

    def _has_gpu(self) -> bool:
        import torch

        return self.device in ("auto", "cuda") and torch.cuda.is_available()


def _unfit(candidate: Candidate, num_rows: int | None, facts: _Facts) -> str:
    """Why a candidate does not fit; empty where it does."""
    for need in candidate.all_needs:
        if not facts.hold(need):
            return f"it needs {NEEDS[need]}" if need in NEEDS else f"nothing is known of its need '{need}'"
    if num_rows is not None and num_rows < candidate.fewest_rows:
        return f"it is for {candidate.fewest_rows:,} training rows or more"
    if num_rows is not None and candidate.most_rows is not None and num_rows > candidate.most_rows:
        return f"it is for {candidate.most_rows:,} training rows at most"
    return ""


def _objectives_of(prepared: Prepared) -> list[str]:
    """The objective of a run, where it is no domain as well."""
    names = []
    for plugin in prepared.picked:
        declaration = plugin.declaration
        if kind_of(plugin.cls) == "objective" and declaration.wants and not declaration.gives:
            names.append(plugin.name)
    return names


def _of_same_head(situation: Situation, objectives: Mapping[str, Sequence[Candidate]]) -> dict[str, Sequence[Candidate]]:
    """Objectives that could take the place of the situation's: they read the same rows for the same head, so that their answers
    have the same scores."""
    if not _objectives_of(situation.prepared):
        return {}
    task = situation.prepared.task
    classes = dict(installed())
    fitting = {}
    for name, candidates in objectives.items():
        declaration = declaration_of(classes[name])
        if task.form in declaration.wants and declaration.head in ("", task.head):
            fitting[name] = candidates
    return fitting


@dataclass(frozen=True)
class _ModelAtHand:
    """A model that may be trained.

    Attributes:
        name: as `--model` takes it; None: the offer for the task.
        label: what tells it from the others in the name of an entry; empty where there are no others.
        size: of its weights, in units of the smallest.
    """

    name: str | None
    label: str
    size: float


def _models(situation: Situation) -> list[_ModelAtHand]:
    """The models at hand: those of the question, else the offers for the head."""
    names = list(dict.fromkeys(situation.question.models))
    head = situation.prepared.task.head
    if not names:
        names = [name for name, _, _ in offers.defaults(offers.offers(), head)]
        if len(names) < 2:
            return [_ModelAtHand(None, "", 1.0)]
    sizes = [_bytes_of(name, head) for name in names]
    smallest = min(filter(None, sizes), default=1)
    # a model of unknown size counts as the smallest: it is not set behind the others for that
    models = []
    for name, label, size in zip(names, _labels(names), sizes, strict=True):
        models.append(_ModelAtHand(name, label, size / smallest if size else 1.0))
    return models


def _labels(names: Sequence[str]) -> list[str]:
    """The last parts of paths or hub ids, as many as tell each of them from the others; empty where there are no others."""
    if len(names) < 2:
        return [""]
    # checkpoints of one run differ in their last parts, models of one name in the parts before
    parts_of_names = [Path(name).parts for name in names]
    for count in range(1, max(map(len, parts_of_names)) + 1):
        labels = ["/".join(parts[-count:]) for parts in parts_of_names]
        if len(set(labels)) == len(labels):
            return labels
    return list(names)


def _bytes_of(name: str | None, head: str) -> int:
    """Bytes of a model's weights; 0 where they are not on this machine, or there is no such model."""
    try:
        folder = source.find(name, head).folder
    except UserError:
        return 0
    if folder is None:
        return 0
    files: list[Path] = list(folder.glob("*.safetensors"))
    return sum(file.stat().st_size for file in files)


# --- entries ---


def _entry(
    situation: Situation, field: Field, objective: Variant, method: Variant, model: _ModelAtHand, replaced: str, *,
    shows_objective: bool,
) -> Entry:
    """A method with an objective and a model.

    Args:
        replaced: the objective of the situation, whose place another one takes.
    """
    objective_name, of_objective = objective
    method_name, of_method = method
    options: dict[str, object] = {}
    names = []
    if shows_objective:
        names.append(named(objective_name, of_objective.settings))
    if method_name:
        names.append(named(method_name, of_method.settings))
        options |= _options(field, method_name, of_method)
    if objective_name != replaced:
        options |= _options(field, objective_name, of_objective)
    if model.label:
        names.append(model.label)
    # the domain stays where it is, and another objective takes the place of the situation's
    others = [objective_name if plugin == replaced else plugin for plugin in situation.plugins]
    plugins = (method_name, *others) if method_name else tuple(others)
    cost = model.size * of_method.cost * of_objective.cost
    return Entry(", ".join(names) or ", ".join(plugins), plugins, options, model.name, cost, of_method.trains_network,
                 of_method.why or of_objective.why)


def _options(field: Field, plugin: str, candidate: Candidate) -> dict[str, object]:
    """The settings of a candidate by dotted key: the plugin's own before core's of the same name."""
    own = field.options[plugin]
    options = {}
    for name, value in candidate.settings.items():
        options[f"{plugin}.{name}" if name in own else name] = value
    return options


def _if_sound(situation: Situation, entry: Entry) -> Iterator[Entry]:
    """The entry, where its plugins make a run: one that requires what the others lack does not."""
    try:
        prepared = run_of(situation, entry)
    except UserError:
        return
    # answers of another head have other scores
    if prepared.task.head == situation.prepared.task.head:
        yield entry
