"""A run folder as what the page tells. Reads files and computes; draws nothing. This module imports nothing heavy."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from ftp.errors import UserError
from ftp.folder import listing, paths, state
from ftp.folder.files import Folder
from ftp.report.progress import LEVELS
from ftp.types import Risk

BINS = 10
DRAWN = 200
"""Points of a curve that are drawn; of a longer one, means of neighbours."""
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A line over updates: `points` (update, value), and where known the bounds at each of them."""

    name: str
    points: Points
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Look:
    """How a line is drawn, and its key beside the picture: one of 4 colours, one of 4 dashes, or thin and grey."""

    colour: int = 0
    dash: int = 0
    faint: bool = False


COLOURS = 4


def looks(count: int) -> list[Look]:
    """Looks that can be told apart, by colour and by dash, so that they can without colours too (16 of them)."""
    if count <= COLOURS:
        return [Look(place, place) for place in range(count)]
    return [Look(place % COLOURS, place // COLOURS % COLOURS) for place in range(count)]


@dataclass(frozen=True)
class Chart:
    """Some curves that share a vertical axis. `told`: what a reader should know of it."""

    title: str
    unit: str
    curves: Sequence[Curve]
    told: str = ""

    @property
    def looks(self) -> list[Look]:
        """A look for each curve; what is told "as it goes" is in the background."""
        behind = [curve.name.endswith("as it goes") for curve in self.curves]
        given = iter(looks(len(behind) - sum(behind)))
        return [Look(faint=True) if one else next(given) for one in behind]


@dataclass(frozen=True)
class Confusion:
    """Rows by true class (`counts[true][given]`), and the pairs that are mixed up most: (true, given, rows)."""

    split: str
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]
    mixed: Sequence[tuple[str, str, int]]


@dataclass(frozen=True)
class Calibration:
    """How often the model is right where it says that it is sure. `bins`: (mean of what it says, share that is right, rows) for
    each tenth that has rows. `error`: expected calibration error (Guo et al. 2017, arXiv:1706.04599, section 2): mean
    distance of the two, weighted by rows."""

    split: str
    bins: Sequence[tuple[float, float, int]]
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
    examples: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any]
    lock: Mapping[str, Any]
    recipe: str
    told: Sequence[str] = field(default=())

    @property
    def name(self) -> str:
        """The last part of its folder's path."""
        return self.path.resolve().name

    @property
    def best_step(self) -> int | None:
        """The update whose weights the run kept."""
        return self.summary.facts.get("best_step")

    def about(self, check: str) -> str:
        """What a check is for, in the words of its plugin; empty where no plugin of the run has the verdict's name."""
        return next((str(one.get("summary", "")) for one in self.lock["plugins"] if one["name"] == check), "")


def read(path: Path) -> Story:
    """The story of a run folder. Raises `UserError` where it is none, or is damaged."""
    if not path.is_dir() or not state.holds_run(path):
        what = "there is no such folder" if not path.is_dir() else "there is no run in this folder"
        raise UserError(f"{path}: {what}", "name the folder of a run", "ftp runs")
    folder, summary = Folder(path), listing.read(path)
    if summary.broken:
        raise UserError(summary.broken)
    log, predictions = folder.read_log(), folder.read_predictions()
    split = next((name for name in ("test", "validation") if predictions.get(name)), "")
    lines = predictions.get(split, [])
    recipe = path / paths.RECIPE
    labels = list(summary.facts.get("labels") or [])
    return Story(
        path, summary, in_order(summary.risks), charts(log), confusion(split, lines, labels), calibration(split, lines),
        {one.name: found for one in summary.risks if (found := list(changes(one.evidence)))}, folder.read_examples(),
        folder.read_data(), folder.read_lock(), recipe.read_text(encoding="utf-8") if recipe.exists() else "",
        [str(line["message"]) for line in log if line.get("event") == "told"])


def in_order(risks: Sequence[Risk]) -> list[Risk]:
    """Verdicts, worst first, as the terminal shows them."""
    return sorted(risks, key=lambda one: list(LEVELS).index(one.level))


# --- curves ---


ABOUT_LOSS = ("Training and validation rows are scored the same way, in evaluation mode; the band is where chance leaves the "
              "mean, 95 %. Lines that part tell of overfitting, lines that stay high of underfitting.")

