"""The files of a run, read and written. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftp.errors import UserError
from ftp.folder import marker, saved_model, versions
from ftp.folder.json_files import Example, Facts, Lock, PredictionLine, SplitShape
from ftp.folder.log import LogLine, read_lines, read_log
from ftp.folder.paths import (
    BEGAN,
    DATA,
    EXAMPLES,
    FACTS,
    INPUTS,
    LOCK,
    LOG,
    PREDICTIONS,
    RECIPE,
    REPORT,
    RISKS,
    SCORES,
)
from ftp.folder.writing import (
    damaged,
    plain,
    require_no_link,
    write_json,
    write_text,
)
from ftp.host.faults import disk
from ftp.types import Baseline, Risk, Score

FACT_TYPES = {
    "status": str,
    "changes": list,
    "resumes": list,
    "model_files": dict,
    "weights": dict,
    "labels": list,
    "checks": dict,
    "plugins": list,
}
"""Of the facts of run.json that have parts, or decide what happens to a folder."""


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
        """plugins.lock: what `ftp.plugins.lock.lock` gives, and the versions of libraries."""
        self._write_json(LOCK, {"plugins": list(plugins), "software": versions.software()})

    def write_scores(self, scores: Iterable[Score], baselines: Iterable[Baseline]) -> None:
        """scores.json: the scores and baselines, each with its fields as a table."""
        self._write_json(SCORES, {"scores": list(scores), "baselines": list(baselines)})

    def write_risks(self, risks: Iterable[Risk]) -> None:
        """risks.json: a list of {name, level, stage, finding, evidence, advice}."""
        verdicts = []
        for risk in risks:
            verdicts.append(
                {
                    "name": risk.name,
                    "level": risk.level,
                    "stage": risk.stage,
                    "finding": risk.finding,
                    "evidence": risk.evidence,
                    "advice": risk.advice,
                }
            )
        self._write_json(RISKS, verdicts)

    def write_data(self, splits: Mapping[str, SplitShape]) -> None:
        """data.json: rows, lengths and classes of each split (`ftp.report.keep.shape`)."""
        self._write_json(DATA, splits)

    def write_inputs(self, hashes: Mapping[str, Mapping[str, str]]) -> None:
        """inputs.json: {"rows": {split: hash}, "model": {file: hash}}; see `ftp.runs.inputs`."""
        self._write_json(INPUTS, hashes)

    def write_examples(self, examples: Sequence[Example]) -> None:
        """examples.json: held-out rows that went wrong, with text (`ftp.report.keep.examples`)."""
        self._write_json(EXAMPLES, examples)

    def write_predictions(self, split: str, rows: Iterable[PredictionLine]) -> None:
        """predictions/<split>.jsonl: a line a held-out row (`ftp.report.keep.answers`)."""
        with disk(self.path / PREDICTIONS):
            (self.path / PREDICTIONS).mkdir(exist_ok=True)
        lines = [json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
        self._write(f"{PREDICTIONS}/{split}.jsonl", "".join(lines))

    def model_aside(self) -> Path:
        """The folder to save the model in first: see `ftp.folder.saved_model`."""
        return saved_model.prepare_aside(self.path)

    def put_model(self) -> dict[str, int]:
        """Make what was saved aside model/. Gives its files and their sizes in bytes."""
        return saved_model.put_in_place(self.path)

    def write_report(self, page: str) -> Path:
        """report.html. Raises `UserError` where a file of that name is somebody else's."""
        path = self.path / REPORT
        mark = marker.read(self.path)
        if mark is not None and path.exists() and not marker.lists(mark, REPORT):
            raise UserError(
                f"{path}: ftp did not write this file, and does not write over it",
                "move it elsewhere, or name another file",
                f"ftp report {self.path} --out report.html",
            )
        self._write(REPORT, page)
        return path

    def write_facts(self, **facts: object) -> None:
        """run.json: small facts, added to those already there.

        Args:
            facts: `status` is running, finished, stopped or failed.
        """
        self._write_json(FACTS, {**self.read_facts(), **facts})

    def read_recipe(self) -> dict[str, Any]:
        """The recipe as nested tables. Raises `UserError` where there is none."""
        from ftp.options import read_recipe

        return read_recipe(self.path / RECIPE)

    def read_facts(self) -> Facts:
        """The facts of run.json; empty where there is none yet.

        Raises:
            UserError: the file is damaged, or a fact of `FACT_TYPES` is of another type.
        """
        facts: Facts = self._read(FACTS, {})
        for name, kind in FACT_TYPES.items():
            value = facts.get(name, kind())
            if not isinstance(value, kind):
                raise damaged(self.path / FACTS, f"{name} is {type(value).__name__}")
        return facts

    def read_lock(self) -> Lock:
        """What the run was made with; empty where that is not known."""
        path = self.path / LOCK
        content = self._read(LOCK, {})
        lock = Lock(plugins=content.get("plugins", []), software=content.get("software", {}))
        _check_tables(path, lock["plugins"], "name")
        if any(not isinstance(plugin["name"], str) for plugin in lock["plugins"]):
            raise damaged(path, "the name of a plugin is no text")
        if not isinstance(lock["software"], dict):
            raise damaged(path, f"software is {type(lock['software']).__name__}")
        return lock

    def read_scores(self) -> tuple[list[Score], list[Baseline]]:
        """Scores and baselines; NaN where a value was not finite."""
        path = self.path / SCORES
        content = self._read(SCORES, {})
        score_tables = content.get("scores", [])
        baseline_tables = content.get("baselines", [])
        _check_tables(path, score_tables, "name", "value", fields=Score)
        _check_tables(path, baseline_tables, "baseline", "name", "value", fields=Baseline)
        scores = [Score(**_with_number(table)) for table in score_tables]
        baselines = [Baseline(**_with_number(table)) for table in baseline_tables]
        return scores, baselines

    def read_risks(self) -> list[Risk]:
        """The verdicts of the run."""
        path = self.path / RISKS
        risks = self._read(RISKS, [])
        _check_tables(path, risks, "name", "level", "finding", fields=Risk)
        if any(not isinstance(risk.get("advice", []), list) for risk in risks):
            raise damaged(path, "advice is no list")
        return [Risk(**{**risk, "advice": tuple(risk.get("advice", ()))}) for risk in risks]

    def read_log(self) -> list[LogLine]:
        """The lines of log.jsonl."""
        return read_log(self.path / LOG)

    def read_data(self) -> dict[str, SplitShape]:
        """What data.json says of each split; empty where there is none."""
        splits: dict[str, SplitShape] = self._read(DATA, {})
        _check_tables(self.path / DATA, list(splits.values()))
        return splits

    def read_inputs(self) -> dict[str, dict[str, str]]:
        """Hashes of what the run was made from; empty where there are none."""
        return dict(self._read(INPUTS, {}))

    def read_examples(self) -> list[Example]:
        """Held-out rows that went wrong; empty where none were kept."""
        examples: list[Example] = self._read(EXAMPLES, [])
        _check_tables(self.path / EXAMPLES, examples, "split", "row", "loss", "answer", "parts")
        return examples

    def read_predictions(self) -> dict[str, list[PredictionLine]]:
        """The answers to held-out rows by split; empty where none were kept."""
        paths = sorted((self.path / PREDICTIONS).glob("*.jsonl"))
        return {path.stem: read_lines(path) for path in paths}

    def changed(self, plugins: Sequence[Mapping[str, str]]) -> list[str]:
        """How plugins and libraries differ from those that the run was started with, a line each.

        A resume repeats the run exactly only where there is none.
        """
        return versions.differences(self.read_lock(), plugins)

    def _write(self, name: str, text: str) -> None:
        """Write a file of the folder, and list it as one of ftp's."""
        if "/" in name:
            require_no_link((self.path / name).parent)
        marker.add(self.path, [name])
        write_text(self.path / name, text)

    def _write_json(self, name: str, value: object) -> None:
        """Write a value as a file of the folder, and list it as one of ftp's."""
        marker.add(self.path, [name])
        write_json(self.path / name, value)

    def _read(self, name: str, otherwise: object) -> Any:
        """What a JSON file of the folder holds, or `otherwise` where there is none.

        Raises:
            UserError: the file is damaged, or its value has another type than `otherwise`.
        """
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


