"""The pictures of the report, as SVG that stands inside a page.

A picture takes its colours from the page's style, so that one picture is right in light and dark.
Heavy: imports matplotlib; nothing of a training run imports this before the report is drawn.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from ftp.folder.json_files import Histogram
from ftp.report.curves import Curve, Look
from ftp.report.story import Calibration

SIZE = (5.0, 2.9)
"""Inches; 360 by 209 in the page's units: as wide as a phone, so that letters keep their size."""
LEFT, BOTTOM = 0.125, 0.17
"""Shares of the picture for the numbers of its axes; more to the left where they are long."""
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
DOTTED = DASHES[2]
STAND_INS = {
    "#010203": "var(--ink)",
    "#010204": "var(--faint)",
    "#010205": "var(--line)",
    "#010210": "var(--c0)",
    "#010211": "var(--c1)",
    "#010212": "var(--c2)",
    "#010213": "var(--c3)",
}
"""Colours for matplotlib, which knows no variables, and what the page has in their place."""
INK, FAINT, LINE = list(STAND_INS)[:3]
COLOURS = list(STAND_INS)[3:]
STYLE: dict[Any, Any] = {  # matplotlib names every key
    "svg.fonttype": "none",  # text stays text, which can be searched and read aloud
    "svg.hashsalt": "ftp",  # the same picture has the same names inside, run by run
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "axes.unicode_minus": False,
    "path.simplify": True,
    "path.simplify_threshold": 0.5,
}


def lines(
    label: str, curves: Sequence[Curve], looks: Sequence[Look], marked: float | None = None, across: str = "update"
) -> str:
    """Curves over updates with their bands.

    Args:
        marked: an update to draw a line at (the one whose weights were kept).
        across: what the points of a curve are counted in, if not updates.
    """

    def draw(axes: Axes) -> None:
        for curve, look in zip(curves, looks, strict=True):
            _draw_curve(axes, curve, look)
        if marked is not None:
            axes.axvline(marked, color=FAINT, linewidth=1, linestyle=(0, (1, 3)))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(across)

    return _draw_svg(label, draw)


def _draw_curve(axes: Axes, curve: Curve, look: Look) -> None:
    steps = [step for step, _ in curve.points]
    values = [value for _, value in curve.points]
    colour = FAINT if look.faint else COLOURS[look.colour]
    # a few points are seen as such; of many, dots would hide the line
    has_dots = len(steps) <= 12 and not look.faint
    axes.plot(
        steps,
        values,
        color=colour,
        linestyle=DASHES[look.dash],
        linewidth=1 if look.faint else 1.8,
        marker="o" if has_dots else "",
        markersize=3.5,
    )
    if curve.low:
        axes.fill_between(steps, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)


def reliability(calibration: Calibration) -> str:
    """Accuracy over confidence, against the diagonal; a dot's area is its share of the rows."""
    confidences = [each.confidence for each in calibration.bins]
    accuracies = [each.accuracy for each in calibration.bins]
    num_rows = [each.num_rows for each in calibration.bins]
    total = sum(num_rows)
    areas = [20 + 260 * rows_of_bin / total for rows_of_bin in num_rows]  # square points

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=DOTTED)
        axes.plot(confidences, accuracies, color=COLOURS[0], linewidth=1.2)
        axes.scatter(
            confidences, accuracies, color=COLOURS[0], s=areas, linewidths=0, alpha=0.75
        )
        axes.set_xlim(-0.04, 1.04)
        axes.set_ylim(0, 1.08)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("how sure the model says it is")

    label = f"Share of right answers on {calibration.split} rows by how sure the model is"
    return _draw_svg(label, draw, has_percent=True)


def lengths(histograms: Mapping[str, Histogram]) -> str:
    """Share of rows by length in tokens, a line a split."""

    def draw(axes: Axes) -> None:
        for index, histogram in enumerate(histograms.values()):
            total = max(1, sum(histogram["counts"]))
            axes.stairs(
                [count / total for count in histogram["counts"]],
                histogram["edges"],
                color=COLOURS[index % len(COLOURS)],
                linestyle=DASHES[index % len(DASHES)],
                linewidth=1.6,
            )
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("tokens")

    return _draw_svg("Share of rows by length in tokens", draw, has_percent=True)


def _draw_svg(label: str, draw: Callable[[Axes], None], has_percent: bool = False) -> str:
    """A picture by `draw`.

    Args:
        has_percent: the vertical axis has a format of its own.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE)
        axes = figure.add_axes((LEFT, BOTTOM, 0.98 - LEFT, 0.96 - BOTTOM))
        axes.grid(axis="x", visible=False)
        draw(axes)
        if not has_percent:
            _shorten_ticks(axes)
        buffer = io.StringIO()
        # without a date and versions the same run gives the same file
        no_metadata = dict.fromkeys(("Date", "Creator", "Type", "Format"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    return _fit_into_page(buffer.getvalue(), label)


def _shorten_ticks(axes: Axes) -> None:
    """Write the numbers of the vertical axis as short as can be, and make room for them."""
    ticks = [float(tick) for tick in axes.yaxis.get_major_locator().tick_values(*axes.get_ylim())]
    apart = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _format_tick(value, apart)))
    low, high = axes.get_ylim()
    shown = [_format_tick(tick, apart) for tick in ticks if low <= tick <= high]
    num_letters = max(map(len, shown), default=0)
    left = max(LEFT, 0.035 + 0.0165 * num_letters)  # widths of the margin and of a digit
    axes.set_position((left, BOTTOM, 0.98 - left, 0.96 - BOTTOM))


def _format_tick(value: float, apart: float) -> str:
    """A number of an axis, with the decimals that tell it from the next, which is `apart` away."""
    if abs(value) < apart / 100:
        return "0"
    if apart < 1e-3 and abs(value) < 0.01:
        return f"{value:.3g}".replace("e-0", "e-")
    if apart >= 1000:
        return f"{value / 1000:g}k"
    num_decimals = max(0, 1 - math.floor(math.log10(apart)))
    text = f"{value:.{num_decimals}f}"
    if "." not in text:
        return text
    return text.rstrip("0").rstrip(".")


def _fit_into_page(svg: str, label: str) -> str:
    """Make a picture part of a page.

    It loses what only a file of its own needs, and gets the page's colours. Its ids begin with a
    hash of the picture, as a page has several pictures and ids are unique on a page.
    """
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<(metadata|style).*?</\1>", "", svg, flags=re.DOTALL)
    prefix = f"p{zlib.crc32((label + svg).encode()):08x}"
    view_box = re.search(r'viewBox="([^"]*)"', svg)
    assert view_box is not None
    opening = f'<svg viewBox="{view_box[1]}" role="img" aria-label="{_escape(label)}">'
    svg = re.sub(r"<svg[^>]*>", opening, svg, count=1)
    used_ids = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))

    def rename_id(match: re.Match[str]) -> str:
        is_used = match[1] in used_ids
        return f' id="{prefix}-{match[1]}"' if is_used else ""

    svg = re.sub(r' id="([^"]+)"', rename_id, svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', svg)
    svg = svg.replace("url(#", f"url(#{prefix}-")
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"'DejaVu Sans'.*?sans-serif", "sans-serif", svg)
    for colour, variable in STAND_INS.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"\n\s*", "\n", svg)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