def charts(log: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """What a log has to draw: losses, scores by evaluation, learning rate, gradient norm, throughput, memory."""
    steps = [line for line in log if line.get("event") == "step"]
    looks = [line for line in log if line.get("event") == "evaluation"]
    losses = (Curve("training, as it goes", _thinned(_values(steps, "loss"))), _banded("train", looks),
              _banded("validation", looks))
    found = [
        Chart("Loss", "nats", [one for one in losses if one.points], ABOUT_LOSS),
        *_scores(looks),
        Chart("Learning rate", "", [Curve("learning rate", _thinned(_values(steps, "learning_rate")))]),
        Chart("Gradient norm", "", [Curve("before clipping", _thinned(_values(steps, "grad_norm")))]),
        Chart("Throughput", "tokens a second", [Curve("tokens a second", _thinned(_values(steps, "tokens_per_second")))]),
        Chart("Memory", "GiB, the peak so far", [
            Curve("memory", [(step, value / 2**30) for step, value in _thinned(_values(steps, "memory"))])]),
    ]
    if len(steps) > DRAWN:
        told = f"Each point is the mean of {math.ceil(len(steps) / DRAWN)} lines of the log."
        found = [one if one.told or one.title.startswith("Scores") else dataclasses.replace(one, told=told) for one in found]
    return [chart for chart in found if any(curve.points for curve in chart.curves)]


def _scores(looks: Sequence[Mapping[str, Any]]) -> Iterator[Chart]:
    """Scores of the evaluations: those between -1 and 1 share a chart, any other has its own."""
    names = dict.fromkeys(key for line in looks for key in line if key not in
                          ("event", "step", "time", "train_loss", "validation_loss"))
    curves = [Curve(name, values) for name in names if (values := _values(looks, name))]
    small = [one for one in curves if all(-1 <= value <= 1 for _, value in one.points)]
    yield Chart("Scores on validation rows", "", small)
    for one in curves:
        if one not in small:
            yield Chart(f"Validation: {one.name}", "", [one])


def _values(lines: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(line["step"], line[name]) for line in lines if _is_number(line.get(name))]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `DRAWN` points: means of neighbours, where there are more."""
    size = math.ceil(len(points) / DRAWN)
    parts = [points[start : start + size] for start in range(0, len(points), max(1, size))]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _banded(split: str, looks: Sequence[Mapping[str, Any]]) -> Curve:
    name = f"{split}_loss"
    points = _values(looks, name)
    bounds = {line["step"]: line["bands"][name] for line in looks if name in (line.get("bands") or {})}
    if points and all(step in bounds for step, _ in points):
        return Curve(split, points, [bounds[step][0] for step, _ in points], [bounds[step][1] for step, _ in points])
    return Curve(split, points)


# --- answers ---


def confusion(split: str, lines: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Confusion | None:
    """Which classes are taken for which; None without classes."""
    if not lines or not labels or any("label" not in line for line in lines):
        return None
    counts = Counter((line["label"], line["answer"]) for line in lines)
    table = [[counts[true, given] for given in labels] for true in labels]
    mixed = [(true, str(given), count) for (true, given), count in counts.most_common() if true != given]
    return Confusion(split, labels, table, mixed)


def calibration(split: str, lines: Sequence[Mapping[str, Any]]) -> Calibration | None:
    """What the model says of its answers against how often they are right; None without classes and probabilities."""
    if not lines or any("label" not in line or not line.get("scores") for line in lines):
        return None
    sorted_in: dict[int, list[tuple[float, bool]]] = {}
    for line in lines:
        sure = max(line["scores"])
        sorted_in.setdefault(min(BINS - 1, int(sure * BINS)), []).append((sure, line["answer"] == line["label"]))
    bins = [(sum(sure for sure, _ in rows) / len(rows), sum(right for _, right in rows) / len(rows), len(rows))
            for _, rows in sorted(sorted_in.items())]
    error = sum(abs(said - right) * rows for said, right, rows in bins) / len(lines)
    return Calibration(split, bins, error)


# --- evidence ---


def changes(evidence: Any, name: str = "") -> Iterator[Change]:
    """Every pair of numbers called `before` and `after` in a check's evidence, however deep, named by the way to it."""
    if not isinstance(evidence, Mapping):
        return
    before, after = evidence.get("before"), evidence.get("after")
    if _is_number(before) and _is_number(after):
        said = ", ".join(value for value in evidence.values() if isinstance(value, str) and len(value) < 40)
        yield Change(f"{name} ({said})" if said else name, float(before), float(after))
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in before:
            yield from changes({"before": before[key], "after": after.get(key)}, f"{name} {key}".strip())
    for key, inner in evidence.items():
        if key not in ("before", "after"):
            yield from changes(inner, f"{name} {str(key).replace('_', ' ')}".strip())
    for key, value in evidence.items():  # surprise_before, surprise_after
        stem = str(key).removesuffix("_before")
        end = evidence.get(f"{stem}_after")
        if stem != key and _is_number(value) and _is_number(end):
            yield Change(f"{name} {stem.replace('_', ' ')}".strip(), float(value), float(end))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
