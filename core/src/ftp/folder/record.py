"""The folder of a run: who may write in it, its log, and its files, each written whole or not at all.

    runs/<name>/  run.toml  plugins.lock  run.json  log.jsonl  scores.json  risks.json  data.json  inputs.json
                  began.toml (see `ftp.runs.recipes`)  examples.json  predictions/  checkpoints/  model/  report.html
                  .ftp.json (see `ftp.folder.marker`)

`claim` makes the folder and holds it for this process; `Log` writes events and shows them; `Folder` reads and writes the
files. This module imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import json
import math
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from ftp import addresses
from ftp.errors import Problem, UserError
from ftp.folder import contents, marker
from ftp.folder.writing import is_not_finite, plain, require_no_link, sync_folder, sync_tree, write_json, write_text
from ftp.host.faults import disk
from ftp.types import Baseline, Risk, Score

RUNS = Path("runs")
RECIPE, LOCK, FACTS, LOG, SCORES, RISKS = "run.toml", "plugins.lock", "run.json", "log.jsonl", "scores.json", "risks.json"
DATA, EXAMPLES, PREDICTIONS, INPUTS = "data.json", "examples.json", "predictions", "inputs.json"
CHECKPOINTS, MODEL, ASIDE, REPORT = "checkpoints", "model", "model-unverified", "report.html"
CARD = "README.md"
REPLACED = "model-replaced"
"""What was model/ before, for the moment in which another one takes its name."""
SCRATCH_FILES = ("inputs.safetensors", "logits.safetensors")
"""What the proof of a model writes into its scratch folder."""
TOKENIZER = "tokenizer"
"""Of a network from scratch, where it was trained for the run."""
BEGAN = "began.toml"
"""The recipe that the run began with; see `ftp.runs.recipes`."""
CLAIM = ".lock"
WRITTEN = (RECIPE, BEGAN, LOCK, FACTS, LOG, SCORES, RISKS, DATA, EXAMPLES, INPUTS, REPORT)
"""The files that a run writes into its folder."""
FACT_TYPES = {"status": str, "changes": list, "resumes": list, "model_files": dict, "weights": dict, "labels": list,
              "checks": dict, "plugins": list}
"""Of the facts of run.json that have parts, or decide what happens to a folder."""
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "peft", "trl", "tokenizers", "safetensors", "numpy",
            "scikit-learn", "pluggy")


class Display(Protocol):
    """Whoever shows a run while it goes on (`ftp.report.progress` does)."""

    def event(self, name: str, values: Mapping[str, Any]) -> None: ...

    def tell(self, message: str) -> None: ...


class Log:
    """The events of a run: kept in `lines` on every rank; written to log.jsonl and shown by the writer alone.

    `folder` None keeps them in memory only. Each line has `event`, `step` (that of the last event where none is given),
    the values, and `time` (seconds since the epoch). A number that is not finite is written as null and named under
    `not_finite`, so that every line is valid JSON.
    """

    def __init__(self, folder: Path | None, *, writer: bool, display: Display | None = None) -> None:
        self.lines: list[dict[str, Any]] = []
        self.path = folder / LOG if folder is not None else None
        self.writer = writer
        self.display = display if writer else None
        self._step = 0
        self._told: set[str] = set()
        self._file: IO[str] | None = None

    def event(self, name: str, /, **values: Any) -> None:
        """Add one line. Tensors and numpy scalars become numbers. Raises `UserError` when the disk is full."""
        self._step = int(values.pop("step", self._step))
        line = {"event": name, "step": self._step, **plain(values), "time": round(time.time(), 3)}
        odd = {key: str(float(value)) for key, value in values.items() if line.get(key) is None and is_not_finite(value)}
        if odd:
            line["not_finite"] = odd
        self.lines.append(line)
        if self.writer and self.path is not None:
            with disk(self.path):
                if self._file is None:
                    require_no_link(self.path)
                    marker.add(self.path.parent, [LOG])
                    _cut_half_line(self.path)
                    self._file = self.path.open("a", encoding="utf-8")
                self._file.write(addresses.without(json.dumps(line, ensure_ascii=False, allow_nan=False)) + "\n")
                self._file.flush()
        if self.display is not None:
            self.display.event(name, line)

    def tell(self, message: str) -> None:
        """Show one line to the user and log it; the same words a second time are dropped."""
        if message in self._told:
            return
        self._told.add(message)
        if self.display is not None:
            self.display.tell(message)
        self.event("told", message=message)

    def truncate(self, step: int) -> str:
        """Go back to `step`: take up the earlier lines of the file and drop what came after (for a resume).

        Gives what is wrong with the earlier lines, or an empty string: the update of a checkpoint is always in the log.
        """
        self.close()
        damaged = _damaged_lines(self.path)
        kept = [line for line in read_log(self.path) if line.get("step", 0) <= step and line.get("event") != "ended"]
        self.lines[:] = kept
        self._step = step
        if self.writer and self.path is not None and self.path.exists():
            write_text(self.path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
        whole = not step or any(line.get("event") == "step" and line["step"] == step for line in kept)
        if whole and not damaged:
            return ""
        return (f"{LOG} is damaged: " + (f"{damaged} lines cannot be read" if damaged else f"it does not reach update {step}")
                + "; what they said is missing in the report")

    def sync(self) -> None:
        """Make what is written so far last through a power cut."""
        if self._file is not None and self.path is not None:
            with disk(self.path):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; a later event opens it again."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def read_log(path: Path | None) -> list[dict[str, Any]]:
    """The lines of a log.jsonl. A last line that a kill cut in two is left out."""
    if path is None or not path.exists():
        return []
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise _damaged(path, str(error)) from error
    lines = []
    for text in texts:
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text)
            if isinstance(line, dict):
                lines.append(line)
    return lines


def _cut_half_line(path: Path) -> None:
    """Take away a last line that a kill cut in two, which would swallow the next one."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def _damaged_lines(path: Path | None) -> int:
    """Lines of a log.jsonl that cannot be read, but for the last, which a kill may cut in two."""
    if path is None or not path.exists():
        return 0
    count = 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines()[:-1]:
        try:
            json.loads(text)
        except json.JSONDecodeError:
            count += 1
    return count


