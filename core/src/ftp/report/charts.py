"""The pictures of the report, as SVG that stands inside a page and takes its colours from the page's style, so that one picture
is right in light and dark. Heavy: imports matplotlib; nothing of a training run imports this before the report is drawn.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from ftp.report.story import Calibration, Curve, Look

SIZE = (5.0, 2.9)
"""Inches; 360 by 209 in the page's units: as wide as a phone, so that letters keep their size there."""
LEFT, BOTTOM = 0.125, 0.17
"""Shares of the picture for the numbers of its axes; more to the left where they are long."""
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
STAND_INS = {"#010203": "var(--ink)", "#010204": "var(--faint)", "#010205": "var(--line)",
             "#010210": "var(--c0)", "#010211": "var(--c1)", "#010212": "var(--c2)", "#010213": "var(--c3)"}
"""Colours that matplotlib is told, and what the page's style puts in their place."""
INK, FAINT, LINE = list(STAND_INS)[:3]
COLOURS = list(STAND_INS)[3:]
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "ftp", "font.size": 10, "text.color": INK, "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT, "xtick.color": FAINT, "ytick.color": FAINT, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": LINE, "grid.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "xtick.major.size": 0, "ytick.major.size": 0, "lines.linewidth": 1.8, "axes.unicode_minus": False, "path.simplify": True,
    "path.simplify_threshold": 0.5,
}


def lines(label: str, curves: Sequence[Curve], looks: Sequence[Look], marked: float | None = None) -> str:
    """Curves over updates with their bands. `marked`: an update to draw a line at (the one whose weights were kept)."""

    def draw(axes: Axes) -> None:
        for curve, look in zip(curves, looks, strict=True):
            steps, values = [point[0] for point in curve.points], [point[1] for point in curve.points]
            colour = FAINT if look.faint else COLOURS[look.colour]
            axes.plot(steps, values, color=colour, linestyle=DASHES[look.dash], linewidth=1 if look.faint else 1.8,
                      marker="o" if len(steps) <= 12 and not look.faint else "", markersize=3.5)
            if curve.low:
                axes.fill_between(steps, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
        if marked is not None:
            axes.axvline(marked, color=FAINT, linewidth=1, linestyle=(0, (1, 3)))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("update")

    return _svg(label, draw)


def reliability(found: Calibration) -> str:
    """Share that is right over how sure the model is, against the diagonal; a dot's area is its share of the rows."""

    def draw(axes: Axes) -> None:
        total = sum(rows for _, _, rows in found.bins)
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=DASHES[2])
        axes.plot([said for said, _, _ in found.bins], [right for _, right, _ in found.bins], color=COLOURS[0], linewidth=1.2)
        axes.scatter([said for said, _, _ in found.bins], [right for _, right, _ in found.bins], color=COLOURS[0],
                     s=[20 + 260 * rows / total for _, _, rows in found.bins], linewidths=0, alpha=0.75)
        axes.set_xlim(-0.04, 1.04)
        axes.set_ylim(0, 1.08)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("how sure the model says it is")

    return _svg(f"Share of right answers on {found.split} rows by how sure the model is", draw, shortened=False)


def lengths(histograms: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Share of rows by length in tokens, a line a split."""

    def draw(axes: Axes) -> None:
        for place, one in enumerate(histograms.values()):
            total = max(1, sum(one["counts"]))
            axes.stairs([count / total for count in one["counts"]], one["edges"], color=COLOURS[place % len(COLOURS)],
                        linestyle=DASHES[place % len(DASHES)], linewidth=1.6)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("tokens")

    return _svg("Share of rows by length in tokens", draw, shortened=False)


def _svg(label: str, draw: Any, shortened: bool = True) -> str:
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE)
        axes = figure.add_axes((LEFT, BOTTOM, 0.98 - LEFT, 0.96 - BOTTOM))
        axes.grid(axis="x", visible=False)
        draw(axes)
        if shortened:
            ticks = axes.yaxis.get_major_locator().tick_values(*axes.get_ylim())
            apart = float(ticks[1] - ticks[0]) if len(ticks) > 1 else 1.0
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value, apart)))
            low, high = axes.get_ylim()
            letters = max((len(_short(float(tick), apart)) for tick in ticks if low <= tick <= high), default=0)
            left = max(LEFT, 0.035 + 0.0165 * letters)
            axes.set_position((left, BOTTOM, 0.98 - left, 0.96 - BOTTOM))
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Type", "Format")))
    return _for_page(out.getvalue(), label)


def _short(value: float, apart: float) -> str:
    """A number of an axis, with the places that tell it from the next one, which is so far `apart`."""
    if abs(value) < apart / 100:
        return "0"
    if apart < 1e-3 and abs(value) < 0.01:
        return f"{value:.3g}".replace("e-0", "e-")
    if apart >= 1000:
        return f"{value / 1000:g}k"
    places = max(0, 1 - math.floor(math.log10(apart)))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _for_page(svg: str, label: str) -> str:
    """The picture without what only a file of its own needs, in the page's colours, its names unlike those of the others."""
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<(metadata|style).*?</\1>", "", svg, flags=re.DOTALL)
    own = f"p{zlib.crc32((label + svg).encode()):08x}"
    box = re.search(r'viewBox="([^"]*)"', svg)
    assert box is not None
    svg = re.sub(r"<svg[^>]*>", f'<svg viewBox="{box[1]}" role="img" aria-label="{_quoted(label)}">', svg, count=1)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{own}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{own}-', svg)
    svg = svg.replace("url(#", f"url(#{own}-")
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"'DejaVu Sans'.*?sans-serif", "sans-serif", svg)
    for colour, variable in STAND_INS.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"\n\s*", "\n", svg)


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
