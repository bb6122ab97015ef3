"""Finished and unfinished runs under a folder, for listing and comparing.

This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ftp.answers.fields import instance
from ftp.answers.kinds import NUMBER_OR_NONE, TEXT, TEXTS, Kind
from ftp.errors import UserError
from ftp.folder import claim, paths, state, writing
from ftp.folder.files import Folder
from ftp.folder.json_files import Facts
from ftp.types import Baseline, Risk, Score


@dataclass(frozen=True)
class Summary:
    """One run as its folder tells it.

    `broken`: why its files, which are named, cannot be read, else empty.
    """

    path: Path
    status: str = "?"
    plugins: tuple[str, ...] = ()
    scores: tuple[Score, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    risks: tuple[Risk, ...] = ()
    facts: Facts = field(default_factory=Facts)
    broken: str = ""

    @property
    def seconds(self) -> float | None:
        """Seconds of training."""
        return self.facts.get("seconds")

    @property
    def trained(self) -> int | None:
        """Trainable parameters."""
        return self.facts.get("trained")

    @property
    def held_out(self) -> dict[str, Score]:
        """Scores by name on the split that tells most: test, else validation, else another one.

        Never train; general text only where there is nothing else.
        """
        splits = {score.split for score in self.scores} - {"train"}
        if not splits:
            return {}
        rank = {"test": 0, "validation": 1, "general": 3}  # any other: 2
        best = min(splits, key=lambda split: (rank.get(split, 2), split))
        return {score.name: score for score in self.scores if score.split == best}

    def as_json(self) -> dict[str, object]:
        """Everything of it, as JSON can say it."""
        values: dict[str, object] = {
            "run": self.path,
            "status": self.status,
            "plugins": self.plugins,
            "scores": self.scores,
            "baselines": self.baselines,
            "risks": {risk.name: risk.level for risk in self.risks},
            "facts": self.facts,
        }
        if self.broken:
            values["broken"] = self.broken
        return writing.plain(values)


def read(path: Path) -> Summary:
    """One run. A folder whose files are damaged is listed as such, whatever is in them."""
    folder = Folder(path)
    try:
        facts = folder.read_facts()
        status = str(facts.get("status", "?"))
        if status == "running" and claim.holder(path) is None:
            status = "broken off"  # nobody holds the folder: its process is gone
        plugins = folder.read_recipe().get("plugins", ()) if (path / paths.RECIPE).exists() else ()
        scores, baselines = folder.read_scores()
        risks = folder.read_risks()
        _check(path, facts, plugins, scores, baselines, risks)
        return Summary(
            path, status, tuple(plugins), tuple(scores), tuple(baselines), tuple(risks), facts
        )
    except UserError as error:
        return Summary(path, "damaged", broken=str(error))
    except Exception as error:  # files of any content must not keep other runs from being listed
        return Summary(
            path,
            "damaged",
            broken=f"{path}: its files cannot be read ({type(error).__name__}: {error})",
        )


def _check(
    path: Path,
    facts: Facts,
    plugins: object,
    scores: Sequence[Score],
    baselines: Sequence[Baseline],
    risks: Sequence[Risk],
) -> None:
    """Check the values that are shown and compared later.

    Raises:
        UserError: some are of a kind that no run writes.
    """
    parts: list[tuple[str, object, Kind]] = [
        (paths.RECIPE, plugins, TEXTS),
        (paths.FACTS, facts.get("seconds"), NUMBER_OR_NONE),
        (paths.FACTS, facts.get("trained"), NUMBER_OR_NONE),
    ]
    for baseline in baselines:
        parts += [(paths.SCORES, baseline.name, TEXT), (paths.SCORES, baseline.baseline, TEXT)]
    wrong = []
    for name, value, kind in parts:
        if not kind.holds(value):
            wrong.append(f"{name} holds {value!r:.40} where {kind.words} belongs")
    checked_risks = []
    for risk in risks:
        # another version may know a level that this one does not: the gate fails it by its name
        has_level = isinstance(risk.level, str)
        checked_risks.append(replace(risk, level="note") if has_level else risk)
    for name, items in ((paths.SCORES, scores), (paths.RISKS, checked_risks)):
        for item in items:
            mismatch = instance(type(item))(item)
            if mismatch is not None:
                wrong.append(f"{name} holds {mismatch.actual}, not {mismatch.right}")
    if wrong:
        raise UserError(f"{path}: {'; '.join(dict.fromkeys(wrong))}", "the run's folder is damaged")


def find(folder: Path) -> list[Summary]:
    """The runs in a folder (or the folder itself, where it is a run), the newest last.

    Raises `UserError` when there is no such folder, or when it cannot be listed.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: there is no such folder",
            "runs are made by ftp run",
            "ftp run --plugins lora,sentiment",
        )
    if state.holds_run(folder):
        return [read(folder)]
    try:
        inside = list(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"{folder}: this folder cannot be listed ({error.strerror})",
            "name one that you may read",
        ) from None
    # the name settles which comes first of runs that began in one second
    folders = sorted(filter(_is_run, inside), key=lambda path: (_begun(path), path.name))
    return [read(path) for path in folders]


def _is_run(path: Path) -> bool:
    """Whether a path is a run's folder; one that may not be looked into is none."""
    try:
        return path.is_dir() and state.holds_run(path)
    except OSError:
        return False


def columns(runs: Sequence[Summary], most: int = 4) -> tuple[list[str], int]:
    """Names of the scores to compare, those of most runs first, and how many more there are."""
    counts: dict[str, int] = {}
    for run in runs:
        for name in run.held_out:
            counts[name] = counts.get(name, 0) + 1
    names = sorted(counts, key=lambda name: (-counts[name], name == "loss"))
    return names[:most], max(0, len(names) - most)


def _begun(path: Path) -> float:
    """When a run began, as seconds since 1970."""
    recipe = path / paths.RECIPE
    return recipe.stat().st_mtime if recipe.exists() else path.stat().st_mtime