# --- the folder ---


_held: dict[Path, IO[str]] = {}  # open lock files; the system lets go of them when the process ends, however it ends


def claim(out: Path | None, plugins: Sequence[str], *, resume: bool = False, notes: list[str] | None = None) -> Path:
    """Make (or with `resume` take up) the folder of a run and hold it until `release` or the end of the process.

    Without `out`: runs/<plugins>-<number>, the next number that is free. A run that stopped before its first update is
    replaced, and a line that says so is appended to `notes`. Raises `UserError` when the place cannot be written, is a file,
    holds any other run or something else already, or when another process works in it.
    """
    if resume:
        return _claim_existing(out, notes)
    if out is not None:
        path = out.expanduser()
        _check_free(path)
        with disk(path):
            path.mkdir(parents=True, exist_ok=True)
        _hold(path)
        try:
            _check_free(path)  # whoever held it a moment ago may have made a run of it
        except UserError:
            release(path)
            raise
        if came_to_nothing(path):
            with disk(path):
                removed = marker.clear(path)
            if notes is not None:
                notes.append(f"{path}: the run that stopped here before its first update is replaced; removed: "
                             f"{', '.join(removed)}")
        _mark(path)
        _remove_parts(path)
        return path
    stem = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(name for name in plugins if not name.startswith("-")))[:80] or "run"
    with disk(RUNS):
        RUNS.mkdir(parents=True, exist_ok=True)
    while True:
        taken = [int(found[1]) for path in RUNS.iterdir() if (found := re.fullmatch(re.escape(stem) + r"-(\d+)", path.name))]
        path = RUNS / f"{stem}-{max(taken, default=0) + 1}"
        with disk(path):
            try:
                path.mkdir()
            except FileExistsError:  # another process took the number
                continue
        _hold(path)
        _mark(path)
        return path


def _mark(path: Path) -> None:
    """Say of a folder that is claimed that ftp fills it, and make it last."""
    with disk(path):
        if marker.read(path) is None:
            marker.create(path)
        sync_folder(path.parent)


