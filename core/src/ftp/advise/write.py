"""What `ftp advise` leaves in its folder: advice.json, advice.html, and recipe.toml, which `ftp run` takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ftp.advise import study
from ftp.advise.first_stage import STAGES, recipe_of_stages
from ftp.advise.kept import PILOTS
from ftp.advise.situation import run_of
from ftp.advise.types import Advice, Facts, Looks, Outcome, Recommendation, Situation
from ftp.advise.wording import difference, duration, interval, more_rows, size
from ftp.errors import UserError
from ftp.folder import claim, marker
from ftp.folder.paths import CLAIM, RUNS
from ftp.folder.paths import RECIPE as ROWS_RECIPE
from ftp.folder.writing import plain, write_json, write_text

if TYPE_CHECKING:
    from ftp.report.curves import Chart

JSON = "advice.json"
PAGE = "advice.html"
RECIPE = "recipe.toml"
KIND = "advice"
WHO = "ftp advise"
"""Who works in a folder that is in use."""
WRITTEN = (JSON, PAGE, RECIPE, ROWS_RECIPE, f"{PILOTS}/", f"{STAGES}/", study.FILE, f"{study.FILE}-journal")
"""All that an advice writes, as the marker of its folder lists it; the last is there while SQLite writes."""
CURVE_STEPS = 24


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """The folder of an advice, made where there is none, for this process alone until the end of the block.

    Args:
        out: the folder.

    Raises:
        UserError: it holds somebody's files, or another advice is being made in it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out} cannot be made: {error.strerror or error}", "name another folder") from error
    _check_own(out)
    claim.hold(out, WHO)
    try:
        if marker.read(out) is None:
            marker.create(out, KIND)
        # before anything is written: an advice may be stopped at any time
        marker.add(out, WRITTEN)
        yield
    finally:
        claim.release(out)


def _check_own(out: Path) -> None:
    """Refuse a folder that holds anything but an advice."""
    mark = marker.read(out)
    is_empty = {path.name for path in out.iterdir()} <= {CLAIM}
    if is_empty or (mark is not None and mark.kind == KIND):
        return
    # whoever marks it this moment holds it already
    process = claim.holder(out)
    if process is not None:
        raise claim.in_use(out, process, WHO)
    raise UserError(f"--out {out}: it holds other files", "name a folder that is new, or one of an earlier advice",
                    f"--out {out}-2")


def write(situation: Situation, advice: Advice) -> list[Path]:
    """Write all that there is, and give the paths, those that a user opens first.

    Args:
        situation: the rows and their plugins.
        advice: what it came to.
    """
    out = situation.question.out
    written = []
    # what checks advise reads these rows by the recipe of the run
    write_text(out / ROWS_RECIPE, situation.prepared.anywhere().recipe())
    # a recipe of an earlier advice would be taken for one of this
    (out / RECIPE).unlink(missing_ok=True)
    if advice.recommendation.entry is not None:
        write_text(out / RECIPE, recipe(situation, advice.recommendation))
        written.append(out / RECIPE)
    write_json(out / JSON, as_json(advice))
    write_text(out / PAGE, page(situation, advice))
    return [*written, out / PAGE, out / JSON]


def recipe(situation: Situation, recommendation: Recommendation) -> str:
    """The recommended run as a recipe that says why."""
    entry = recommendation.entry
    assert entry is not None
    prepared = run_of(situation, entry).anywhere()
    lines = [f"# made by ftp advise: {entry.name}"]
    for line in (recommendation.answer, *recommendation.why):
        lines.append("# " + " ".join(line.split()))
    if recommendation.score is not None and recommendation.low is not None and recommendation.high is not None:
        ends = interval(recommendation.low, recommendation.high)
        lines.append(f"# expected: {recommendation.metric.name} {recommendation.score:.4f} ({ends}, 90 % prediction interval)")
    text = prepared.recipe()
    if entry.first is not None:
        text = recipe_of_stages(entry.first, prepared, RUNS / situation.question.out.name)
    return "\n".join(lines) + "\n" + text


# --- advice.json ---


def as_json(advice: Advice) -> dict[str, object]:
    """All of an advice but for the answers to single rows."""
    question = dataclasses.asdict(advice.question)
    looks = None if advice.looks is None else _looks_as_json(advice.looks)
    values: dict[str, object] = {
        "question": question,
        "facts": dataclasses.asdict(advice.facts),
        "looks": looks,
        "recommendation": dataclasses.asdict(advice.recommendation),
        "seconds": advice.seconds,
        "notes": list(advice.notes),
    }
    return plain(values)


def _looks_as_json(looks: Looks) -> dict[str, object]:
    entries = {name: _outcome_as_json(outcome) for name, outcome in looks.entries.items()}
    curve = None
    if looks.curve is not None:
        curve = {"look": looks.curve.look, "points": [dataclasses.asdict(point) for point in looks.curve.points],
                 "a": looks.curve.a, "b": looks.curve.b, "c": looks.curve.c}
    return {"metric": dataclasses.asdict(looks.metric), "entries": entries, "best": looks.best, "simplest": looks.simplest,
            "ahead": looks.ahead, "curve": curve, "seconds": looks.seconds}


