"""The page: what a story has, in page.html or beside.html with style.css inside.

jinja2 escapes whatever comes from rows and plugins. The tables are in `ftp.report.tables`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.report import tables
from ftp.report.curves import Chart, Curve, Look, looks
from ftp.report.numbers import format_duration, format_evidence
from ftp.report.story import Change, Story
from ftp.types import Risk

if TYPE_CHECKING:
    from markupsafe import Markup

LEVEL_WORDS = {
    "stop": "Do not use this result before it is mended.",
    "warn": "Look at this before you trust the result.",
    "not_run": "Nothing was compared, so nothing is known. This is not ok.",
    "note": "Small, and worth knowing.",
    "ok": "Compared, and nothing was found.",
}
"""What a level means for whoever has never seen one."""
MOST_VALUES = 24
"""Numbers shown of a list in the evidence; all of them are in risks.json."""


def single(story: Story) -> str:
    """The page of one run."""
    from ftp.report import charts

    pictures = []
    for chart in story.charts:
        svg = charts.lines(chart.title, chart.curves, chart.looks, story.best_step)
        keys = list(zip(chart.curves, chart.looks, strict=True))
        pictures.append((chart, keys, markup(svg)))
    reliability = charts.reliability(story.calibration) if story.calibration else ""
    return render(
        "page.html",
        title=story.name,
        story=story,
        verdicts=[_verdict(story, risk) for risk in story.risks],
        sums=count_levels([story]),
        scores=tables.score_table(story),
        facts=tables.facts(story),
        confusion=tables.confusion_matrix(story),
        pictures=pictures,
        reliability=markup(reliability),
        lengths=_lengths(story),
        classes=tables.class_shares(story),
    )


def beside(stories: Sequence[Story]) -> str:
    """The page of several runs: verdicts, scores and options by column, curves over one another."""
    from ftp.report import charts

    names = _run_names(stories)
    run_looks = looks(len(stories))
    pictures = []
    for chart, chart_looks in _overlay_charts(stories, names, run_looks):
        svg = charts.lines(chart.title, chart.curves, chart_looks)
        keys = list(zip(chart.curves, chart_looks, strict=True))
        pictures.append((chart, keys, markup(svg)))
    return render(
        "beside.html",
        title=", ".join(names),
        stories=list(zip(names, stories, run_looks, strict=True)),
        checks=_checks_beside(stories),
        scores=tables.scores_beside(stories),
        pictures=pictures,
        options=tables.options_beside(stories),
        facts=[tables.facts(story) for story in stories],
    )


def _run_names(stories: Sequence[Story]) -> list[str]:
    """The names of runs; their paths where two have the same name."""
    names = [story.name for story in stories]
    if len(set(names)) == len(names):
        return names
    return [str(story.path) for story in stories]


# --- verdicts ---


def count_levels(stories: Iterable[Story]) -> list[tuple[str, int]]:
    """How many verdicts there are of each level, worst first."""
    counts = Counter[str]()
    for story in stories:
        counts.update(risk.level for risk in story.risks)
    return [(level, counts[level]) for level in LEVEL_WORDS if counts[level]]


def _verdict(story: Story, risk: Risk) -> dict[str, object]:
    return {
        "risk": risk,
        "about": story.about(risk.name),
        "words": LEVEL_WORDS[risk.level],
        "changes": _bars(story.changes.get(risk.name, ())),
        "open": risk.level in ("stop", "warn"),
    }


def _bars(changes: Sequence[Change]) -> list[tuple[Change, float, float]]:
    """Each change with the length of its two bars, in percent of the longer."""
    bars = []
    for change in changes:
        longest = max(change.before, change.after)
        # a bar shows a share of the longest, which numbers below zero have not
        if min(change.before, change.after) >= 0 and longest > 0:
            before = 100 * change.before / longest
            bars.append((change, before, 100 * change.after / longest))
    return bars


def _checks_beside(stories: Sequence[Story]) -> list[tuple[str, str, list[Risk | None]]]:
    """For each check its name, what it is for, and its verdict in each run; None: it has none."""
    abouts: dict[str, str] = {}
    verdicts: dict[str, dict[int, Risk]] = {}
    for run_index, story in enumerate(stories):
        for risk in story.risks:
            # the first run that has the plugin says what the check is for
            abouts[risk.name] = abouts.get(risk.name) or story.about(risk.name)
            verdicts.setdefault(risk.name, {}).setdefault(run_index, risk)
    checks = []
    for name, of_run in verdicts.items():
        in_order = [of_run.get(run_index) for run_index in range(len(stories))]
        checks.append((name, abouts[name], in_order))
    return checks


# --- evidence ---


def inline(value: object) -> str | None:
    """Evidence that fits on a line: a number, a text, a list, a table of numbers.

    None for what is deeper.
    """
    if isinstance(value, Mapping):
        if not all(map(_is_flat, value.values())):
            return None
        texts = [f"{_name(key)}: {_format_flat(inner)}" for key, inner in value.items()]
    elif isinstance(value, (list, tuple)):
        if not all(map(_is_flat, value)):
            return None
        texts = list(map(_format_flat, value))
    else:
        return format_evidence(value)
    more = f", ... ({len(texts)} in all)" if len(texts) > MOST_VALUES else ""
    return (", ".join(texts[:MOST_VALUES]) + more) or "none"


def _is_flat(value: object) -> bool:
    """Whether a value is a number or text, or a few of them."""
    if isinstance(value, (list, tuple)):
        is_deep = any(isinstance(inner, (Mapping, list, tuple)) for inner in value)
        return len(value) <= 4 and not is_deep
    return not isinstance(value, Mapping)


def _format_flat(value: object) -> str:
    if not isinstance(value, (list, tuple)):
        return format_evidence(value)
    return f"({', '.join(map(format_evidence, value))})" if value else "none"


def _name(key: object) -> str:
    return str(key).replace("_", " ")


# --- pictures ---


def _overlay_charts(
    stories: Sequence[Story], names: Sequence[str], run_looks: Sequence[Look]
) -> list[tuple[Chart, list[Look]]]:
    """The curves of several runs over one another: a chart for each curve that any of them has."""
    units: dict[str, str] = {}  # title of a chart -> unit, in the order of the page
    curves: dict[str, list[Curve]] = {}
    chart_looks: dict[str, list[Look]] = {}
    for story, name, look in zip(stories, names, run_looks, strict=True):
        for chart in story.charts:
            for curve in chart.curves:
                title = _overlay_title(chart, curve)
                units[title] = chart.unit
                overlaid = Curve(name, curve.points, curve.low, curve.high)
                curves.setdefault(title, []).append(overlaid)
                chart_looks.setdefault(title, []).append(look)
    # the held-out loss first: it is what runs are compared by
    first = ("Loss: validation", "Loss: train")
    titles = [title for title in first if title in units]
    titles += [title for title in units if title not in first]
    return [(Chart(title, units[title], curves[title]), chart_looks[title]) for title in titles]


def _overlay_title(chart: Chart, curve: Curve) -> str:
    """The title of the chart of one curve; that of the loss always names the split."""
    if len(chart.curves) == 1 and chart.title != "Loss":
        return chart.title
    return f"{chart.title}: {curve.name}"


def _lengths(story: Story) -> dict[str, object] | None:
    """The histogram of lengths with a key for each split; None where no split has one."""
    from ftp.report import charts

    histograms = {}
    for split, shape in story.data.items():
        if shape.get("length"):
            histograms[split] = shape["length"]["histogram"]
    if not histograms:
        return None
    keys = list(zip(histograms, looks(len(histograms)), strict=True))
    return {"keys": keys, "svg": markup(charts.lengths(histograms))}


# --- jinja ---


def render(template: str, *, folder: Path | None = None, **values: object) -> str:
    """A page from a template.

    Args:
        template: its file name.
        folder: where it lies; None: beside this module, where the parts of all pages are.
        values: what it shows.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    own_folder = Path(__file__).parent
    folders = [own_folder] if folder is None else [folder, own_folder]
    # texts of rows and of plugins stand in the page: everything is escaped, and a misspelt name is an error
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "short": format_evidence,
        "inline": inline,
        "name": _name,
        "duration": format_duration,
    }
    style = markup((own_folder / "style.css").read_text(encoding="utf-8"))
    version = metadata.version("ftp-core")
    return environment.get_template(template).render(
        style=style, version=version, level_words=LEVEL_WORDS, **values
    )


def markup(text: str) -> Markup:
    """Text of our own that is HTML already."""
    from markupsafe import Markup

    return Markup(text)