def run_id(folder: Path) -> str | None:
    """The id of a run, from the marker of its folder."""
    mark = marker.read(folder)
    return mark.id if mark is not None else None


def release(folder: Path) -> None:
    """Let go of a folder that `claim` gave; harmless when it is not held."""
    held = _held.pop(folder.resolve(), None)
    if held is not None:
        with contextlib.suppress(OSError):
            (folder / CLAIM).unlink()
        held.close()


def holds_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return any((folder / name).exists() for name in (RECIPE, FACTS, LOG, SCORES))


def _claim_existing(out: Path | None, notes: list[str] | None) -> Path:
    if out is None:
        raise UserError("no folder to resume is named", command="ftp runs")
    path = out.expanduser()
    if not (path / RECIPE).is_file():
        what = "there is no such folder" if not path.exists() else f"there is no {RECIPE} in it, so it is not a run's folder"
        raise UserError(f"--resume {path}: {what}", "name the folder of a run", "ftp runs")
    if Folder(path).read_facts().get("status") == "finished":
        _check_completable(path, notes)
    _hold(path)
    if marker.read(path) is None and (known := Folder(path).read_facts().get("id")):
        marker.create(path, id=str(known))
        if notes is not None:
            notes.append(f"{marker.NAME} is missing or damaged: it is made again; what the run wrote before is not listed in it")
    _remove_parts(path)
    return path


def _remove_parts(path: Path) -> None:
    """Remove what killed writes of ftp left half written in a marked folder (see `write_text`)."""
    mark = marker.read(path)
    if mark is None:
        return
    for name in (*mark.files, marker.NAME):
        target = path / name
        if name.endswith("/") or not marker.is_inside(path, target):
            continue
        for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
            if part.name.split(".")[-2].isdigit():  # the id of the process that wrote it
                with contextlib.suppress(OSError):
                    part.unlink()


def _check_completable(path: Path, notes: list[str] | None) -> None:
    """Let a finished run be resumed only where some of what it wrote is gone, and a checkpoint is there to make it from."""
    missing = [*damaged_model_files(path), *damaged_results(path)]
    if missing and any((path / CHECKPOINTS).glob("step-*")):
        if notes is not None:
            notes.append(f"this run was finished, but {', '.join(missing)} is missing or damaged: it is made again from the "
                         "checkpoints")
        return
    if missing:
        raise UserError(f"--resume {path}: this run is finished, but {', '.join(missing)} is missing or damaged, and no "
                        "checkpoint is left to make it from", "repeat the run", f"ftp run {path / RECIPE} --out {path}-anew")
    if Folder(path).read_recipe().get("report", True) and not (path / REPORT).is_file():
        raise UserError(f"--resume {path}: this run is finished, but its {REPORT} is missing", "write it", f"ftp report {path}")
    raise UserError(f"--resume {path}: this run is finished", f"to train anew: ftp run {path / RECIPE}",
                    f'ftp predict {path} "a text"')


def damaged_model_files(path: Path) -> list[str]:
    """The files of a finished run's model/ that are gone or cut off, and weights whose content changed. Its card (README.md) is
    the user's to edit."""
    facts = Folder(path).read_facts()
    damaged = []
    for name, size in facts.get("model_files", {}).items():
        file = path / name
        if not file.is_file() or (file.stat().st_size != size and file.name != CARD):
            damaged.append(name)
    return damaged + [name for name in contents.changed_weights(path, facts.get("weights", {})) if name not in damaged]


def damaged_results(path: Path) -> list[str]:
    """The scores, verdicts, predictions and the like of a finished run that are gone or cannot be read."""
    mark = marker.read(path)
    damaged = []
    for name in mark.files if mark is not None else ():
        is_prediction = name.startswith(f"{PREDICTIONS}/")
        is_result = is_prediction or name in (SCORES, RISKS, DATA, EXAMPLES)
        if is_result and not contents.is_json(path / name, lines=is_prediction):
            damaged.append(name)
    return damaged


