"""A run folder as what the page tells. Reads files and computes; draws nothing.

This module imports nothing heavy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ftp import heads
from ftp.errors import UserError
from ftp.folder import listing, paths, state
from ftp.folder.files import Folder
from ftp.folder.json_files import Example, Lock, PredictionLine, SplitShape
from ftp.report.curves import Chart, draw_charts, is_number
from ftp.report.outcome import by_severity
from ftp.types import Risk

BINS = 10
"""Bins of the confidence of answers, each of one width (Guo et al. 2017, section 2, take 15)."""


@dataclass(frozen=True)
class Confusion:
    """Rows by true class and answer: `counts[true][answer]`.

    `mixed`: the pairs that are mixed up most, as (true, answer, rows).
    """

    split: str
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]
    mixed: Sequence[tuple[str, str, int]]


@dataclass(frozen=True)
class CalibrationBin:
    """Rows with about the same confidence: its mean, the share answered right, and how many."""

    confidence: float
    accuracy: float
    num_rows: int


@dataclass(frozen=True)
class Calibration:
    """How often the model is right where it is sure.

    `bins`: only those with rows. `error`: expected calibration error (Guo et al. 2017,
    arXiv:1706.04599, section 2): mean distance of confidence and accuracy, weighted by rows.
    """

    split: str
    bins: Sequence[CalibrationBin]
    error: float


@dataclass(frozen=True)
class Change:
    """One number before and after the run, as a check's evidence has it."""

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Story:
    """All that the page tells of a run."""

    path: Path
    summary: listing.Summary
    risks: Sequence[Risk]
    charts: Sequence[Chart]
    confusion: Confusion | None
    calibration: Calibration | None
    changes: Mapping[str, Sequence[Change]]
    examples: Sequence[Example]
    data: Mapping[str, SplitShape]
    lock: Lock
    recipe: str
    notes: Sequence[str] = field(default=())

    @property
    def name(self) -> str:
        """The last part of its folder's path."""
        return self.path.resolve().name

    @property
    def best_step(self) -> int | None:
        """The update whose weights the run kept."""
        return self.summary.facts.get("best_step")

    def about(self, check: str) -> str:
        """What a check is for, in its plugin's words; empty where the run has no such plugin."""
        for plugin in self.lock["plugins"]:
            if plugin["name"] == check:
                return str(plugin.get("summary", ""))
        return ""


def _loss_unit(head: str) -> str:
    """The unit of the loss of a run; empty where its head is of a package that is gone."""
    spec = heads.all_heads().get(head)
    return spec.loss_unit if spec is not None else ""


def read(path: Path) -> Story:
    """The story of a run folder.

    Raises:
        UserError: there is no such folder, it holds no run, or its files are damaged.
    """
    if not path.is_dir():
        raise UserError(f"{path}: there is no such folder", "name the folder of a run", "ftp runs")
    if not state.holds_run(path):
        problem = f"{path}: there is no run in this folder"
        raise UserError(problem, "name the folder of a run", "ftp runs")
    folder = Folder(path)
    summary = listing.read(path)
    if summary.broken:
        raise UserError(summary.broken)
    log = folder.read_log()
    split, answers = _pick_predictions(folder.read_predictions())
    recipe_path = path / paths.RECIPE
    return Story(
        path=path,
        summary=summary,
        risks=by_severity(summary.risks),
        charts=draw_charts(log, _loss_unit(str(summary.facts.get("head")))),
        confusion=confusion(split, answers, list(summary.facts.get("labels") or [])),
        calibration=calibration(split, answers),
        changes=_changes_of_checks(summary.risks),
        examples=folder.read_examples(),
        data=folder.read_data(),
        lock=folder.read_lock(),
        recipe=recipe_path.read_text(encoding="utf-8") if recipe_path.exists() else "",
        notes=[str(line["message"]) for line in log if line.get("event") == "told"],
    )


def _pick_predictions(predictions: Mapping[str, Sequence[PredictionLine]]) -> tuple[str, Sequence[PredictionLine]]:
    """The answers to test rows, or to validation rows where there are none of test."""
    for split in ("test", "validation"):
        if predictions.get(split):
            return split, predictions[split]
    return "", []


# --- answers ---


def confusion(split: str, lines: Sequence[PredictionLine], labels: Sequence[str]) -> Confusion | None:
    """Which classes are taken for which; None without classes."""
    if not lines or not labels or any("label" not in line for line in lines):
        return None
    pairs = Counter((line["label"], line["answer"]) for line in lines)
    table = []
    for true in labels:
        table.append([pairs[true, answer] for answer in labels])
    mixed = []
    for (true, answer), num_rows in pairs.most_common():
        if true != answer:
            mixed.append((true, str(answer), num_rows))
    return Confusion(split, labels, table, mixed)


def calibration(split: str, lines: Sequence[PredictionLine]) -> Calibration | None:
    """Confidence of the answers against how often they are right.

    None without classes and probabilities.
    """
    if not lines or any("label" not in line or not line.get("scores") for line in lines):
        return None
    rows_of_bin: dict[int, list[tuple[float, bool]]] = {}
    for line in lines:
        confidence = max(line["scores"])
        is_right = line["answer"] == line["label"]
        bin_index = min(BINS - 1, int(confidence * BINS))  # a confidence of 1 is in the last bin
        rows_of_bin.setdefault(bin_index, []).append((confidence, is_right))
    bins = []
    for _, rows in sorted(rows_of_bin.items()):
        mean_confidence = sum(confidence for confidence, _ in rows) / len(rows)
        accuracy = sum(is_right for _, is_right in rows) / len(rows)
        bins.append(CalibrationBin(mean_confidence, accuracy, len(rows)))
    distances = sum(abs(each.confidence - each.accuracy) * each.num_rows for each in bins)
    return Calibration(split, bins, distances / len(lines))


# --- evidence ---


def _changes_of_checks(risks: Sequence[Risk]) -> dict[str, list[Change]]:
    """The changes that each check measured; checks without one are left out."""
    changes_of = {}
    for risk in risks:
        measured = list(changes(risk.evidence))
        if measured:
            changes_of[risk.name] = measured
    return changes_of


def changes(evidence: object, name: str = "") -> Iterator[Change]:
    """Every pair of numbers called `before` and `after` in a check's evidence, however deep.

    Args:
        name: the keys on the way to `evidence`, by which its pairs are called.
    """
    if not isinstance(evidence, Mapping):
        return
    before = evidence.get("before")
    after = evidence.get("after")
    if is_number(before) and is_number(after):
        yield Change(_name_with_texts(name, evidence), float(before), float(after))
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in before:
            pair = {"before": before[key], "after": after.get(key)}
            yield from changes(pair, f"{name} {key}".strip())
    for key, inner in evidence.items():
        if key not in ("before", "after"):
            yield from changes(inner, _longer_name(name, key))
    for key, value in evidence.items():  # surprise_before, surprise_after
        stem = str(key).removesuffix("_before")
        end = evidence.get(f"{stem}_after")
        if stem != key and is_number(value) and is_number(end):
            yield Change(_longer_name(name, stem), float(value), float(end))


def _longer_name(name: str, key: object) -> str:
    return f"{name} {str(key).replace('_', ' ')}".strip()


def _name_with_texts(name: str, evidence: Mapping[str, object]) -> str:
    """A name with the short texts that stand beside a pair, as they say what was measured."""
    texts = [text for text in evidence.values() if isinstance(text, str) and len(text) < 40]
    joined = ", ".join(texts)
    return f"{name} ({joined})" if joined else name
