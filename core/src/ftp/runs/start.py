"""What a run writes down where it starts, and what it compares with that where it is taken up again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.folder import files, paths
from ftp.folder.files import Folder
from ftp.plugins.lock import lock
from ftp.plugins.plan import Prepared
from ftp.runs import recipes
from ftp.train import checkpoint
from ftp.train.device import facts
from ftp.types import StartedRun

if TYPE_CHECKING:
    from accelerate import Accelerator

NAMES = {"device_kind": "the kind of device", "device_name": "the device", "precision": "the precision",
         "processes": "the number of processes", "threads": "the number of threads"}
"""Facts that decide the last digits of a run, as they are told."""


def begin(run: StartedRun, prepared: Prepared, resume: Path | None, notes: Sequence[str]) -> Folder | None:
    """The folder of a run that begins or goes on, on the main process, which alone writes in it.

    Args:
        run: the run.
        prepared: what was asked for.
        resume: the folder of a run to go on with; None for a new one.
        notes: what is to be told first.
    """
    if not run.accelerator.is_main_process:
        return None
    folder = Folder(run.out)
    # The recipe comes first: with it alone, a run that is killed can be resumed.
    if resume is None:
        write_down(folder, prepared, run.accelerator)
    for note in (*prepared.notes, *notes):
        run.tell(note)
    if resume is not None:
        take_up(run, folder, prepared)
    return folder


def write_down(folder: Folder, prepared: Prepared, accelerator: Accelerator) -> None:
    """The recipe, the plugins and libraries, and the machine of a run that begins."""
    recipe = prepared.anywhere().recipe()
    folder.write_recipe(recipe)
    folder.write_lock(lock(prepared.picked))
    folder.write_facts(**_running(folder, prepared), **facts(accelerator, prepared.settings))
    recipes.begin(folder, recipe)


def take_up(run: StartedRun, folder: Folder, prepared: Prepared) -> None:
    """Tell and write down how a run that is resumed differs from what it was: options that were changed on purpose, plugins,
    libraries, machine. Each resume is kept in run.json (`resumes`)."""
    recipe = prepared.anywhere().recipe()
    changed = recipes.accept(folder.path, prepared)
    before, now = folder.read_facts(), facts(run.accelerator, prepared.settings)
    if "recipe" not in before and checkpoint.any_in(folder.path / paths.CHECKPOINTS):
        run.tell(f"whether {paths.RECIPE} is the recipe that the run began with is not known: it kept no hash")
    for change in changed:
        run.tell(f"{change}: changed at this resume" + _consequence(change, prepared))
    differences = [f"{change} since the run was started" for change in folder.changed(lock(prepared.picked))]
    for key, name in NAMES.items():
        old = before.get(key)
        if key in before and old != now[key]:
            differences.append(f"{name} was {old} before this resume, and is {now[key]} now")
    for difference in differences:
        run.tell(f"{difference}: it may not repeat exactly (the last digits may differ)")

    # told first: what is written from here on is the state of the resumed run
    folder.write_recipe(recipe)
    recipes.write_down(folder, changed, recipe)
    folder.write_lock(lock(prepared.picked))
    resumes = [*before.get("resumes", []), {"time": round(time.time(), 3), "differences": differences, **now}]
    folder.write_facts(**_running(folder, prepared), resumes=resumes, **now)
    run.log.event("resumed", changes=[vars(change) for change in changed], differences=differences)


def _running(folder: Folder, prepared: Prepared) -> dict[str, object]:
    return {"id": files.run_id(folder.path), "status": "running", "plugins": [plugin.name for plugin in prepared.picked]}


def _consequence(change: recipes.Change, prepared: Prepared) -> str:
    if change.key in recipes.LONGER and prepared.settings.lr_scheduler_type != "constant":
        return "; the learning rate of what is left follows the new end"
    if change.key in recipes.MACHINE:
        return "; the last digits may differ"
    return ""