def _outcome_as_json(outcome: Outcome) -> Mapping[str, object]:
    return {"scores": dict(outcome.scores), "rows": len(outcome.rows), "train_rows": outcome.num_train_rows,
            "seconds": outcome.seconds, "error": outcome.error}


# --- advice.html ---


def page(situation: Situation, advice: Advice) -> str:
    """The advice as a page in the style of a run's report."""
    from ftp.report.page import markup, render

    chart = None if advice.looks is None else _chart_of(advice.looks)
    picture = ""
    keys: list[object] = []
    if chart is not None:
        from ftp.report import charts
        from ftp.report.curves import looks as curve_looks

        appearances = curve_looks(len(chart.curves))
        picture = charts.lines(chart.title, chart.curves, appearances, across="training rows")
        keys = list(zip(chart.curves, appearances, strict=True))
    return render("advice.html", folder=Path(__file__).parent, title=f"advice on {situation.question.data or 'a sample'}",
                  advice=advice, result=advice.recommendation, facts=facts_of(advice.facts), table=tried_table(advice),
                  expected=expected(advice.recommendation), notes=told_later(advice), chart=chart, keys=keys,
                  picture=markup(picture), has_recipe=advice.recommendation.entry is not None, out=situation.question.out)


def facts_of(facts: Facts) -> list[tuple[str, str]]:
    """The facts as names and words."""
    lines = [("rows", ", ".join(f"{split} {count:,}" for split, count in facts.rows.items())),
             ("form", f"{facts.form} (head {facts.head})")]
    if facts.columns:
        lines.append(("columns", ", ".join(f"{ours} is {theirs}" for ours, theirs in facts.columns.items())))
    if facts.classes:
        total = sum(facts.classes.values())
        shown = [f"{name} {count / total:.0%}" for name, count in list(facts.classes.items())[:6]]
        more = f", and {len(facts.classes) - 6} more" if len(facts.classes) > 6 else ""
        lines.append((f"{len(facts.classes)} classes", ", ".join(shown) + more))
    if facts.lengths is not None:
        lengths = facts.lengths
        limit = "" if lengths.limit is None else f"; {lengths.model} reads {lengths.limit:,}"
        lines.append(("tokens", f"median {lengths.median:,}, 95 % up to {lengths.p95:,}, longest {lengths.longest:,}{limit}"))
    if facts.language:
        lines.append(("language", facts.language))
    return lines


def told_later(advice: Advice) -> list[str]:
    """What was told on the way and is none of the facts: why no network could be read, for example."""
    of_facts = {finding.text for finding in advice.facts.findings}
    return [note for note in dict.fromkeys(advice.notes) if note not in of_facts]


def expected(recommendation: Recommendation) -> list[tuple[str, str]]:
    """What the recommended run is expected to come to, as names and words."""
    lines = []
    if recommendation.score is not None:
        text = f"{recommendation.score:.4f}"
        if recommendation.low is not None and recommendation.high is not None:
            text += f", between {interval(recommendation.low, recommendation.high).replace(' to ', ' and ')} in 9 of 10 runs"
        lines.append((recommendation.metric.name, text))
    if recommendation.seconds is not None:
        lines.append(("time", f"{duration(recommendation.seconds)} on this machine"))
    if recommendation.memory:
        lines.append(("memory", f"{size(recommendation.memory)} on this machine"))
    lines += [("elsewhere", line) for line in recommendation.elsewhere]
    return lines


def tried_table(advice: Advice) -> list[tuple[str, str, str, str, str, str]]:
    """What was looked at and raced: name, score, how far behind, rows, time, why it left."""
    metric = advice.recommendation.metric
    lines = []
    for tried in advice.recommendation.tried:
        value = "-" if tried.value is None else f"{tried.value:.4f}"
        behind = "-"
        if tried.behind is not None and tried.low is not None and tried.high is not None:
            behind = difference(metric, -tried.behind, -tried.high, -tried.low)
        elif tried.behind is not None:
            behind = f"{-tried.behind:+.4f}"
        rows = f"{tried.rows:,}" if tried.rows else "-"
        time = duration(tried.seconds) if tried.rows else "-"
        lines.append((tried.name, value, behind, rows, time, tried.left))
    return lines


def _chart_of(looks: Looks) -> Chart | None:
    """The learning curve with its band, and the points that it goes through."""
    from ftp.report.curves import Chart, Curve

    curve = looks.curve
    if curve is None:
        return None
    measured = [(point.rows, point.value) for point in curve.points]
    first = curve.points[0].rows
    last = curve.points[-1].rows
    sizes = [round(first * (2 * last / first) ** (step / (CURVE_STEPS - 1))) for step in range(CURVE_STEPS)]
    bands = [curve.band(rows) for rows in sizes]
    fitted = Curve("fitted, with a band of 90 %", [(rows, curve.at(rows)) for rows in sizes], [low for low, _ in bands],
                   [high for _, high in bands])
    note = more_rows(looks.metric, curve, last)
    return Chart(f"{curve.look} at growing numbers of rows", looks.metric.name, [fitted, Curve("measured", measured)], note)
