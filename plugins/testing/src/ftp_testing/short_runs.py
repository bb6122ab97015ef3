"""Short runs of a plugin on a tiny model, whole, killed and resumed, or in several processes. Heavy."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ftp.forms import reachable
from ftp.plugin_info import declaration_of
from ftp.plugins.find import installed
from ftp.plugins.fit import trains_alone
from ftp.plugins.plan import Prepared
from ftp_testing import domains, forks
from ftp_testing.outcome import Fault, NotApplicable
from ftp_testing.scene import models_of
from ftp_testing.subject import HALT, RANKS, Subject, tiny_model

P = ParamSpec("P")
T = TypeVar("T")

UPDATES = 6
KILLED_AFTER = 2
"""The checkpoint after which a run is killed."""
UpdateLog = dict[int, dict[str, float]]
"""Update -> its loss, norm and rate."""


def prepared(subject: Subject, dropout: float = 0.1, **options: Any) -> Prepared:
    """A short run of the plugin on a tiny model with dropout, so that random states count. `options`: as for `ftp.run`."""
    usual: dict[str, Any] = {
        "max_steps": UPDATES, "batch_size": 4, "eval_steps": 3, "save_steps": 2, "logging_steps": 1, "learning_rate": 1e-3,
        "max_train_rows": 64, "max_eval_rows": 8, "save_total_limit": 9,
    }
    objective: tuple[str, ...] = ()
    # a domain is run on its own rows, everything else on those of the kit
    if "domain" in subject.parts:
        usual["data"], objective = _data_of_domain(subject)
    task = subject.prepared(HALT, plugins=objective).task
    fit = subject.memory.fit
    kind = fit.kind if fit is not None and fit.kind is not None else models_of(task.form, task.head)[0]
    return subject.prepared(HALT, RANKS, plugins=objective, model=str(tiny_model(kind, dropout)), **{**usual, **options})


def _data_of_domain(subject: Subject) -> tuple[str | None, tuple[str, ...]]:
    """For a domain: what to name in --data, and an objective where core has none of its own for its forms."""
    forms = domains.given(subject)
    if not forms:
        raise NotApplicable("it does not say which forms it gives")
    if "objective" in subject.parts:  # it brings its own
        return domains.source(subject, forms[0]), ()
    for form in forms:
        if trains_alone(form):
            return domains.source(subject, form), ()
    for name, cls in installed():
        for wanted in declaration_of(cls).wants:
            if wanted in reachable(forms):
                return domains.source(subject, domains.own_form(subject, wanted)), (name,)
    raise NotApplicable(f"no objective is installed that reads {', '.join(forms)}")


def done_once(subject: Subject) -> Path:
    """The folder of a run that nothing happens to."""
    out = subject.folder / "runs" / "unbroken"
    if not (out / "scores.json").exists():
        if subject.memory.has_run:
            raise NotApplicable("a run does not come to its end, see runs-to-the-end")
        subject.memory.has_run = True
        executed(subject, prepared(subject), "unbroken")
    return out


def resumed(subject: Subject) -> Path:
    """The folder of a run whose process was killed and which was resumed, done once."""
    from ftp.runs.run import execute

    out = subject.folder / "runs" / "killed"
    if (out / "scores.json").exists():
        return out
    out = new_folder(subject, "killed")
    halt: dict[str, Any] = {"kit-halt": {"after": KILLED_AFTER}}
    killed = prepared(subject, out=str(out), **halt)
    status, text = done_by_command(subject, killed, "killed")
    if status != -signal.SIGKILL:
        raise Fault(f"the run was to be killed after update {KILLED_AFTER} and ended with status {status}:\n{text[-600:]}",
                    "see its words above")
    _quietly(execute, killed, resume=out)
    return out


def executed(subject: Subject, run: Prepared, name: str) -> Path:
    """Do a run in this process; gives its folder."""
    from ftp.plugins.plan import replace_settings
    from ftp.runs.run import execute

    out = new_folder(subject, name)
    _quietly(execute, replace_settings(run, out=out))
    return out


def new_folder(subject: Subject, name: str) -> Path:
    """The folder of a run, without what the same check left there when it was done before."""
    import shutil

    out: Path = subject.folder / "runs" / name
    shutil.rmtree(out, ignore_errors=True)
    return out


def _quietly(function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
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


def done_by_command(subject: Subject, run: Prepared, name: str, ranks: int = 1) -> tuple[int, str]:
    """Do a run as a command in one process or several of its own; gives its status and its words."""
    recipe = subject.folder / f"{name}.toml"
    recipe.write_text(run.recipe(), encoding="utf-8")
    # Whoever checks a plugin's file has named it to the kit, so its code may run.
    words = ("run", str(recipe), "--out", str(run.settings.out), "--trust-recipe")
    try:
        return forks.ends(words, ranks)
    except OSError as error:  # a system that cannot fork
        raise NotApplicable(str(error)) from error


def updates_of(out: Path) -> UpdateLog:
    """Loss, norm and rate of each update in the log of a run."""
    updates: UpdateLog = {}
    for line in map(json.loads, (out / "log.jsonl").read_text().splitlines()):
        if line["event"] == "step":
            updates[line["step"]] = {name: line[name] for name in ("loss", "grad_norm", "learning_rate")}
    return updates


def difference_of(out: Path, other: Path) -> str:
    """The first update, score or file of weights in which two runs differ; empty where every bit is the same."""
    updates = updates_of(other)
    for step, update in updates_of(out).items():
        for name, value in update.items():
            other_value = updates.get(step, {}).get(name)
            if value != other_value:
                return f"{name} of update {step} is {value!r}, then {other_value!r}"
    scores, other_scores = (json.loads((folder / "scores.json").read_text())["scores"] for folder in (out, other))
    if scores != other_scores:
        return "the scores are others"
    for file in sorted((out / "model").glob("*.safetensors")):
        if file.read_bytes() != (other / "model" / file.name).read_bytes():
            return f"model/{file.name} holds other bits"
    return ""
