"""What is measured before the first update and kept for the end: numbers, no copy of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftp import UserError, heads
from ftp.types import Data, Model, StartedRun
from ftp_forgetting import harness, sets

if TYPE_CHECKING:
    from ftp_forgetting import Forgetting
    from ftp_forgetting.intervals import Numbers
    from ftp_forgetting.representations import Flags, Vectors
    from ftp_forgetting.words import Reading


@dataclass(frozen=True)
class Start:
    """The untouched model.

    Args:
        not_run: why nothing could be measured.
        source: where the general text or tasks are from.
        of: documents or rows that there are.
        ids: the scored documents as tokens.
        reading: what a model that writes or fills text makes of them.
        tasks: the general tasks of any other model.
        features: [rows of all tasks, width] its representations.
        unknown: share of unknown tokens.
        right: task -> [rows] whether a probe is right.
        tests: task of lm-eval -> [rows] its metric.
    """

    not_run: str = ""
    source: str = ""
    of: int = 0
    ids: Sequence[Sequence[int]] = ()
    reading: Reading | None = None
    tasks: tuple[sets.Task, ...] = ()
    features: Vectors | None = None
    unknown: float = 0.0
    right: dict[str, Flags] = field(default_factory=dict)
    tests: dict[str, Numbers] = field(default_factory=dict)


def is_language_model(model: Model) -> bool:
    """Whether the model gives probabilities of tokens in plain text.

    An encoder-decoder gives those of an answer to a text, not of the text.
    """
    is_encoder_decoder = getattr(model.net.config, "is_encoder_decoder", False)
    return heads.get(model.head).is_over_vocabulary and not is_encoder_decoder


def check_options(options: Forgetting, run: StartedRun) -> None:
    """Check files, limits and lm-eval before anything is loaded.

    Raises:
        UserError: something cannot be used.
    """
    if options.text is not None:
        sets.texts(options.text)
    if options.tasks:
        sets.tasks(options.tasks)
    limits = (
        ("note_nats", options.note_nats, "warn_nats", options.warn_nats),
        ("warn_nats", options.warn_nats, "stop_nats", options.stop_nats),
        ("note_drop", options.note_drop, "warn_drop", options.warn_drop),
    )
    for mild_name, mild, hard_name, hard in limits:
        if mild > hard:
            raise UserError(
                f"--forgetting.{mild_name} {mild:g} is above --forgetting.{hard_name} {hard:g}",
                "a note comes before a warning, and a warning before a stop",
            )
    if options.lm_eval:
        harness.check(options.lm_eval, run.task.head)


def measure_start(options: Forgetting, run: StartedRun, data: Data, model: Model | None) -> Start:
    """Measure the untouched model on as much of the general set as is cheap."""
    if model is None:
        return Start("there was no model before training")
    if getattr(model.net, "_ftp_origin", None) is None and model.reference is None:
        return Start("the network is new: it has no ability of before that it could lose")
    _check_used(options, model)
    tests = {}
    try:
        if options.lm_eval:
            tests = harness.ask(options.lm_eval, model, options.lm_eval_rows)
        if is_language_model(model):
            return _read_documents(options, run, data, model, tests)
        return _probe_tasks(options, run, model, tests)
    except ValueError as error:  # a network with a learnt prompt has no hidden states of its own
        return Start(f"this network's states cannot be read: {error}")


def _check_used(options: Forgetting, model: Model) -> None:
    """Refuse a file that this model is not asked about.

    Raises:
        UserError: it is not, and which option is for this model.
    """
    if options.text is not None and not is_language_model(model):
        raise UserError(
            f"--forgetting.text {options.text}: this model is not one that text is surprising to "
            f"(its head: {model.head}); what its encoder can do is compared on tasks",
            "name files with the columns text and label",
            "ftp run ... --forgetting.tasks FILE",
        )
    if options.tasks and is_language_model(model):
        raise UserError(
            f"--forgetting.tasks {','.join(options.tasks)}: this model writes or fills in text, "
            "and is compared on that",
            "name a file of general text",
            "ftp run ... --forgetting.text FILE",
        )


def _read_documents(
    options: Forgetting, run: StartedRun, data: Data, model: Model, tests: dict[str, Numbers]
) -> Start:
    import numpy as np

    from ftp_forgetting import words

    general = sets.texts(options.text, data.splits.get("general"))
    ids = words.encode(run, model, general.documents)
    most = options.rows or words.affordable(run, model, list(map(len, ids)))
    # the same documents in every run
    sampled = np.sort(np.random.default_rng(0).permutation(len(ids))[: min(len(ids), most)])
    sample = [ids[index] for index in sampled]
    if sum(len(document) > 2 for document in sample) < sets.LEAST_DOCUMENTS:
        reason = "the tokenizer makes nothing of the general text"
        return Start(reason, general.source, len(ids))
    reading = words.read_documents(run, model, sample)
    return Start("", general.source, len(ids), sample, reading, tests=tests)


def _probe_tasks(options: Forgetting, run: StartedRun, model: Model, tests: dict[str, Numbers]) -> Start:
    from ftp_forgetting import representations

    tasks = tuple(sets.tasks(options.tasks))
    features, unknown = representations.features(run, model, texts_of(tasks))
    return Start(
        source=", ".join(options.tasks) or "ours (English)",
        of=len(features),
        tasks=tasks,
        features=features,
        unknown=unknown,
        right=probe_each(tasks, features),
        tests=tests,
    )


def texts_of(tasks: Sequence[sets.Task]) -> list[str]:
    """The texts of all tasks, one after another."""
    texts: list[str] = []
    for task in tasks:
        texts += task.texts
    return texts


def probe_each(tasks: Sequence[sets.Task], features: Vectors) -> dict[str, Flags]:
    """Task -> [rows] whether a linear probe is right.

    Args:
        features: [rows, width] of `texts_of(tasks)`.
    """
    from ftp_forgetting import representations

    right = {}
    start = 0
    for task in tasks:
        end = start + len(task.texts)
        right[task.name] = representations.probe(features[start:end], task.labels)
        start = end
    return right