def _check_free(path: Path) -> None:
    if path.is_file():
        raise UserError(f"--out {path}: there is a file of that name", "name a folder that is new or empty")
    if not path.is_dir():
        return
    with disk(path):
        inside = {entry.name for entry in path.iterdir()} - {CLAIM}
    half_marker = re.compile(rf"\.{re.escape(marker.NAME)}\.\d+\.part")  # of a run that was killed at its first write
    if all(half_marker.fullmatch(name) for name in inside):
        return
    mark = marker.read(path)
    if not holds_run(path):
        if mark is None:
            raise UserError(f"--out {path}: the folder is not empty, and what it holds is not a run",
                            "name a folder that is new or empty")
        _check_foreign(path, mark)
        return
    if came_to_nothing(path):
        if mark is None or mark.id != Folder(path).read_facts().get("id"):
            raise UserError(f"--out {path}: the folder is not empty, and what it holds is not a run that ftp marked as its own "
                            f"({marker.NAME} is missing or of another run), so nothing in it is replaced",
                            "name a folder that is new or empty")
        _check_foreign(path, mark)
        return
    pid = holder(path)
    if pid is not None:
        raise _in_use(path, pid)
    if Folder(path).read_facts().get("status") == "finished":
        raise UserError(f"--out {path}: the folder already holds a run, which is finished", "name another with --out")
    raise UserError(f"--out {path}: the folder already holds a run", "name another with --out, or go on with that run",
                    f"ftp run --resume {path}")


def _check_foreign(path: Path, mark: marker.Marker) -> None:
    """Refuse a folder where something that ftp did not write stands where a run would write. Anything else may stay."""
    names = [name for name in WRITTEN if (path / name).is_file()]
    for folder in (TOKENIZER, MODEL, ASIDE):  # written as a whole
        names += marker.files_in(path, folder)
    names += [name for name in marker.files_in(path, PREDICTIONS) if name.endswith(".jsonl")]
    foreign = [name for name in names if not marker.lists(mark, name)]
    if foreign:
        raise UserError(Problem(f"--out {path}: a run would write over {name}, which ftp did not write",
                                "move it elsewhere, or name another folder with --out") for name in foreign)


def came_to_nothing(path: Path) -> bool:
    """Whether a folder holds a run that stopped before its first update, by a mistake in its command for example: there is
    nothing in it to go on with."""
    try:
        stopped = Folder(path).read_facts().get("status") in ("stopped", "failed")
    except UserError:
        return False
    kept = (path / MODEL).exists() or any((path / CHECKPOINTS).glob("step-*"))
    return stopped and not kept and not any(line.get("event") == "step" for line in read_log(path / LOG))


def check_writable_over(target: Path, option: str) -> None:
    """Raise `UserError` for a file that a run wrote: what a command writes must not take the place of a run's own record."""
    path = target.expanduser().absolute()
    for folder in path.parents:
        if path.exists() and marker.lists(marker.read(folder), path.relative_to(folder).as_posix()):
            raise UserError(f"{option} {target}: this is a file of the run in {folder}", "name another file")


def existing(path: Path) -> Path:
    """The folder of a run. Raises `UserError` where there is no such folder, or what it holds is no run."""
    if (path / RECIPE).is_file():
        return path
    what = f"there is no {RECIPE} in it, so it is not a run's folder" if path.exists() else "there is no such folder"
    raise UserError(f"{path}: {what}", "name the folder of a run", "ftp runs")


def _hold(path: Path) -> None:
    """Lock the folder for this process. Where the file system knows no locks, the folder is used without one."""
    require_no_link(path / CLAIM)
    while True:
        with disk(path):
            file = (path / CLAIM).open("a+", encoding="utf-8")
        if not _lock(file):
            pid = _read_pid(file)
            file.close()
            raise _in_use(path, pid)
        try:
            same = os.path.samestat(os.fstat(file.fileno()), (path / CLAIM).stat())
        except OSError:
            same = False
        if same:
            break
        file.close()  # the one before us removed the file in between: take the new one
    with disk(path):
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
    _held[path.resolve()] = file


def holder(path: Path) -> str | None:
    """The process id of whoever holds a folder, `?` when that cannot be read, or None when nobody does."""
    try:
        file = (path / CLAIM).open("r+", encoding="utf-8")
    except OSError:
        return None
    with file:
        return None if _lock(file) else _read_pid(file)