def _check_tables(path: Path, value: object, *names: str, fields: type | None = None) -> None:
    """Check that a value of a JSON file is a list of tables.

    Args:
        names: names that every table must have.
        fields: a dataclass with all names that a table may have; None: any.

    Raises:
        UserError: the file is damaged.
    """
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise damaged(path, "it is no list of tables")
    allowed = set[str]()
    if fields is not None:
        allowed = {item.name for item in dataclasses.fields(fields)}
    for table in value:
        missing = [name for name in names if name not in table]
        unknown = sorted(set(table) - allowed) if allowed else []
        if missing:
            raise damaged(path, f"a table in it has no {missing[0]}")
        if unknown:
            raise damaged(path, f"a table in it has {unknown[0]}, which is unknown")


def _with_number(table: dict[str, Any]) -> dict[str, Any]:
    """A score's table with NaN for null, by which a value that is not finite was written."""
    value = table.get("value")
    return {**table, "value": math.nan if value is None else float(value)}


def run_id(folder: Path) -> str | None:
    """The id of a run, from the marker of its folder."""
    mark = marker.read(folder)
    return mark.id if mark is not None else None


def identity(out: Path) -> dict[str, str]:
    """Which run and which recipe a checkpoint is of.

    The run by the id of its folder's marker, the recipe by the hash of the one in force.
    """
    ids = {"run": run_id(out), "recipe": Folder(out).read_facts().get("recipe")}
    return {name: str(value) for name, value in ids.items() if value}
