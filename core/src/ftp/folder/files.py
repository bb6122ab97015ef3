"""The files of a run, read and written. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftp.errors import UserError
from ftp.folder import marker
from ftp.folder.log import read_log
from ftp.folder.paths import (
    ASIDE,
    BEGAN,
    DATA,
    EXAMPLES,
    FACTS,
    INPUTS,
    LOCK,
    LOG,
    MODEL,
    PREDICTIONS,
    RECIPE,
    REPLACED,
    REPORT,
    RISKS,
    SCORES,
    SCRATCH_FILES,
)
from ftp.folder.writing import damaged, plain, require_no_link, sync_folder, sync_tree, write_json, write_text
from ftp.host.faults import disk
from ftp.types import Baseline, Risk, Score

FACT_TYPES = {"status": str, "changes": list, "resumes": list, "model_files": dict, "weights": dict, "labels": list,
              "checks": dict, "plugins": list}
"""Of the facts of run.json that have parts, or decide what happens to a folder."""
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "peft", "trl", "tokenizers", "safetensors", "numpy",
            "scikit-learn", "pluggy")


def free_name(path: Path) -> Path:
    """The path, or one like it that nothing has yet."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


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
        """plugins.lock: what `ftp.plugins.lock.lock` gives, and the versions of Python and the libraries."""
        self._write_json(LOCK, {"plugins": list(plugins), "software": software()})

    def write_scores(self, scores: Iterable[Score], baselines: Iterable[Baseline]) -> None:
        """scores.json: {"scores": [{name, value, goal, split, n}], "baselines": [{baseline, name, value, split, n}]}."""
        self._write_json(SCORES, {"scores": list(scores), "baselines": list(baselines)})

    def write_risks(self, risks: Iterable[Risk]) -> None:
        """risks.json: a list of {name, level, stage, finding, evidence, advice}."""
        verdicts = []
        for risk in risks:
            verdicts.append({
                "name": risk.name, "level": risk.level, "stage": risk.stage, "finding": risk.finding,
                "evidence": risk.evidence, "advice": risk.advice,
            })
        self._write_json(RISKS, verdicts)

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
        lines = [json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
        self._write(f"{PREDICTIONS}/{split}.jsonl", "".join(lines))

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
        model = self.path / MODEL
        aside = self.path / ASIDE
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
                raise damaged(self.path / FACTS, f"{name} is {type(facts[name]).__name__}")
        return facts

    def read_lock(self) -> dict[str, Any]:
        """What the run was made with: {"plugins": [...], "software": {...}}."""
        lock = {"plugins": [], "software": {}, **self._read(LOCK, {})}
        plugins = _tables(self.path / LOCK, lock["plugins"], "name")
        if any(not isinstance(plugin["name"], str) for plugin in plugins):
            raise damaged(self.path / LOCK, "the name of a plugin is no text")
        if not isinstance(lock["software"], dict):
            raise damaged(self.path / LOCK, f"software is {type(lock['software']).__name__}")
        return {**lock, "plugins": plugins}

    def read_scores(self) -> tuple[list[Score], list[Baseline]]:
        """Scores and baselines; NaN where a value was not finite."""
        path = self.path / SCORES
        values = {"scores": [], "baselines": [], **self._read(SCORES, {})}
        score_tables = _tables(path, values["scores"], "name", "value", fields=Score)
        baseline_tables = _tables(path, values["baselines"], "baseline", "name", "value", fields=Baseline)
        scores = [Score(**_with_number(table)) for table in score_tables]
        baselines = [Baseline(**_with_number(table)) for table in baseline_tables]
        return scores, baselines

    def read_risks(self) -> list[Risk]:
        """The verdicts of the run."""
        path = self.path / RISKS
        risks = _tables(path, self._read(RISKS, []), "name", "level", "finding", fields=Risk)
        if any(not isinstance(risk.get("advice", []), list) for risk in risks):
            raise damaged(path, "advice is no list")
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
        old = {plugin["name"]: plugin for plugin in before["plugins"]}
        new = {plugin["name"]: plugin for plugin in plugins}
        lines = []
        for name in dict.fromkeys([*old, *new]):
            if name not in old or name not in new:
                lines.append(f"plugin {name} was {'added' if name in new else 'left out'}")
            elif any(old[name].get(key) != new[name].get(key) for key in ("distribution", "version", "sha256")):
                was = old[name].get("version", "?")
                now = new[name].get("version", "?")
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
        """Write a value as a file of the folder, and list it as one of ftp's."""
        marker.add(self.path, [name])
        write_json(self.path / name, value)

    def _read(self, name: str, otherwise: Any) -> Any:
        """What a JSON file of the folder holds, or `otherwise` where there is none; its type is that of `otherwise`."""
        path = self.path / name
        if not path.exists():
            return otherwise
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise damaged(path, str(error)) from error
        if not isinstance(value, type(otherwise)):
            raise damaged(path, f"it holds a value of type {type(value).__name__}")
        return value


def _tables(path: Path, value: Any, *names: str, fields: type | None = None) -> list[dict[str, Any]]:
    """A list of tables that have these names, and none but those of `fields`, or `UserError` that the file is damaged."""
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise damaged(path, "it is no list of tables")
    known = {item.name for item in dataclasses.fields(fields)} if fields is not None else set()
    for table in value:
        missing = [name for name in names if name not in table]
        unknown = sorted(set(table) - known) if known else []
        if missing:
            raise damaged(path, f"a table in it has no {missing[0]}")
        if unknown:
            raise damaged(path, f"a table in it has {unknown[0]}, which is unknown")
    return value


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


def _with_number(table: Mapping[str, Any]) -> dict[str, Any]:
    value = table.get("value")
    return {**table, "value": math.nan if value is None else float(value)}


def run_id(folder: Path) -> str | None:
    """The id of a run, from the marker of its folder."""
    mark = marker.read(folder)
    return mark.id if mark is not None else None


def identity(out: Path) -> dict[str, str]:
    """Which run and which recipe a checkpoint is of: the id of the folder's marker, and the hash of the recipe in force."""
    facts = Folder(out).read_facts()
    known = {"run": run_id(out), "recipe": facts.get("recipe")}
    return {name: str(value) for name, value in known.items() if value}
