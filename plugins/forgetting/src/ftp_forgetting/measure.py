"""What is measured before the first update and kept for the end: numbers only, no second copy of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftp import heads
from ftp.errors import UserError
from ftp.types import Data, Model, StartedRun
from ftp_forgetting import harness, sets

if TYPE_CHECKING:
    from ftp_forgetting import Forgetting


@dataclass(frozen=True)
class Start:
    """Notes of the untouched model. `why`: why nothing could be noted. `ids`: the documents as tokens, and what was `said` of
    them, by models that write or fill text; else `features` of all texts of the `tasks` and what probes get `right`.
    `tests`: rows of lm-eval tasks that were right."""

    why: str = ""
    source: str = ""
    of: int = 0
    ids: Any = None
    said: Any = None
    tasks: tuple[sets.Task, ...] = ()
    features: Any = None
    unknown: float = 0.0
    right: dict[str, Any] = field(default_factory=dict)
    tests: dict[str, Any] = field(default_factory=dict)


def writes(model: Model) -> bool:
    """Whether the model gives probabilities of tokens in plain text."""
    return heads.get(model.head).is_over_vocabulary and not getattr(model.net.config, "is_encoder_decoder", False)


def check(options: Forgetting, run: StartedRun) -> None:
    """`UserError` for files that cannot be used, and for lm-eval where it is not installed, before anything is loaded."""
    if options.text is not None:
        sets.texts(options.text)
    if options.tasks:
        sets.tasks(options.tasks)
    limits = [("note_nats", options.note_nats, "warn_nats", options.warn_nats), ("warn_nats", options.warn_nats, "stop_nats",
              options.stop_nats), ("note_drop", options.note_drop, "warn_drop", options.warn_drop)]
    for name, low, other, high in limits:
        if low > high:
            raise UserError(f"--forgetting.{name} {low:g} is above --forgetting.{other} {high:g}",
                            "a note comes before a warning, and a warning before a stop")
    if options.lm_eval:
        harness.check(options.lm_eval, run.task.head)


def before(options: Forgetting, run: StartedRun, data: Data, model: Model | None) -> Start:
    """Measure the untouched model on as much of the general set as is cheap."""
    if model is None:
        return Start("there was no model before training")
    if getattr(model.net, "_ftp_origin", None) is None and model.reference is None:
        return Start("the network is new: it has no ability of before that it could lose")
    _unused(options, model)
    try:
        tests = harness.ask(options.lm_eval, model, options.lm_eval_rows) if options.lm_eval else {}
        return _words(options, run, data, model, tests) if writes(model) else _representations(options, run, model, tests)
    except ValueError as error:  # a network with a learnt prompt has no hidden states of its own
        return Start(f"this network's states cannot be read: {error}")


def _unused(options: Forgetting, model: Model) -> None:
    """`UserError` for a file that this model is not asked about."""
    if options.text is not None and not writes(model):
        raise UserError(f"--forgetting.text {options.text}: this model is not one that text is surprising to (its head: "
                        f"{model.head}); what its encoder can do is compared on tasks",
                        "name files with the columns text and label", "ftp run ... --forgetting.tasks FILE")
    if options.tasks and writes(model):
        raise UserError(f"--forgetting.tasks {','.join(options.tasks)}: this model writes or fills in text, and is compared on "
                        "that", "name a file of general text", "ftp run ... --forgetting.text FILE")


def _words(options: Forgetting, run: StartedRun, data: Data, model: Model, tests: dict[str, Any]) -> Start:
    import numpy as np

    from ftp_forgetting import words

    found = sets.texts(options.text, data.splits.get("general"))
    ids = words.encode(run, model, found.documents)
    count = min(len(ids), options.rows or words.affordable(run, model, [len(one) for one in ids]))
    chosen = np.sort(np.random.default_rng(0).permutation(len(ids))[:count])  # the same documents in every run
    some = [ids[number] for number in chosen]
    if sum(len(one) > 2 for one in some) < sets.LEAST_DOCUMENTS:
        return Start("the tokenizer makes nothing of the general text", found.source, len(ids))
    return Start("", found.source, len(ids), some, words.say(run, model, some), tests=tests)


def _representations(options: Forgetting, run: StartedRun, model: Model, tests: dict[str, Any]) -> Start:
    from ftp_forgetting import representations

    tasks = tuple(sets.tasks(options.tasks))
    found, unknown = representations.features(run, model, [text for task in tasks for text in task.texts])
    right, start = {}, 0
    for task in tasks:
        right[task.name] = representations.probe(found[start : start + len(task.texts)], task.labels)
        start += len(task.texts)
    source = ", ".join(options.tasks) or "ours (English)"
    return Start("", source, len(found), tasks=tasks, features=found, unknown=unknown, right=right, tests=tests)
