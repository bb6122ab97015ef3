"""The page: what a story has, in page.html or beside.html with style.css inside. jinja2 escapes whatever comes from rows and
plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ftp.report.progress import duration
from ftp.report.story import Change, Chart, Curve, Look, Story, looks
from ftp.types import Risk, Score

WORDS = {
    "stop": "Do not use this result before it is mended.",
    "warn": "Look at this before you trust the result.",
    "not_run": "Nothing was compared, so nothing is known. This is not ok.",
    "note": "Small, and worth knowing.",
    "ok": "Compared, and nothing was found.",
}
"""What a level means for whoever has never seen one."""
CLASSES = 12
"""Of a confusion matrix that is shown whole; of more classes, the pairs that are mixed up most."""
MIXED = 15
LISTED = 24
"""Numbers of a list in the evidence; all of them are in risks.json."""


def single(story: Story) -> str:
    """The page of one run."""
    from ftp.report import charts

    return _render("page.html", title=story.name, story=story, verdicts=[_verdict(story, one) for one in story.risks],
                   sums=sums([story]), scores=score_table(story), facts=_facts(story), confusion=_matrix(story),
                   pictures=[(chart, list(zip(chart.curves, chart.looks, strict=True)),
                              _markup(charts.lines(chart.title, chart.curves, chart.looks, story.best_step)))
                             for chart in story.charts],
                   reliability=_markup(charts.reliability(story.calibration)) if story.calibration else "",
                   lengths=_lengths(story), classes=_classes(story))


def beside(stories: Sequence[Story]) -> str:
    """The page of several runs: verdicts, scores and options by column, curves over one another."""
    from ftp.report import charts

    names = _names(stories)
    looked = looks(len(stories))
    pictures = [(chart, list(zip(chart.curves, given, strict=True)), _markup(charts.lines(chart.title, chart.curves, given)))
                for chart, given in _over(stories, names, looked)]
    checks = list(dict.fromkeys(risk.name for one in stories for risk in one.risks))
    found = [(check, next(filter(None, (one.about(check) for one in stories)), ""),
              [next((risk for risk in one.risks if risk.name == check), None) for one in stories]) for check in checks]
    return _render("beside.html", title=", ".join(names), stories=list(zip(names, stories, looked, strict=True)), checks=found,
                   scores=scores_beside(stories), pictures=pictures, options=options_beside(stories), facts=[
                       _facts(one) for one in stories])


# --- words ---


def sums(stories: Sequence[Story]) -> list[tuple[str, int]]:
    """How many verdicts there are of each level, worst first."""
    levels = [risk.level for one in stories for risk in one.risks]
    return [(level, levels.count(level)) for level in WORDS if level in levels]


def _verdict(story: Story, risk: Risk) -> dict[str, Any]:
    found = story.changes.get(risk.name, ())
    return {"risk": risk, "about": story.about(risk.name), "words": WORDS[risk.level], "changes": _bars(found),
            "open": risk.level in ("stop", "warn")}


def _bars(found: Sequence[Change]) -> list[tuple[Change, float, float]]:
    """Each change with the length of its two bars, in percent of the longer; not for numbers below zero."""
    shown = []
    for one in found:
        most = max(one.before, one.after)
        if min(one.before, one.after) >= 0 and most > 0:
            shown.append((one, 100 * one.before / most, 100 * one.after / most))
    return shown


def _facts(story: Story) -> list[tuple[str, str]]:
    """The run in a few words: (what, value)."""
    facts, found = story.summary.facts, list[tuple[str, str]]()
    found.append(("status", story.summary.status))
    if facts.get("reason"):
        found.append(("ended", str(facts["reason"])))
    if facts.get("model"):
        found.append(("model", str(facts["model"])))
    if facts.get("trained") is not None and facts.get("total"):
        found.append(("trained", f"{facts['trained']:,} of {facts['total']:,} parameters"))
    if facts.get("steps") is not None:
        best = f", the best after {facts['best_step']}" if facts.get("best_step") else ""
        found.append(("updates", f"{facts['steps']:,}{best}"))
    if facts.get("seconds") is not None:
        found.append(("time", duration(facts["seconds"])))
    if facts.get("device"):
        found.append(("device", str(facts["device"])))
    return found


def short(value: Any) -> str:
    """A number as short as it can be read, anything else as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "none" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def inline(value: Any) -> str | None:
    """Evidence that fits on a line: a number, a text, a list, a table of numbers; None for what is deeper."""
    if isinstance(value, Mapping):
        if not all(_flat_list(inner) for inner in value.values()):
            return None
        told = [f"{_name(key)}: {_few(inner)}" for key, inner in value.items()]
    elif isinstance(value, (list, tuple)):
        if not all(_flat_list(inner) for inner in value):
            return None
        told = [_few(inner) for inner in value]
    else:
        return short(value)
    more = f", ... ({len(told)} in all)" if len(told) > LISTED else ""
    return (", ".join(told[:LISTED]) + more) or "none"


def _flat_list(value: Any) -> bool:
    """Whether a value is a number or text, or a few of them."""
    if isinstance(value, (list, tuple)):
        return len(value) <= 4 and not any(isinstance(inner, (Mapping, list, tuple)) for inner in value)
    return not isinstance(value, Mapping)


def _few(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(short, value))})" if value else "none"
    return short(value)


def _name(key: Any) -> str:
    return str(key).replace("_", " ")


# --- tables ---


