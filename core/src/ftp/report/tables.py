"""The tables of the page: scores, options, facts, confusion, classes. Imports nothing heavy."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence

from ftp.report.comparison import ComparedScore, baseline_names, by_split, compare, held_out
from ftp.report.curves import looks
from ftp.report.numbers import format_duration
from ftp.report.story import Story
from ftp.types import Score

MOST_CLASSES = 12
"""Classes of a confusion matrix that is shown; of more, the pairs that are mixed up most."""
MOST_PAIRS = 15
MOST_BARS, BARS_AT_ENDS = 20, 10
"""Classes whose shares are shown; of more, the most and the least frequent."""


def facts(story: Story) -> list[tuple[str, str]]:
    """The run in a few words: name and value of each fact that is known."""
    known = story.summary.facts
    # a run that was stopped early has no more than its status
    rows = [("status", story.summary.status)]
    if known.get("reason"):
        rows.append(("ended", str(known["reason"])))
    if known.get("model"):
        rows.append(("model", str(known["model"])))
    if known.get("trained") is not None and known.get("total"):
        rows.append(("trained", f"{known['trained']:,} of {known['total']:,} parameters"))
    if known.get("steps") is not None:
        best = f", the best after {known['best_step']}" if known.get("best_step") is not None else ""
        rows.append(("updates", f"{known['steps']:,}{best}"))
    if known.get("seconds") is not None:
        rows.append(("time", format_duration(known["seconds"])))
    if known.get("device"):
        rows.append(("device", str(known["device"])))
    return rows


# --- scores ---


def score_table(story: Story) -> dict[str, object]:
    """Scores on held-out rows beside those of the baselines, as the terminal shows them."""
    baselines = story.summary.baselines
    rows: list[ComparedScore] = compare(held_out(story.summary.scores), baselines)
    return {"baselines": baseline_names(baselines), "rows": rows}


def scores_beside(stories: Sequence[Story]) -> list[dict[str, object]]:
    """A row a score: its value in each run, and which of them is best."""
    scores: dict[tuple[str, str], Score] = {}
    for story in stories:
        for score in by_split(held_out(story.summary.scores)):
            scores.setdefault((score.name, score.split), score)
    rows = []
    for score in scores.values():
        values = [_value_of(score, story.summary.scores) for story in stories]
        rows.append({"score": score, "values": values, "best": _best(score, values)})
    return rows


def _value_of(wanted: Score, scores: Sequence[Score]) -> float | None:
    """The value of the same score of another run; None where it has none."""
    for score in scores:
        if (score.name, score.split) == (wanted.name, wanted.split):
            return score.value
    return None


def _best(score: Score, values: Sequence[float | None]) -> float | None:
    """The best value of a score; None where none is better than another."""
    known = [value for value in values if value is not None]
    if score.goal == "none":
        return None
    return max(known) if score.goal == "max" else min(known)


# --- options ---


def options_beside(stories: Sequence[Story]) -> list[tuple[str, list[str]]]:
    """Options in which the runs differ, and their values."""
    recipes = [dict(_flatten(tomllib.loads(story.recipe))) for story in stories]
    names: dict[str, None] = {}  # a set that keeps the order
    for recipe in recipes:
        names.update(dict.fromkeys(recipe))
    names.pop("out", None)  # two runs never share a folder
    differing = []
    for name in names:
        values = [str(recipe.get(name, "-")) for recipe in recipes]
        if len(set(values)) > 1:
            differing.append((name, values))
    return differing


def _flatten(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The options of a recipe by their names on the command line: `lora.r`."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{name}", value


# --- classes ---


def confusion_matrix(story: Story) -> dict[str, object] | None:
    """The matrix of true classes and answers; None without classes.

    A cell is its number of rows, their share of the true class, and whether they are right.
    """
    confusion = story.confusion
    if confusion is None:
        return None
    rows = []
    total = 0
    for true, (label, counts) in enumerate(zip(confusion.labels, confusion.counts, strict=True)):
        size = sum(counts)
        cells = []
        for answer, count in enumerate(counts):
            # a class may have answers and no rows: its share is of nothing
            cells.append((count, count / max(1, size), answer == true))
        rows.append((label, cells, size))
        total += size
    return {
        "split": confusion.split,
        "labels": confusion.labels,
        "rows": rows,
        "whole": len(confusion.labels) <= MOST_CLASSES,
        "mixed": confusion.mixed[:MOST_PAIRS],
        "wrong": sum(count for *_, count in confusion.mixed),
        "total": total,
    }


def class_shares(story: Story) -> dict[str, object] | None:
    """Share of each class in each split, with the length of its bar in percent of the longest."""
    counts = {}
    for split, shape in story.data.items():
        if shape.get("classes"):
            counts[split] = shape["classes"]
    if not counts:
        return None
    shares = {split: _shares(split_counts) for split, split_counts in counts.items()}
    longest = max(max(split_shares.values()) for split_shares in shares.values()) or 1
    # by frequency in the first split, which is train as a rule
    first = next(iter(shares.values()))
    labels = sorted(first, key=lambda label: -first[label])
    shown = labels
    if len(labels) > MOST_BARS:
        shown = [*labels[:BARS_AT_ENDS], *labels[-BARS_AT_ENDS:]]
    rows = []
    for label in shown:
        bars = []
        for split, split_counts in counts.items():
            share = shares[split].get(label, 0.0)
            bars.append((split, share, 100 * share / longest, split_counts.get(label, 0)))
        rows.append((label, bars))
    keys = list(zip(counts, looks(len(counts)), strict=True))
    return {"rows": rows, "left_out": len(labels) - len(shown), "keys": keys}


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = max(1, sum(counts.values()))
    return {label: count / total for label, count in counts.items()}
