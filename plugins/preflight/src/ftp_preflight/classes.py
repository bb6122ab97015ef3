"""What can be seen in labels: values that name no class, classes that a split lacks, spellings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ftp import forms
from ftp.data import spellings
from ftp.risks import named_options
from ftp.types import Data, Run
from ftp_preflight.findings import Findings, first_few

if TYPE_CHECKING:
    from ftp.forms import Column
    from ftp_preflight import Preflight

UNEVEN = 5  # classes are uneven where the rarest has less than this part of its fair share
WEIGHTS = "class_weight"  # the plugin that lets rare classes count as much
BALANCED = "balanced"  # the option of a plugin that fits a head itself, for the same
EXPECTED = 5  # rows of a class that chance gives to a split: with fewer it may lack the class


def look_at_classes(options: Preflight, run: Run, data: Data, findings: Findings) -> None:
    """Labels that name no class, classes that a split lacks, extreme imbalance. All stored rows are
    counted."""
    column = forms.get(data.form).of_kind("class", "tags")[0]
    names = data.labels
    counts = _count_labels(data, column)
    if not counts or not names:
        return
    if not _are_in_range(names, counts, findings):
        return
    _look_at_spellings(run, names, counts, findings)
    train = counts.get("train")
    if train is None:
        return
    present = [label for label in range(len(names)) if train[label]]
    if len(present) < 2 and column.kind == "class":
        only = _named(names, present)
        findings.add("warn", f"train has one class only ({only}): there is nothing to tell apart")
    for split, held in counts.items():
        if split != "train":
            _compare_classes(names, present, train, split, held, findings)
    if column.kind == "class" and len(present) > 1:
        _imbalance(options, run, names, train, present, findings)


def _count_labels(data: Data, column: Column) -> dict[str, Counter[int]]:
    """Split -> label -> how often stored rows have it."""
    counts: dict[str, Counter[int]] = {}
    for split, rows in data.splits.items():
        is_stored = hasattr(rows, "num_rows")
        if (
            split == "general"
            or not is_stored
            or column.name not in rows.column_names
            or not len(rows)
        ):
            continue
        counts[split] = Counter()
        if column.kind == "tags":
            for tags in rows[column.name][:]:
                counts[split].update(tags)
        else:
            counts[split].update(rows[column.name][:])
    return counts


def _is_class(label: object, names: Sequence[str]) -> bool:
    return isinstance(label, int) and 0 <= label < len(names)


def _are_in_range(
    names: Sequence[str], counts: Mapping[str, Counter[int]], findings: Findings
) -> bool:
    """Whether every label numbers a class."""
    out_of_range = {}
    strange = set()
    for split, of_split in counts.items():
        out_of_range[split] = 0
        for label, count in of_split.items():
            if not _is_class(label, names):
                out_of_range[split] += count
                strange.add(str(label))
    findings.record("labels", classes=len(names), out_of_range=out_of_range)
    if not strange:
        return True
    where = [f"{count} rows of {split}" for split, count in out_of_range.items() if count]
    findings.add(
        "stop",
        f"labels that name no class: {', '.join(sorted(strange)[:5])} in {', '.join(where)}; "
        f"there are {len(names)} classes, numbered from 0",
    )
    return False


def _compare_classes(
    names: Sequence[str],
    present: Sequence[int],
    train: Counter[int],
    split: str,
    held: Counter[int],
    findings: Findings,
) -> None:
    """Classes that only one of train and another split has.

    Args:
        present: classes that train has.
        held: label -> its rows in the other split.
    """
    new = [label for label in held if not train[label]]
    missing = [label for label in present if not held[label]]
    findings.record("labels", **{f"not_in_{split}": len(missing), f"only_in_{split}": len(new)})
    preview = f"{findings.preview} --split {split}"
    if new:
        findings.add(
            "warn",
            f"{_named(names, new)}: in {split}, and never in train, so it cannot be learnt",
            preview,
        )
    if missing:
        expected = [held.total() * train[label] / train.total() for label in missing]
        findings.add(
            "warn" if max(expected) >= EXPECTED else "note",
            f"{_named(names, missing)}: in train, and never in {split}, so nothing tells how well "
            "it "
            f"is learnt (a {split} that is cut from train has rows of each)",
            preview,
        )


def _imbalance(
    options: Preflight,
    run: Run,
    names: Sequence[str],
    train: Counter[int],
    present: Sequence[int],
    findings: Findings,
) -> None:
    """Rows of the largest class for one of the smallest, and of the smallest against its fair share."""
    largest = max(present, key=lambda label: train[label])
    smallest = min(present, key=lambda label: train[label])
    ratio = train[largest] / train[smallest]
    findings.record(
        "labels",
        largest=[names[largest], train[largest]],
        smallest=[names[smallest], train[smallest]],
    )
    fair_share = train.total() / len(present)
    is_uneven = UNEVEN * train[smallest] < fair_share
    if ratio < options.imbalance / 5 and not is_uneven:
        return
    shares = ""
    advice = []
    if is_uneven:
        of_largest = train[largest] / train.total()
        of_smallest = train[smallest] / train.total()
        shares = (
            f" ({of_largest:.1%} and {of_smallest:.1%} of the rows; {1 / len(present):.1%} each would be even)"
        )
        advice += _ways_to_balance(run)
    if run.settings.metric_for_best_model != "macro_f1":
        advice.append(run.command("--metric-for-best-model", "macro_f1"))
    findings.add(
        "warn" if ratio >= options.imbalance else "note",
        f"{names[largest]!r} has {train[largest]} rows in train and {names[smallest]!r} "
        f"{train[smallest]}{shares}: accuracy says little, macro F1 more",
        *advice,
    )


def _ways_to_balance(run: Run) -> list[str]:
    """Commands that let rare classes count as much as common ones in such a run."""
    picked = [plugin.name for plugin in run.hooks.picked if not plugin.found.default]
    if run.settings.max_steps != 0:
        is_possible = picked and WEIGHTS not in picked
        return [run.command("--plugins", ",".join([*picked, WEIGHTS]))] if is_possible else []
    # without an update nothing asks the loss: who fits a head has an option for it
    commands = []
    for flag, value, description in named_options(run):
        if description.name == BALANCED and value is False:
            commands.append(run.command(f"--{flag}"))
    return commands


def _look_at_spellings(
    run: Run,
    names: Sequence[str],
    counts: Mapping[str, Mapping[int, int]],
    findings: Findings,
) -> None:
    """Classes that are probably one class in several spellings, and classes named as a cell without
    a value is."""
    by_name = Counter[str]()
    for of_split in counts.values():
        for label, count in of_split.items():
            if _is_class(label, names):
                by_name[names[label]] += count
    variants = spellings.find_variants(by_name)
    nothing = spellings.words_for_nothing(by_name)
    findings.record("labels", spellings=len(variants), words_for_nothing=len(nothing))
    if variants:
        shown = first_few([str(variant) for variant in variants], 3, "; ")
        findings.add(
            "warn",
            f"probably spellings of one class, which are learnt as different ones: {shown}",
            run.command(spellings.JOIN),
        )
    if nothing:
        shown = ", ".join(f"{name!r} ({by_name[name]})" for name in nothing)
        findings.add(
            "warn",
            f"classes that probably stand for rows without a label: {shown}; leave these rows out "
            "if so",
        )


def _named(names: Sequence[str], labels: Sequence[int]) -> str:
    return first_few([repr(names[label]) for label in sorted(labels)], 5)