def score_table(story: Story) -> dict[str, Any]:
    """Scores on held-out rows beside those of the baselines, as the terminal shows them."""
    summary = story.summary
    baselines = list(dict.fromkeys(one.baseline for one in summary.baselines))
    values = {(one.baseline, one.name, one.split): one.value for one in summary.baselines}
    rows = []
    for one in _held_out(summary.scores):
        others = [values.get((name, one.name, one.split)) for name in baselines]
        known = [value for value in others if value is not None]
        verdict = ("yes" if all(map(one.beats, known)) else "no") if known and one.goal != "none" else "-"
        rows.append({"score": one, "others": others, "beats": verdict})
    return {"baselines": baselines, "rows": rows}


def scores_beside(stories: Sequence[Story]) -> list[dict[str, Any]]:
    """A row a score: its value in each run, and which of them is best."""
    found: dict[tuple[str, str], Score] = {}
    for story in stories:
        for one in _held_out(story.summary.scores):
            found.setdefault((one.name, one.split), one)
    rows = []
    for (name, split), first in found.items():
        values = [next((one.value for one in story.summary.scores if (one.name, one.split) == (name, split)), None)
                  for story in stories]
        known = [value for value in values if value is not None]
        rows.append({"score": first, "values": values,
                     "best": None if first.goal == "none" else (max if first.goal == "max" else min)(known)})
    return rows


def _held_out(scores: Sequence[Score]) -> list[Score]:
    places = {"test": 0, "validation": 1}
    return sorted((one for one in scores if one.split != "train"), key=lambda one: places.get(one.split, 2))


def options_beside(stories: Sequence[Story]) -> list[tuple[str, list[str]]]:
    """Options in which the runs differ, and their values."""
    import tomllib

    flat = [dict(_flat(tomllib.loads(one.recipe))) for one in stories]
    names = dict.fromkeys(name for one in flat for name in one if name != "out")
    values = {name: [str(one.get(name, "-")) for one in flat] for name in names}
    return [(name, given) for name, given in values.items() if len(set(given)) > 1]


def _flat(table: Mapping[str, Any], before: str = "") -> Any:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", ", ".join(map(str, value)) if isinstance(value, list) else value


def _names(stories: Sequence[Story]) -> list[str]:
    names = [one.name for one in stories]
    return names if len(set(names)) == len(names) else [str(one.path) for one in stories]


# --- pictures ---


def _over(stories: Sequence[Story], names: Sequence[str], looked: Sequence[Look]) -> list[tuple[Chart, list[Look]]]:
    """The curves of several runs over one another: a chart for each curve that any of them has."""
    found: dict[str, tuple[Chart, list[Look]]] = {}
    for story, name, look in zip(stories, names, looked, strict=True):
        for chart in story.charts:
            for curve in chart.curves:
                title = chart.title if len(chart.curves) == 1 and chart.title != "Loss" else f"{chart.title}: {curve.name}"
                one, given = found.get(title, (Chart(title, chart.unit, ()), []))
                curves = [*one.curves, Curve(name, curve.points, curve.low, curve.high)]
                found[title] = (Chart(title, chart.unit, curves), [*given, look])
    order = ("Loss: validation", "Loss: train")
    return sorted(found.values(), key=lambda one: order.index(one[0].title) if one[0].title in order else len(order))


def _matrix(story: Story) -> dict[str, Any] | None:
    found = story.confusion
    if found is None:
        return None
    sizes = [sum(row) for row in found.counts]
    rows = [(label, [(count, count / max(1, size), given == true) for given, count in enumerate(row)], size)
            for true, (label, row, size) in enumerate(zip(found.labels, found.counts, sizes, strict=True))]
    return {"split": found.split, "labels": found.labels, "rows": rows, "whole": len(found.labels) <= CLASSES,
            "mixed": found.mixed[:MIXED], "wrong": sum(count for *_, count in found.mixed), "total": sum(sizes)}


def _lengths(story: Story) -> dict[str, Any] | None:
    from ftp.report import charts

    found = {name: one["length"]["histogram"] for name, one in story.data.items() if one.get("length")}
    return {"keys": list(zip(found, looks(len(found)), strict=True)), "svg": _markup(charts.lengths(found))} if found else None


def _classes(story: Story) -> dict[str, Any] | None:
    """Share of each class in each split, with the length of its bar."""
    splits = {name: one["classes"] for name, one in story.data.items() if one.get("classes")}
    if not splits:
        return None
    shares = {name: {label: count / max(1, sum(of.values())) for label, count in of.items()} for name, of in splits.items()}
    most = max((share for of in shares.values() for share in of.values()), default=1) or 1
    labels = sorted(next(iter(splits.values())), key=lambda label: -next(iter(shares.values()))[label])
    shown = labels if len(labels) <= 20 else [*labels[:10], *labels[-10:]]
    rows = [(label, [(name, shares[name].get(label, 0.0), 100 * shares[name].get(label, 0.0) / most, of.get(label, 0))
                     for name, of in splits.items()]) for label in shown]
    return {"rows": rows, "left_out": len(labels) - len(shown), "keys": list(zip(splits, looks(len(splits)), strict=True))}


# --- jinja ---


def _render(template: str, **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent
    made = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True)
    made.filters |= {"short": short, "inline": inline, "name": _name, "duration": duration}
    style = _markup((folder / "style.css").read_text(encoding="utf-8"))
    return made.get_template(template).render(style=style, version=metadata.version("ftp-core"), level_words=WORDS, **values)


def _markup(text: str) -> Any:
    """Text of our own that is HTML already."""
    from markupsafe import Markup

    return Markup(text)
