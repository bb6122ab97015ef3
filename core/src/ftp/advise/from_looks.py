"""The recommendation where nothing was raced: from facts and looks alone, with no more said than they show."""

from __future__ import annotations

from collections.abc import Sequence

from ftp.advise.types import AnswerKind, Entry, Facts, Looks, Metric, Recommendation, Situation, Tried
from ftp.advise.wording import MORE_ROWS, difference, more_rows
from ftp.report.numbers import format_number

ALL_BUT_RIGHT = 0.97
"""A share of right answers beyond which training has next to nothing to add."""
WORTH_LABELS = 0.02
"""What further labels are surely worth, at least, where that is told as the answer: two points."""


def recommend(situation: Situation, facts: Facts, looks: Looks | None, entries: Sequence[Entry] = ()) -> Recommendation:
    """What facts and looks come to.

    Args:
        situation: the rows and their plugins.
        facts: of the rows.
        looks: None where a finding ended the ladder.
        entries: what could be raced, the cheapest first.
    """
    metric = looks.metric if looks is not None else Metric("loss", "min")
    if facts.stopped:
        return _stopped(facts, metric)
    if looks is None or not looks.best:
        return _unmeasured(situation, metric, entries)
    kind, answer = _answer(looks)
    entry: Entry | None = next((entry for entry in entries if entry.trains), plain_entry(situation))
    # whoever is told not to fine-tune gets no recipe that does
    if kind == "train nothing":
        entry = next((entry for entry in entries if not entry.trains), None)
        if entry is not None:
            answer += f" '{entry.name}', which is in the recipe, makes a model without training the network."
    tried = _tried(looks)
    why = _why(looks)
    return Recommendation(kind, answer, looks.metric, entry, why=tuple(why), tried=tuple(tried),
                          would_change=tuple(_would_change(looks, kind)))


def plain_entry(situation: Situation) -> Entry:
    """A run of the situation's plugins alone, where nobody says what else there is."""
    return Entry(", ".join(situation.plugins), situation.plugins, why="the plugins that these rows need, and no other")


def _stopped(facts: Facts, metric: Metric) -> Recommendation:
    stops = [finding for finding in facts.findings if finding.level == "stop"]
    answer = "No advice on these rows as they are: " + "; ".join(finding.text for finding in stops) + "."
    commands = [finding.command for finding in stops if finding.command]
    return Recommendation("stopped", answer, metric, would_change=tuple(commands))


def _unmeasured(situation: Situation, metric: Metric, entries: Sequence[Entry]) -> Recommendation:
    head = situation.prepared.task.head
    answer = (f"Nothing can be said of such rows (head {head}) without training something: a race of pilots does that, with a "
              "budget.")
    entry = next(iter(entries), plain_entry(situation))
    return Recommendation("not known", answer, metric, entry, would_change=("a budget for pilots: --budget 10m",))


def _answer(looks: Looks) -> tuple[AnswerKind, str]:
    """The kind of answer and the answer in words."""
    metric = looks.metric
    best = looks.entries[looks.best]
    value = best.scores[metric.name]
    shown = f"{metric.name} {format_number(value)}"
    # one look alone cannot be held against anything
    if len(looks.entries) == 1 and not looks.simplest:
        return "not known", (
            f"Without training there is the network as it is alone ('{looks.best}': {shown}). What training adds shows in a race "
            "of pilots: the recipe is the cheapest run that could be.")
    if looks.best == looks.simplest or (looks.ahead is not None and looks.ahead[1] <= 0):
        return "nothing to learn", (
            f"Nothing was learnt from these rows: no simple model is better than '{looks.simplest}' beyond chance ({shown}). "
            "Look at the labels before you train anything.")
    if metric.goal == "max" and value >= ALL_BUT_RIGHT:
        return "train nothing", (f"Do not fine-tune: '{looks.best}' is right already ({shown}), and a tuned network can hardly "
                                 "be better.")
    if looks.curve is not None and are_labels_worth_more(looks):
        num_rows = looks.curve.points[-1].rows
        return "more labels", (
            f"More labels help: {more_rows(metric, looks.curve, num_rows)}, by the curve of '{looks.best}' ({shown} with "
            f"{num_rows:,} rows). What a tuned network adds was not raced.")
    return "train", (
        f"'{looks.best}' has {shown}, without training a network. Whether a tuned one is better was not raced: the recipe is the "
        "cheapest run that could be.")


def are_labels_worth_more(looks: Looks) -> bool:
    """Whether further labels are surely worth so much that it is the answer."""
    curve = looks.curve
    if curve is None or looks.metric.goal != "max":
        return False
    _, low, _ = curve.gain(curve.points[-1].rows, MORE_ROWS)
    return low > WORTH_LABELS


def _tried(looks: Looks) -> list[Tried]:
    """The looks as lines of the table, the best first."""
    metric = looks.metric
    tried = []
    for name, outcome in looks.entries.items():
        value = outcome.scores.get(metric.name)
        behind = None
        if value is not None and name != looks.best:
            behind = metric.ahead(looks.entries[looks.best].scores[metric.name], value)
        tried.append(Tried(name, value, behind, rows=outcome.num_train_rows, seconds=outcome.seconds))
    return sorted(tried, key=lambda line: line.behind or 0.0)


def _why(looks: Looks) -> list[str]:
    why = []
    metric = looks.metric
    if looks.ahead is not None and looks.simplest:
        why.append(f"'{looks.best}' is ahead of '{looks.simplest}' by {difference(metric, *looks.ahead)} of {metric.name}")
    if looks.curve is not None:
        why.append(more_rows(metric, looks.curve, looks.curve.points[-1].rows) + f", by the curve of '{looks.best}'")
    return why


def _would_change(looks: Looks, kind: AnswerKind) -> list[str]:
    lines = ["a race of pilots, which trains candidates on these rows and compares them: --budget 10m"]
    if kind == "nothing to learn":
        lines.insert(0, "labels that say something about the text, or columns that were meant otherwise (--columns)")
    return lines
