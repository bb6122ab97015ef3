"""Checks of whole runs: of an objective, a parameterisation or a domain, combined with core's defaults. Heavy."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from ftp.errors import PluginError, UserError
from ftp.settings import Settings
from ftp.types import Row
from ftp_testing import domains
from ftp_testing.outcome import Fault, NotApplicable, check, raised_first, where
from ftp_testing.rows import rows as rows_of_kit
from ftp_testing.short_runs import (
    KILLED_AFTER,
    UPDATES,
    UpdateLog,
    difference_of,
    done_by_command,
    done_once,
    executed,
    new_folder,
    prepared,
    resumed,
    updates_of,
)
from ftp_testing.subject import Subject

ALIKE = 0.2
"""By how much the mean losses of one and of two processes may differ where each draws its own random numbers."""


@check("run")
def runs_to_the_end(subject: Subject) -> str:
    """A run of a few updates ends, with losses and scores that are numbers, and its model comes back and answers a row and a plain
    text, or refuses them in words."""
    import ftp

    out = done_once(subject)
    losses = [update["loss"] for update in updates_of(out).values()]
    if len(losses) != UPDATES or not all(map(math.isfinite, losses)):
        raise Fault(f"losses of the run: {losses}", "each update has a finite one")
    scores = json.loads((out / "scores.json").read_text())["scores"]
    broken = []
    for score in scores:
        if score["value"] is None or not math.isfinite(score["value"]):
            broken.append(f"{score['name']} of {score['split']}")
    if broken:
        raise Fault(f"scores that are no numbers: {', '.join(broken)}", "leave out a score where there is nothing to count")
    loaded = ftp.load(out)
    answers = []
    for what, question in (("a row", _row_to_answer(subject, loaded.run.task.form)), ("a plain text", "What is the capital of Norway?")):
        try:
            loaded.predict([question])
            answers.append(f"answers {what}")
        except UserError as error:  # an objective without answers, or one that needs another kind of row: in its own words
            answers.append(f"does not answer {what} ({str(error).splitlines()[0]})")
        except Exception as error:
            fault = raised_first(error)
            raise Fault(f"asked {what}, the finished run raises {type(fault).__name__}: {fault}{where(error)}",
                        "answer it, or refuse it by a UserError that says what would be right; see ftp.runs.predictor.as_row") from error
    return f"{UPDATES} updates, loss {losses[0]:.4g} to {losses[-1]:.4g}; {len(scores)} scores; it comes back, {', '.join(answers)}"


def _row_to_answer(subject: Subject, form: str) -> Row:
    if "domain" in subject.parts:
        row: Row = domains.rows(subject, form).splits["train"][0]
        return row
    return rows_of_kit(form)[0]


@check("objective")
def comes_back_in_a_fresh_process(subject: Subject) -> str:
    """`model/` of a finished run, loaded in a fresh process by plain Transformers, gives the logits of the trained network."""
    from ftp.model import VerifyError

    try:
        executed(subject, prepared(subject, verify=True), "verified")
    except VerifyError as error:
        raise Fault(str(error), "what is trained is in model.net, or in Loss.extra; leave saving to core") from error
    return "the same logits, to 1e-4 of the largest"


@check("run")
def candidates_run(subject: Subject) -> str:
    """Each of the `candidates` that it declares for `ftp advise` builds, and takes an update."""
    candidates = subject.picked.declaration.candidates
    if not candidates:
        raise NotApplicable("it declares no candidates (ftp advise will not try it)")
    core = {item.name for item in dataclasses.fields(Settings)}
    own = {item.name for item in subject.picked.options}
    for candidate in candidates:
        settings: dict[str, Any] = {}
        for name, value in candidate.settings.items():
            settings[f"{subject.name}.{name}" if name in own else name] = value
        named = ", ".join(f"{name}={value!r}" for name, value in candidate.settings.items()) or "as it is"
        unknown = [name for name in candidate.settings if name not in own | core]
        if unknown:
            raise Fault(f"the candidate {named}: there is no option {', '.join(unknown)}", "name options of the plugin, or of core")
        try:
            executed(subject, prepared(subject, max_steps=1, eval_steps=1, save_steps=1, **settings), "candidate")
        except (UserError, PluginError) as error:
            raise Fault(f"the candidate {named} does not take an update: {error}", "declare settings that run as they are") from error
    return f"{len(candidates)} candidates, an update of each"


@check("run")
def survives_kill(subject: Subject) -> str:
    """A run whose process is killed (kill -9) after a checkpoint and resumed ends as the unbroken one, bit by bit."""
    difference = difference_of(done_once(subject), resumed(subject))
    if difference:
        raise Fault(f"killed after update {KILLED_AFTER} and resumed, a run ends differently: {difference}",
                    "keep no counter or state of your own between updates; what must be kept belongs in the model, in Loss.extra, "
                    "or in the plugin's state() and restore()")
    return f"killed after update {KILLED_AFTER} of {UPDATES}, the same bits"


@check("run")
def same_seed_same_run(subject: Subject) -> str:
    """The same seed gives the same bits, another seed another run."""
    unbroken = done_once(subject)
    # A resumed run that came out the same has done every update with the same seed a second time. A third run is needed
    # only to tell a seed that is ignored from a state that is lost.
    try:
        is_repeated = not difference_of(unbroken, resumed(subject))
    except NotApplicable:  # a system that cannot fork
        is_repeated = False
    if not is_repeated:
        difference = difference_of(unbroken, executed(subject, prepared(subject), "again"))
        if difference:
            raise Fault(f"with the same seed a run comes out differently: {difference}",
                        "draw only from Python's, NumPy's and torch's generators, which the loop seeds by update; no time, set order or cache")
    # all updates, as the first loss of a preference is the same whatever the seed
    of_other_seed = executed(subject, prepared(subject, seed=1), "other")
    if updates_of(unbroken) == updates_of(of_other_seed):
        raise Fault("another --seed gives the same run: it is ignored", "draw from run.settings.seed, or from the generators that the loop seeds")
    return "bit by bit"


@check("run")
def two_processes_are_one(subject: Subject) -> str:
    """Two processes hold the same weights after each update, and train as one does: the same losses, and the same weights but for
    rounding. Where the plugin draws at random in training (noise, samples) they draw other numbers: losses of noise are alike
    only, those of samples are finite."""
    alone = executed(subject, prepared(subject, dropout=0.0), "alone")
    together = new_folder(subject, "together")
    status, text = done_by_command(subject, prepared(subject, dropout=0.0, out=str(together)), "together", ranks=2)
    if status:
        raise Fault(f"two processes end with status {status}:\n{text[-800:]}", "every hook runs on every rank, and all take the same path")
    _check_same_weights(together)
    one, two = updates_of(alone), updates_of(together)
    fix = "count over all ranks: sums and counts from compute; what depends on the whole update by run.accelerator.reduce"
    different = []
    for step, update in one.items():
        if not math.isclose(update["loss"], two[step]["loss"], rel_tol=1e-4, abs_tol=1e-6):
            different.append(step)
    if different and (_makes_rows(subject) or _draws(subject)):
        return _check_alike(subject, _mean_loss(one), _mean_loss(two), fix)
    for step in different:
        raise Fault(f"update {step} has the loss {one[step]['loss']:.6g} in one process and {two[step]['loss']:.6g} in two", fix)
    for file in sorted((alone / "model").glob("*.safetensors")):
        name, difference = _largest_difference(file, together / "model" / file.name)
        if difference > 5e-3:
            raise Fault(f"{name} of {file.name} differs by {difference:.2g} between one process and two", fix)
    return f"{len(one)} updates with the same losses, and the same weights in both"


def _check_same_weights(out: Path) -> None:
    """Both ranks wrote down the same weights after each update (`stand_in.KitRanks`)."""
    ranks = [(out / f"rank-{rank}.txt").read_text().splitlines() for rank in (0, 1)]
    for update, (first, second) in enumerate(zip(*ranks, strict=True), start=1):
        if first != second:
            raise Fault(f"after update {update} the two processes hold other weights, each its own model from then on",
                        "let only the optimizer move weights, after loss(batch) and accelerator.backward have joined the gradients; see ftp.train.update")


def _check_alike(subject: Subject, one: float, two: float, fix: str) -> str:
    """Mean losses where each process draws its own numbers: near one another, or finite where the model makes its rows."""
    is_near = _makes_rows(subject) or math.isclose(one, two, rel_tol=ALIKE)
    if not math.isfinite(one) or not math.isfinite(two) or not is_near:
        raise Fault(f"the mean loss of {UPDATES} updates is {one:.4g} in one process and {two:.4g} in two", fix)
    return (f"{UPDATES} updates with the same weights in both; it draws at random: the mean loss is {one:.4g} in one process "
            f"and {two:.4g} in two")


def _mean_loss(updates: UpdateLog) -> float:
    return sum(update["loss"] for update in updates.values()) / UPDATES


def _makes_rows(subject: Subject) -> bool:
    """Whether the model makes its own rows."""
    from ftp_testing.scene import fitting

    if "objective" in subject.parts:
        fitting(subject)
    return subject.memory.fit is not None and subject.memory.fit.makes_rows


def _draws(subject: Subject) -> bool:
    """Whether the same rows have another loss in training, without dropout, once the random state is another."""
    from ftp.train.seeds import seed_step
    from ftp_testing.scene import build

    if "domain" in subject.parts:
        return False
    scene = build(subject)
    scene.model.net.train()
    losses = []
    for rank in (0, 1):
        seed_step(0, 0, rank)
        losses.append(float(scene.loss.compute(scene.batch(scene.rows(8))).total.detach()))
    return losses[0] != losses[1]


def _largest_difference(file: Path, other: Path) -> tuple[str, float]:
    """The weight in which two files differ most, and by how much."""
    from safetensors.torch import load_file

    from ftp_testing.scene import apart

    return apart(load_file(file), load_file(other))
