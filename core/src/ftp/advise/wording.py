"""Numbers of an advice in words: scores, their intervals, time and memory. Imports nothing heavy."""

from __future__ import annotations

from ftp.advise.types import Curve, Metric
from ftp.report.numbers import format_duration, format_number

MORE_ROWS = 500
"""Labels whose worth is told."""


def points(change: float) -> str:
    """A change of a share in points: `+2.1`."""
    # no minus before a zero
    return f"{round(100 * change, 1) + 0.0:+.1f}"


def is_share(value: float | None) -> bool:
    """Whether a score can be told in points: it lies between -1 and 1."""
    return value is not None and abs(value) <= 1


def difference(metric: Metric, value: float, low: float, high: float) -> str:
    """A difference of two scores with its interval: `+2.1 points (+0.4 to +3.8)`, of a loss as numbers."""
    if metric.name == "loss":
        return f"{value:+.4f} ({low:+.4f} to {high:+.4f})"
    if all(is_share(number) for number in (value, low, high)):
        return f"{points(value)} points ({points(low)} to {points(high)})"
    return f"{value:+.4g} ({low:+.4g} to {high:+.4g})"


def interval(low: float, high: float) -> str:
    """The ends of an interval."""
    return f"{format_number(float(low))} to {format_number(float(high))}"


def more_rows(metric: Metric, curve: Curve, num_rows: int, more: int = MORE_ROWS) -> str:
    """What further labels are worth, in words."""
    gain, low, high = curve.gain(num_rows, more)
    if metric.goal == "min":  # a lower loss is the gain
        gain, low, high = -gain, -high, -low
    return f"{more:,} more labels are worth {difference(metric, gain, low, high)} of {metric.name}"


def duration(seconds: float) -> str:
    """A time as a reader takes it in: no tenths of a second beyond ten."""
    return f"{seconds:.0f} s" if 10 <= seconds < 60 else format_duration(seconds)


def size(number: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