def _read_pid(file: IO[str]) -> str:
    try:
        file.seek(0)
        return file.read(20).strip() or "?"
    except OSError:
        return "?"


def _in_use(path: Path, pid: str) -> UserError:
    return UserError(f"{path}: another run is working in this folder (process {pid})",
                     "wait for it, or name another folder with --out")


def _lock(file: IO[str]) -> bool:
    """Whether this process now holds the file's lock (True also where the file system has no locks)."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(1000)  # beyond the text, which stays readable
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True


@dataclass(frozen=True)
class Folder:
    """The files of one run. Every write is atomic: beside the place, to the disk, then renamed."""

    path: Path

    def write_recipe(self, text: str) -> None:
        """run.toml: the fully resolved recipe."""
        self._write(RECIPE, text)

    def write_began(self, text: str) -> None:
        """began.toml: the recipe that the run began with."""
        self._write(BEGAN, text)

    def write_lock(self, plugins: Sequence[Mapping[str, str]]) -> None:
        """plugins.lock: what `ftp.plugins.lock` gives, and the versions of Python and the libraries."""
        self._write_json(LOCK, {"plugins": list(plugins), "software": software()})

    def write_scores(self, scores: Iterable[Score], baselines: Iterable[Baseline]) -> None:
        """scores.json: {"scores": [{name, value, goal, split, n}], "baselines": [{baseline, name, value, split, n}]}."""
        self._write_json(SCORES, {"scores": list(scores), "baselines": list(baselines)})

    def write_risks(self, risks: Iterable[Risk]) -> None:
        """risks.json: a list of {name, level, stage, finding, evidence, advice}."""
        self._write_json(RISKS, [
            {"name": one.name, "level": one.level, "stage": one.stage, "finding": one.finding, "evidence": one.evidence,
             "advice": one.advice} for one in risks])

    def write_data(self, splits: Mapping[str, Any]) -> None:
        """data.json: what `ftp.report.keep.shape` says of each split: rows, their lengths in tokens, classes."""
        self._write_json(DATA, splits)

    def write_inputs(self, hashes: Mapping[str, Mapping[str, str]]) -> None:
        """inputs.json: {"rows": {split: hash}, "model": {file: hash}}; see `ftp.runs.inputs`."""
        self._write_json(INPUTS, hashes)

    def write_examples(self, examples: Sequence[Mapping[str, Any]]) -> None:
        """examples.json: held-out rows that went wrong, with their text; see `ftp.report.keep.examples`."""
        self._write_json(EXAMPLES, examples)

    def write_predictions(self, split: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """predictions/<split>.jsonl: one line a held-out row, {row, loss, answer, [label], [scores]}, without its text."""
        with disk(self.path / PREDICTIONS):
            (self.path / PREDICTIONS).mkdir(exist_ok=True)
        self._write(f"{PREDICTIONS}/{split}.jsonl", "".join(
            json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows))

    def model_aside(self) -> Path:
        """Where the model is saved first: it is model/ only once it was verified, so that no other is ever used by mistake.

        Raises:
            UserError: where something of that name is there which ftp did not make.
        """
        aside = self.path / ASIDE
        is_there = aside.is_symlink() or aside.exists()
        if is_there and (aside.is_symlink() or not marker.lists(marker.read(self.path), f"{ASIDE}/")):
            raise UserError(f"{aside}: nothing says that ftp made this, and the model is saved there first", "move it elsewhere",
                            f"ftp run --resume {self.path}")
        with disk(aside):
            if is_there:  # of a run that was killed here
                shutil.rmtree(aside)
            for scratch in self.path.glob(".verify-*"):  # likewise
                _remove_scratch(scratch)
            marker.add(self.path, [f"{ASIDE}/"])
        return aside

    def put_model(self) -> dict[str, int]:
        """Make what was saved aside model/, once all of it is on the disk. Gives its files and their sizes in bytes."""
        model, aside = self.path / MODEL, self.path / ASIDE
        with disk(model):
            names = [name.replace(ASIDE, MODEL, 1) for name in marker.files_in(self.path, ASIDE)]
            sync_tree(aside)
            mark = marker.read(self.path)
            marker.add(self.path, names)
            if model.exists():  # of a run that ended, by a verdict, and was resumed
                model.rename(free_name(self.path / REPLACED))
            aside.rename(model)
            sync_folder(self.path)
            for before in sorted(self.path.glob(f"{REPLACED}*")):  # one that a kill left behind among them
                _keep_foreign(mark, before, model)
        return {name: (self.path / name).stat().st_size for name in names}

    def write_report(self, page: str) -> Path:
        """report.html. Raises `UserError` where a file of that name is somebody else's."""
        path = self.path / REPORT
        mark = marker.read(self.path)
        if mark is not None and path.exists() and not marker.lists(mark, REPORT):
            raise UserError(f"{path}: ftp did not write this file, and does not write over it",
                            "move it elsewhere, or name another file", f"ftp report {self.path} --out report.html")
        self._write(REPORT, page)
        return path

    def write_facts(self, **facts: Any) -> None:
        """run.json: small facts, added to those already there (`status`: running, finished, stopped or failed)."""
        self._write_json(FACTS, {**self.read_facts(), **facts})

    def read_recipe(self) -> dict[str, Any]:
        """The recipe as nested tables. Raises `UserError` where there is none."""
        from ftp.options import read_recipe

        return read_recipe(self.path / RECIPE)

    def read_facts(self) -> dict[str, Any]:
        """The facts of run.json; empty where there is none yet."""
        facts = dict(self._read(FACTS, {}))
        for name, kind in FACT_TYPES.items():
            if not isinstance(facts.get(name, kind()), kind):
                raise _damaged(self.path / FACTS, f"{name} is {type(facts[name]).__name__}")
        return facts

    def read_lock(self) -> dict[str, Any]:
        """What the run was made with: {"plugins": [...], "software": {...}}."""
        lock = {"plugins": [], "software": {}, **self._read(LOCK, {})}
        plugins = _tables(self.path / LOCK, lock["plugins"], "name")
        if any(not isinstance(plugin["name"], str) for plugin in plugins):
            raise _damaged(self.path / LOCK, "the name of a plugin is no text")
        if not isinstance(lock["software"], dict):
            raise _damaged(self.path / LOCK, f"software is {type(lock['software']).__name__}")
        return {**lock, "plugins": plugins}

    def read_scores(self) -> tuple[list[Score], list[Baseline]]:
        """Scores and baselines; NaN where a value was not finite."""
        path = self.path / SCORES
        found = {"scores": [], "baselines": [], **self._read(SCORES, {})}
        scores = _tables(path, found["scores"], "name", "value", fields=Score)
        baselines = _tables(path, found["baselines"], "baseline", "name", "value", fields=Baseline)
        return [Score(**_number(one)) for one in scores], [Baseline(**_number(one)) for one in baselines]

    def read_risks(self) -> list[Risk]:
        """The verdicts of the run."""
        path = self.path / RISKS
        risks = _tables(path, self._read(RISKS, []), "name", "level", "finding", fields=Risk)
        if any(not isinstance(risk.get("advice", []), list) for risk in risks):
            raise _damaged(path, "advice is no list")
        return [Risk(**{**risk, "advice": tuple(risk.get("advice", ()))}) for risk in risks]

    def read_log(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl."""
        return read_log(self.path / LOG)

    def read_data(self) -> dict[str, Any]:
        """What data.json says of each split; empty where there is none."""
        splits = dict(self._read(DATA, {}))
        _tables(self.path / DATA, list(splits.values()))
        return splits

    def read_inputs(self) -> dict[str, dict[str, str]]:
        """Hashes of what the run was made from; empty where there are none."""
        return dict(self._read(INPUTS, {}))

    def read_examples(self) -> list[dict[str, Any]]:
        """Held-out rows that went wrong; empty where none were kept."""
        return _tables(self.path / EXAMPLES, self._read(EXAMPLES, []), "split", "row", "loss", "answer", "parts")

    def read_predictions(self) -> dict[str, list[dict[str, Any]]]:
        """The answers to held-out rows by split; empty where none were kept."""
        return {path.stem: read_log(path) for path in sorted((self.path / PREDICTIONS).glob("*.jsonl"))}

    def changed(self, plugins: Sequence[Mapping[str, str]]) -> list[str]:
        """How plugins and libraries differ from those that this run was started with, one line a difference. A resume
        repeats the run exactly only where there is none."""
        before = self.read_lock()
        old = {one["name"]: one for one in before["plugins"]}
        new = {one["name"]: one for one in plugins}
        lines = []
        for name in dict.fromkeys([*old, *new]):
            if name not in old or name not in new:
                lines.append(f"plugin {name} was {'added' if name in new else 'left out'}")
            elif any(old[name].get(key) != new[name].get(key) for key in ("distribution", "version", "sha256")):
                was, now = old[name].get("version", "?"), new[name].get("version", "?")
                changed = f"changed: {was} -> {now}" if was != now else f"{now}: its source changed"
                lines.append(f"plugin {name} {changed}")
        software_now = software()
        for name, version in before["software"].items():
            if software_now.get(name) != version:
                lines.append(f"{name} changed: {version} -> {software_now.get(name, 'not installed')}")
        return lines

    def _write(self, name: str, text: str) -> None:
        """Write a file of the folder, and list it as one of ftp's."""
        if "/" in name:
            require_no_link((self.path / name).parent)
        marker.add(self.path, [name])
        write_text(self.path / name, text)

    def _write_json(self, name: str, value: Any) -> None:
        marker.add(self.path, [name])
        write_json(self.path / name, value)

    def _read(self, name: str, otherwise: Any) -> Any:
        path = self.path / name
        if not path.exists():
            return otherwise
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise _damaged(path, str(error)) from error
        if not isinstance(value, type(otherwise)):
            raise _damaged(path, f"it holds a value of type {type(value).__name__}")
        return value


@contextlib.contextmanager
def damage_in_words(what: str) -> Iterator[None]:
    """Turn what is raised while values of a run folder are shown into a `UserError`: files of any content end in words.

    Args:
        what: the folder or folders, as the message calls them.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: the files hold what no run writes ({type(error).__name__}: {error})",
                        "the run's folder is damaged") from error


def _tables(path: Path, value: Any, *names: str, fields: type | None = None) -> list[dict[str, Any]]:
    """A list of tables that have these names, and none but those of `fields`, or `UserError` that the file is damaged."""
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise _damaged(path, "it is no list of tables")
    known = {item.name for item in dataclasses.fields(fields)} if fields is not None else set()
    for table in value:
        missing = [name for name in names if name not in table]
        unknown = sorted(set(table) - known) if known else []
        if missing:
            raise _damaged(path, f"a table in it has no {missing[0]}")
        if unknown:
            raise _damaged(path, f"a table in it has {unknown[0]}, which is unknown")
    return value


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path}: cannot be read ({why})",
                     "the file is damaged: put it back, or move it away to go on without what it says")


def software() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a run's numbers; imports none of them."""
    from importlib import metadata

    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _remove_scratch(folder: Path) -> None:
    """Remove what a proof that was killed left behind (see `ftp.model.proof`); files of other names stay, with the folder."""
    for name in SCRATCH_FILES:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    with contextlib.suppress(OSError):  # something of somebody else is in it
        folder.rmdir()


def _keep_foreign(mark: marker.Marker | None, before: Path, model: Path) -> None:
    """Remove a model that was replaced. Files that ftp did not put there move into the new one, or stay where its own have
    their names. Of a link only the link goes: what it points to was laid elsewhere on purpose."""
    if before.is_symlink():
        before.unlink()
        return
    for path in sorted(before.rglob("*"), reverse=True):  # files before the folders that hold them
        inside = path.relative_to(before)
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):  # something stays in it
                path.rmdir()
        elif marker.lists(mark, f"{MODEL}/{inside.as_posix()}"):
            path.unlink()
        elif not (model / inside).exists():
            (model / inside).parent.mkdir(parents=True, exist_ok=True)
            path.rename(model / inside)
    with contextlib.suppress(OSError):
        before.rmdir()


def free_name(path: Path) -> Path:
    """The path, or one like it that nothing has yet."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _number(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "value": math.nan if one.get("value") is None else float(one["value"])}
