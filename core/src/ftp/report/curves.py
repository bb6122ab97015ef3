"""The curves of a run's log: losses, scores, learning rate and the like over its updates.

This module imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from ftp.folder.log import LogLine

MOST_POINTS = 200
"""Points of a curve that are drawn; of a longer one, means of neighbours."""
Points = Sequence[tuple[float, float]]
"""Pairs of an update and the value after it."""

ABOUT_LOSS = (
    "Training and validation rows are scored the same way, in evaluation mode; the band is where "
    "chance leaves the mean, 95 %. Lines that part tell of overfitting, lines that stay high of "
    "underfitting."
)
TRAINING_LOSS = "training, as it goes"
"""The loss of each update's own rows: noisy, and with dropout, so it is drawn in the background."""
NOT_SCORES = ("event", "step", "time", "train_loss", "validation_loss")
"""Keys of the log line of an evaluation that are not scores."""


@dataclass(frozen=True)
class Curve:
    """A line over updates: its points, and where known the bounds at each of them."""

    name: str
    points: Points
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Look:
    """How a line is drawn: one of 4 colours, one of 4 dashes, or thin and grey."""

    colour: int = 0
    dash: int = 0
    faint: bool = False


COLOURS = 4


def looks(count: int) -> list[Look]:
    """Looks that can be told apart (16 of them).

    Up to four differ by colour and by dash, for readers and printers without colours.
    """
    if count <= COLOURS:
        return [Look(index, index) for index in range(count)]
    return [Look(index % COLOURS, index // COLOURS % COLOURS) for index in range(count)]


@dataclass(frozen=True)
class Chart:
    """Some curves that share a vertical axis. `note`: what a reader should know of it."""

    title: str
    unit: str
    curves: Sequence[Curve]
    note: str = ""

    @property
    def has_points(self) -> bool:
        """Whether there is something to draw."""
        return any(curve.points for curve in self.curves)

    @property
    def looks(self) -> list[Look]:
        """A look for each curve; the training loss of single updates is in the background."""
        in_front = [curve for curve in self.curves if curve.name != TRAINING_LOSS]
        front_looks = iter(looks(len(in_front)))
        chosen = []
        for curve in self.curves:
            is_background = curve.name == TRAINING_LOSS
            chosen.append(Look(faint=True) if is_background else next(front_looks))
        return chosen


def draw_charts(log: Sequence[LogLine], loss_unit: str = "") -> list[Chart]:
    """What a log has to draw; curves without points are left out."""
    steps = [line for line in log if line.get("event") == "step"]
    evaluations = [line for line in log if line.get("event") == "evaluation"]
    memory = []
    for step, num_bytes in _thin(values_of(steps, "memory")):
        memory.append((step, num_bytes / 2**30))
    step_charts = [
        _step_chart("Learning rate", "", "learning rate", steps, "learning_rate"),
        _step_chart("Gradient norm", "", "before clipping", steps, "grad_norm"),
        _step_chart("Throughput", "tokens a second", "tokens a second", steps, "tokens_per_second"),
        Chart("Memory", "GiB, the peak so far", [Curve("memory", memory)]),
    ]
    if len(steps) > MOST_POINTS:
        num_lines = math.ceil(len(steps) / MOST_POINTS)
        note = f"Each point is the mean of {num_lines} lines of the log."
        # evaluations are few: their curves are drawn as they are
        step_charts = [dataclasses.replace(chart, note=note) for chart in step_charts]
    charts = [_loss_chart(steps, evaluations, loss_unit), *_score_charts(evaluations), *step_charts]
    return [chart for chart in charts if chart.has_points]


def _loss_chart(steps: Sequence[LogLine], evaluations: Sequence[LogLine], unit: str) -> Chart:
    curves = (
        Curve(TRAINING_LOSS, _thin(values_of(steps, "loss"))),
        _banded_curve("train", evaluations),
        _banded_curve("validation", evaluations),
    )
    return Chart("Loss", unit, [curve for curve in curves if curve.points], ABOUT_LOSS)


def _step_chart(title: str, unit: str, name: str, steps: Sequence[LogLine], key: str) -> Chart:
    return Chart(title, unit, [Curve(name, _thin(values_of(steps, key)))])


def _score_charts(evaluations: Sequence[LogLine]) -> Iterator[Chart]:
    """Scores of the evaluations: those between -1 and 1 share a chart, any other has its own."""
    names: dict[str, None] = {}  # a set that keeps the order
    for line in evaluations:
        names.update(dict.fromkeys(line))
    # shares and correlations are read side by side; a log probability would flatten them
    shared = []
    charts = []
    for name in names:
        points = values_of(evaluations, name)
        if name in NOT_SCORES or not points:
            continue
        curve = Curve(name, points)
        if all(-1 <= value <= 1 for _, value in points):
            shared.append(curve)
        else:
            charts.append(Chart(f"Validation: {name}", "", [curve]))
    yield Chart("Scores on validation rows", "", shared)
    yield from charts


def values_of(lines: Sequence[LogLine], name: str) -> list[tuple[float, float]]:
    """The update and the value of each line that has a finite number of that name."""
    return [(line["step"], line[name]) for line in lines if is_number(line.get(name))]


def _thin(points: Points) -> list[tuple[float, float]]:
    """At most `MOST_POINTS` points: means of neighbours, where there are more.

    A mean stands at the last update of its neighbours, so that the curve ends where training did.
    """
    size = max(1, math.ceil(len(points) / MOST_POINTS))
    thinned = []
    for start in range(0, len(points), size):
        neighbours = points[start : start + size]
        mean = sum(value for _, value in neighbours) / len(neighbours)
        thinned.append((neighbours[-1][0], mean))
    return thinned


def _banded_curve(split: str, evaluations: Sequence[LogLine]) -> Curve:
    """The loss of a split over the evaluations, with its bounds where every evaluation has them."""
    name = f"{split}_loss"
    points = values_of(evaluations, name)
    bounds = {}
    for line in evaluations:
        bands = line.get("bands") or {}
        if name in bands:
            bounds[line["step"]] = bands[name]
    if not points or any(step not in bounds for step, _ in points):
        return Curve(split, points)
    low, high = zip(*(bounds[step] for step, _ in points), strict=True)
    return Curve(split, points, low, high)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)
