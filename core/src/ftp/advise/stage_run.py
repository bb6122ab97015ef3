"""The run of a first stage in a process of its own, which is asked to end when its time is over, and gone on with.

Imports nothing heavy.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from ftp.advise.question import Question
from ftp.advise.types import FirstStage
from ftp.advise.wording import duration
from ftp.folder import state
from ftp.folder.files import Folder
from ftp.folder.writing import write_text

STOP_GRACE = 60.0
"""Seconds in which a run that is asked to end saves what it has."""


def train(stage: FirstStage, question: Question, limit: float) -> tuple[str, float]:
    """Do the run of a first stage, or go on with it; what is finished is not done again.

    Args:
        stage: whose run it is.
        question: gives the texts.
        limit: seconds after which it is asked to end.

    Returns:
        Why there is no model, in words, empty where there is one; and the seconds of all tries.
    """
    folder = Path(stage.folder)
    times = folder.with_suffix(".seconds")
    seconds = _seconds_in(times)
    if _is_finished(folder):
        return "", seconds
    folder.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    # the time of a try counts also where it fails: the budget is spent
    is_late, last_line = _run(_words(stage, question), folder.with_suffix(".log"), limit)
    seconds += time.perf_counter() - began
    write_text(times, f"{seconds:.3f}\n")
    if _is_finished(folder):
        return "", seconds
    if is_late:
        longer = 2 * int(question.budget_seconds + 1)
        return (f"more time: the first stage ({stage.name} on {question.unlabelled}) takes longer than the {duration(limit)} "
                f"that it may take of the budget; asked again it goes on where it stopped (--budget {longer}s)"), seconds
    return f"a first stage that runs: {stage.name} on {question.unlabelled} failed: {last_line}", seconds


def _words(stage: FirstStage, question: Question) -> list[str]:
    """The words after `ftp` that do the run of a first stage, or go on with it."""
    folder = Path(stage.folder)
    # a run that stopped before its first update has nothing to go on with
    if state.holds_run(folder) and not state.came_to_nothing(folder):
        return ["run", "--resume", str(folder)]
    values = tomllib.loads(stage.recipe)
    # code that the user names is trusted on a line, not in a recipe
    values.pop("plugins_from", None)
    recipe = folder.with_suffix(".toml")
    import tomlkit

    write_text(recipe, tomlkit.dumps(values))
    words = ["run", str(recipe), "--out", str(folder), "--no-report", "--no-baselines"]
    if question.plugins_from:
        words += ["--plugins-from", ",".join(question.plugins_from)]
    return words


def _run(words: Sequence[str], log: Path, limit: float) -> tuple[bool, str]:
    """Whether a run took longer than it may, and the last line that it wrote."""
    # it finds the packages that this process finds
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    is_late = False
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-P", "-m", "ftp", *words], stdin=subprocess.DEVNULL, stdout=file,
                                   stderr=subprocess.STDOUT, env=environment)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            is_late = True
        finally:  # also at Ctrl-C: what it has is saved, and gone on with when it is asked for again
            _end(process)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return is_late, lines[-1].strip() if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to save and end, and end it where it does not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_finished(folder: Path) -> bool:
    """Whether a run is done and has its model."""
    if not state.holds_run(folder):
        return False
    return Folder(folder).read_facts().get("status") == "finished" and (folder / "model").is_dir()


def _seconds_in(file: Path) -> float:
    """Seconds of earlier tries; 0 where there were none."""
    try:
        return float(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0
