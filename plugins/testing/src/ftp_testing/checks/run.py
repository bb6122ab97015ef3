"""Checks of whole runs: of an objective, a parameterisation or a domain, combined with core's defaults. Heavy."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

from ftp.errors import UserError
from ftp.forms import reachable
from ftp.plugin_info import declaration_of
from ftp.plugins.find import installed
from ftp.plugins.fit import trains_alone
from ftp.plugins.plan import Prepared
from ftp.types import Row
from ftp_testing import domains, forks
from ftp_testing.outcome import Fault, NotApplicable, check, raised_first, where
from ftp_testing.scene import models_of
from ftp_testing.subject import HALT, RANKS, Subject, tiny_model

UPDATES, BROKEN = 6, 2
"""Updates of a run, and the checkpoint after which it is broken off."""
ALIKE = 0.2
"""By how much the mean losses of one and of two processes may differ where each draws its own random numbers."""


@check("run")
def runs_to_the_end(subject: Subject) -> str:
    """A run of a few updates ends, with losses and scores that are numbers, and its model comes back and answers a row and a plain
    text, or refuses them in words."""
    import ftp

    out = _unbroken(subject)
    losses = _steps(out)
    if len(losses) != UPDATES or not all(math.isfinite(one["loss"]) for one in losses.values()):
        raise Fault(f"losses of the run: { {step: one['loss'] for step, one in losses.items()} }", "each update has a finite one")
    scores = json.loads((out / "scores.json").read_text())["scores"]
    broken = [f"{one['name']} of {one['split']}" for one in scores if one["value"] is None or not math.isfinite(one["value"])]
    if broken:
        raise Fault(f"scores that are no numbers: {', '.join(broken)}", "leave out a score where there is nothing to count")
    back = ftp.load(out)
    said = []
    for what, asked in (("a row", _question(subject, back.run.task.form)), ("a plain text", "What is the capital of Norway?")):
        try:
            back.predict([asked])
            said.append(f"answers {what}")
        except UserError as error:  # an objective without answers, or one that needs another kind of row: in its own words
            said.append(f"does not answer {what} ({str(error).splitlines()[0]})")
        except Exception as error:
            fault = raised_first(error)
            raise Fault(f"asked {what}, the finished run raises {type(fault).__name__}: {fault}{where(error)}",
                        "answer it, or refuse it by a UserError that says what would be right; see ftp.runs.predictor.as_row") from error
    first, last = losses[min(losses)]["loss"], losses[max(losses)]["loss"]
    return f"{UPDATES} updates, loss {first:.4g} to {last:.4g}; {len(scores)} scores; it comes back, {', '.join(said)}"


@check("objective")
def comes_back_in_a_fresh_process(subject: Subject) -> str:
    """`model/` of a finished run, loaded in a fresh process by plain Transformers, gives the logits of the trained network."""
    from ftp.model import VerifyError

    try:
        _do(subject, _prepared(subject, verify=True), "verified")
    except VerifyError as error:
        raise Fault(str(error), "what is trained is in model.net, or in Loss.extra; leave saving to core") from error
    return "the same logits, to 1e-4 of the largest"


@check("run")
def survives_kill(subject: Subject) -> str:
    """A run whose process is killed (kill -9) after a checkpoint and resumed ends as the unbroken one, bit by bit."""
    difference = _difference(_unbroken(subject), _resumed(subject))
    if difference:
        raise Fault(f"killed after update {BROKEN} and resumed, a run ends differently: {difference}",
                    "keep no counter or state of your own between updates; what must be kept belongs in the model, in Loss.extra, "
                    "or in the plugin's state() and restore()")
    return f"killed after update {BROKEN} of {UPDATES}, the same bits"


@check("run")
def same_seed_same_run(subject: Subject) -> str:
    """The same seed gives the same bits, another seed another run."""
    unbroken = _unbroken(subject)
    # A resumed run that came out the same has done every update with the same seed a second time. A third run is needed
    # only to tell a seed that is ignored from a state that is lost.
    try:
        is_repeated = not _difference(unbroken, _resumed(subject))
    except NotApplicable:  # a system that cannot fork
        is_repeated = False
    if not is_repeated:
        difference = _difference(unbroken, _do(subject, _prepared(subject), "again"))
        if difference:
            raise Fault(f"with the same seed a run comes out differently: {difference}",
                        "draw only from Python's, NumPy's and torch's generators, which the loop seeds by update; no time, set order or cache")
    other = _do(subject, _prepared(subject, seed=1, max_steps=1), "other")
    if _steps(unbroken)[1]["loss"] == _steps(other)[1]["loss"]:
        raise Fault("another --seed gives the same run: it is ignored", "draw from run.settings.seed, or from the generators that the loop seeds")
    return "bit by bit"


@check("run")
def two_processes_are_one(subject: Subject) -> str:
    """Two processes hold the same weights after each update, and train as one does: the same losses, and the same weights but for
    rounding. Where the plugin draws at random in training (noise, samples) they draw other numbers: losses of noise are alike
    only, those of samples are finite."""
    one, out = _do(subject, _prepared(subject, dropout=0.0), "alone"), _fresh(subject, "together")
    status, text = _command(subject, _prepared(subject, dropout=0.0, out=str(out)), "together", ranks=2)
    if status:
        raise Fault(f"two processes end with status {status}:\n{text[-800:]}", "every hook runs on every rank, and all take the same path")
    ranks = [(out / f"rank-{rank}.txt").read_text().splitlines() for rank in (0, 1)]
    for update, held in enumerate(zip(*ranks, strict=True), start=1):
        if len({*held}) > 1:
            raise Fault(f"after update {update} the two processes hold other weights, each its own model from then on",
                        "let only the optimizer move weights, after loss(batch) and accelerator.backward have joined the gradients; see ftp.train.update")
    first, second = _steps(one), _steps(out)
    count = "count over all ranks: sums and counts from compute; what depends on the whole update by run.accelerator.reduce"
    other = [step for step, alone in first.items() if not math.isclose(alone["loss"], second[step]["loss"], rel_tol=1e-4, abs_tol=1e-6)]
    if other and (_rolls_out(subject) or _draws(subject)):
        means = [sum(step["loss"] for step in steps.values()) / UPDATES for steps in (first, second)]
        if not all(map(math.isfinite, means)) or not (_rolls_out(subject) or math.isclose(*means, rel_tol=ALIKE)):
            raise Fault(f"the mean loss of {UPDATES} updates is {means[0]:.4g} in one process and {means[1]:.4g} in two", count)
        return (f"{UPDATES} updates with the same weights in both; it draws at random: the mean loss is {means[0]:.4g} in one process "
                f"and {means[1]:.4g} in two")
    for step in other:
        raise Fault(f"update {step} has the loss {first[step]['loss']:.6g} in one process and {second[step]['loss']:.6g} in two", count)
    for file in sorted((one / "model").glob("*.safetensors")):
        name, most = _apart(file, out / "model" / file.name)
        if most > 5e-3:
            raise Fault(f"{name} of {file.name} differs by {most:.2g} between one process and two", count)
    return f"{len(first)} updates with the same losses, and the same weights in both"


# --- helpers ---


def _rolls_out(subject: Subject) -> bool:
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
    scene, found = build(subject), []
    scene.model.net.train()
    for rank in (0, 1):
        seed_step(0, 0, rank)
        found.append(float(scene.loss.compute(scene.batch(scene.rows(8))).total.detach()))
    return found[0] != found[1]


def _apart(one: Path, other: Path) -> tuple[str, float]:
    """The weight in which two files differ most, and by how much."""
    from safetensors.torch import load_file

    first, second = load_file(one), load_file(other)
    far = {name: float((value.float() - second[name].float()).abs().max()) for name, value in first.items() if value.numel()}
    worst = max(far, key=lambda name: far[name])
    return worst, far[worst]


def _prepared(subject: Subject, dropout: float = 0.1, **options: Any) -> Prepared:
    """A short run of the plugin on a tiny model with dropout, so that random states count."""
    usual: dict[str, Any] = {"max_steps": UPDATES, "batch_size": 4, "eval_steps": 3, "save_steps": 2, "logging_steps": 1, "learning_rate": 1e-3,
             "max_train_rows": 64, "max_eval_rows": 8, "save_total_limit": 9}
    beside: tuple[str, ...] = ()
    if "domain" in subject.parts:
        usual["data"], beside = _fitting(subject)
    task = subject.prepared(HALT, plugins=beside).task
    fit = subject.memory.fit
    kinds = [fit.kind] if fit is not None and fit.kind is not None else models_of(task.form, task.head)
    return subject.prepared(HALT, RANKS, plugins=beside, model=str(tiny_model(kinds[0], dropout)), **{**usual, **options})


def _fitting(subject: Subject) -> tuple[str | None, tuple[str, ...]]:
    """For a domain: what to name in --data, and an objective where core has none of its own for its forms."""
    forms = domains.given(subject)
    if not forms:
        raise NotApplicable("it does not say which forms it gives")
    if "objective" in subject.parts:  # it brings its own
        return domains.source(subject, forms[0]), ()
    own = next((form for form in forms if trains_alone(form)), None)
    if own is not None:
        return domains.source(subject, own), ()
    for name, cls in installed():
        for form in declaration_of(cls).wants:
            if form in reachable(forms):
                return domains.source(subject, next(one for one in forms if form in reachable([one]))), (name,)
    raise NotApplicable(f"no objective is installed that reads {', '.join(forms)}")


def _resumed(subject: Subject) -> Path:
    """The folder of a run whose process was killed and which was resumed, done once."""
    from ftp.runs.run import execute

    out = subject.folder / "runs" / "killed"
    if (out / "scores.json").exists():
        return out
    out = _fresh(subject, "killed")
    halt: dict[str, Any] = {"kit-halt": {"after": BROKEN}}
    prepared = _prepared(subject, out=str(out), **halt)
    status, text = _command(subject, prepared, "killed")
    if status != -signal.SIGKILL:
        raise Fault(f"the run was to be killed after update {BROKEN} and ended with status {status}:\n{text[-600:]}", "see its words above")
    _quiet(execute, prepared, resume=out)
    return out


def _unbroken(subject: Subject) -> Path:
    """The folder of a run that nothing happens to, done once."""
    out = subject.folder / "runs" / "unbroken"
    if not (out / "scores.json").exists():
        if subject.memory.has_run:
            raise NotApplicable("a run does not come to its end, see runs-to-the-end")
        subject.memory.has_run = True
        _do(subject, _prepared(subject), "unbroken")
    return out


def _do(subject: Subject, prepared: Prepared, name: str) -> Path:
    from ftp.plugins.plan import replace_settings
    from ftp.runs.run import execute

    out = _fresh(subject, name)
    _quiet(execute, replace_settings(prepared, out=out))
    return out


def _fresh(subject: Subject, name: str) -> Path:
    """The folder of a run, without what the same check left there when it was done before."""
    import shutil

    out: Path = subject.folder / "runs" / name
    shutil.rmtree(out, ignore_errors=True)
    return out


def _quiet(function: Any, *args: Any, **options: Any) -> Any:
    """Call it with nothing on the screen, in one thread as the forked processes: another number of them rounds otherwise."""
    import contextlib
    import io

    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return function(*args, **options)
    finally:
        torch.set_num_threads(threads)


def _command(subject: Subject, prepared: Prepared, name: str, ranks: int = 1) -> tuple[int, str]:
    """The run as a command in one process or several of its own: its status and its words."""
    recipe = subject.folder / f"{name}.toml"
    recipe.write_text(prepared.recipe(), encoding="utf-8")
    # Whoever checks a plugin's file has named it to the kit, so its code may run.
    return _ftp("run", str(recipe), "--out", str(prepared.settings.out), "--trust-recipe", ranks=ranks)


def _ftp(*words: str, ranks: int = 1) -> tuple[int, str]:
    try:
        return forks.ends(words, ranks)
    except OSError as error:
        raise NotApplicable(str(error)) from error


def _steps(out: Path) -> dict[int, dict[str, float]]:
    """Loss, norm and rate of each update in the log."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {line["step"]: {name: line[name] for name in ("loss", "grad_norm", "learning_rate")}
            for line in lines if line["event"] == "step"}


def _difference(one: Path, other: Path) -> str:
    """The first update, score or file of weights in which two runs differ; "" where every bit is the same."""
    first, second = _steps(one), _steps(other)
    for step, values in first.items():
        for name, value in values.items():
            other_value = second.get(step, {}).get(name)
            if value != other_value:
                return f"{name} of update {step} is {value!r}, then {other_value!r}"
    scores = [json.loads((out / "scores.json").read_text())["scores"] for out in (one, other)]
    if scores[0] != scores[1]:
        return "the scores are others"
    for file in sorted((one / "model").glob("*.safetensors")):
        if file.read_bytes() != (other / "model" / file.name).read_bytes():
            return f"model/{file.name} holds other bits"
    return ""


def _question(subject: Subject, form: str) -> Row:
    """A row to answer."""
    from ftp_testing.rows import rows

    if "domain" in subject.parts:
        row: Row = domains.rows(subject, form).splits["train"][0]
        return row
    return rows(form)[0]
