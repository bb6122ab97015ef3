"""From a report to one verdict: its level, its words, its numbers, and the commands that would
help."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ftp.types import Level, Risk
from ftp_leakage.advice import Request
from ftp_leakage.clean import AlsoRemove, rows_to_remove
from ftp_leakage.findings import Finding
from ftp_leakage.report import Overlap, Report
from ftp_leakage.summary import Levels, Summary

SHARED_PARTS = 0.05  # share of rows with a part of another split that warns
LATE = 0.01  # share of dated training rows that are not before evaluation that stops
CONFLICTS, CONFLICTS_SHARE = 3, 0.01  # rows, and share of all rows, that warn
GIVEN_AWAY_STOPS, GIVEN_AWAY_WARNS = 0.9, 0.4  # shares of rows whose text gives their label away
EXAMPLES = 5  # findings shown in the evidence
EXAMPLES_OF_KIND = 3  # of these of one kind at most
SEARCHED = 20_000  # findings looked through for examples: there may be millions


def verdict(
    report: Report,
    levels: Levels,
    excerpt: Callable[[str, int], str] = lambda split, row: "",
    request: Callable[[], Request | None] = lambda: None,
) -> Risk:
    """The verdict on a report.

    Args:
        excerpt: shortened text of a row.
        request: makes what was asked for, of which the advice is made; called only where advice is
            needed, as it reads files.
    """
    compared = {}
    for split in report.splits:
        compared[split] = report.looked[split] - report.empty.get(split, 0)
    summary = Summary(levels, compared, {"rows": dict(report.rows), "compared": compared})
    if report.sampled:
        summary.evidence["sampled"] = list(report.sampled)

    has_compared = _add_overlaps(report, summary)
    _add_inside(report, summary)
    _add_sides(report, summary)
    _add_groups(report, summary)
    _add_labels(report, summary)
    _add_dates(report, summary)
    _add_benchmarks(report, summary)
    _add_left_out(report, summary)
    examples = _examples(report, excerpt)
    if examples:
        summary.evidence["examples"] = examples

    # one split alone can be compared with itself or with a benchmark
    has_compared |= any(compared[overlap.first] for overlap in report.inside)
    has_compared |= any(contained.num_compared for contained in report.contained)
    if not has_compared:
        reason = _why_not_run(report)
        if not any(level in ("warn", "stop") for level, _ in summary.sentences):
            finding = "; ".join([reason, *report.left_out])
            return Risk("leakage", "not_run", finding, summary.evidence, stage="data")
        summary.add("note", reason)
    level = summary.worst()
    advice: tuple[str, ...] = ()
    if level in ("warn", "stop"):
        advice = _commands(report, request(), AlsoRemove(**summary.also))
    return Risk("leakage", level, summary.text(), summary.evidence, advice, "data")


def _add_overlaps(report: Report, summary: Summary) -> bool:
    """Rows that two splits share; gives whether any two splits could be compared."""
    has_compared = False
    for overlap in report.overlaps:
        if summary.compared[overlap.first] and summary.compared[overlap.second]:
            _add_overlap(overlap, summary)
            has_compared = True
    return has_compared


def _add_overlap(overlap: Overlap, summary: Summary) -> None:
    levels = summary.levels
    num_rows = summary.compared[overlap.second]
    num_exact = overlap.num_exact()
    num_sure = overlap.num_sure()
    num_alike = overlap.num_rows()
    share = num_alike / num_rows
    numbers: dict[str, object] = {
        "exact": num_exact,
        "near": num_alike - num_exact,
        "sure": num_sure,
        "rows": num_rows,
        "share": round(share, 4),
    }
    if overlap.pairs.crowded:
        numbers["crowded"] = overlap.pairs.crowded
    summary.evidence[f"{overlap.first}/{overlap.second}"] = numbers

    whose = f"{num_rows} rows of {overlap.second} also in {overlap.first}"
    if not num_alike:
        summary.add("ok", f"none of {whose}")
        return
    level: Level = "note"
    if num_exact / num_rows >= levels.stop_exact or num_sure / num_rows >= levels.stop_sure:
        # what validation and test share spoils no training; a few rows may be chance
        is_enough = num_alike >= levels.few or num_alike == num_rows
        level = "stop" if overlap.first == "train" and is_enough else "warn"
    elif num_sure / num_rows >= levels.warn_sure or share >= levels.warn_near:
        level = "warn"
    summary.add(
        level,
        f"{num_alike} of {whose} ({share:.1%}): {num_exact} word for word, "
        f"{num_alike - num_exact} nearly",
    )


def _add_inside(report: Report, summary: Summary) -> None:
    """Rows alike inside of one split."""
    for overlap in report.inside:
        split = overlap.first
        num_rows = overlap.num_rows()
        summary.count("inside", split, num_rows)
        of = f"of {summary.compared[split]} rows of {split}"
        if num_rows:
            summary.add("note", f"{num_rows} {of} repeat another of {split}")
        else:
            summary.add("ok", f"none {of} repeats another of {split}")


def _add_sides(report: Report, summary: Summary) -> None:
    """Parts that rows of two splits share."""
    for overlap in report.sides:
        num_rows = overlap.num_rows()
        num_compared = summary.compared[overlap.second]
        summary.count("sides", f"{overlap.name} {overlap.first}/{overlap.second}", num_rows)
        level: Level = "note"
        if overlap.is_weighty and num_rows / max(1, num_compared) >= SHARED_PARTS:
            level = "warn"
            summary.also["shared"] = True
        words = f"share their {overlap.part} with {overlap.first}"
        if overlap.other:
            words = (
                f"have the {overlap.other} of a row of {overlap.first} whose {overlap.part} it is"
            )
        summary.add(level, f"{num_rows} of {num_compared} rows of {overlap.second} {words}")


def _add_groups(report: Report, summary: Summary) -> None:
    """Groups that are in two splits."""
    levels = summary.levels
    rows_of_column: dict[str, int] = {}
    for shared in report.shared:
        if not shared.values:
            continue
        num_shared = shared.num_shared
        share = num_shared / max(1, shared.num_rows)
        summary.count("groups", f"{shared.column} {shared.first}/{shared.second}", num_shared)
        level: Level = "warn" if share >= levels.stop_exact else "note"
        if level == "warn" and shared.is_named and num_shared >= levels.few:
            level = "stop"
        summary.add(
            level,
            f"{num_shared} of {shared.num_rows} rows of {shared.second} have a {shared.column} "
            f"that is in {shared.first} too; rows of one {shared.column} belong in one split",
        )
        if level != "note" and not shared.is_named:
            rows_of_column.setdefault(shared.column, 0)
            rows_of_column[shared.column] += num_shared
    if rows_of_column:
        summary.also["group"] = max(rows_of_column, key=lambda column: rows_of_column[column])


def _add_labels(report: Report, summary: Summary) -> None:
    """Conflicts of labels, and what gives labels away."""
    num_conflicts = len(report.conflicts)
    if num_conflicts:
        share = num_conflicts / max(1, sum(report.looked.values()))
        summary.evidence["conflicts"] = num_conflicts
        level: Level = "note"
        # a few conflicts are a matter of labelling, and in a large set a small share is still many
        if share >= CONFLICTS_SHARE and num_conflicts >= CONFLICTS:
            level = "warn"
            summary.also["conflicts"] = True
        summary.add(
            level, f"{num_conflicts} rows have the text of another row and a different label"
        )
    if report.giveaways:
        share = report.given_away
        examples = report.giveaways[:5]
        summary.evidence["giveaways"] = {example.sign: example.label for example in examples}
        summary.evidence["given_away"] = round(share, 4)
        level = "warn" if share >= GIVEN_AWAY_WARNS else "note"
        if share >= GIVEN_AWAY_STOPS:
            level = "stop"
        if level != "note":
            summary.also["giveaways"] = True
        signs = ", ".join(f"'{example.sign}' ({example.label})" for example in examples[:3])
        summary.add(
            level,
            f"words or signs give away the label in {share:.0%} of the rows of {report.train}, "
            f"from which a model learns nothing else: {signs}",
        )
    if report.telling:
        columns = [column.sign for column in report.telling]
        summary.evidence["columns"] = columns
        summary.add(
            "note",
            f"the label can be told from {', '.join(columns)} alone: "
            "never give that column to the model",
        )


def _add_dates(report: Report, summary: Summary) -> None:
    """Rows that are later than the split behind theirs."""
    for late in report.late:
        numbers = {"late": late.rows, "of": late.num_dated}
        summary.count("time", f"{late.first}/{late.second}", numbers)
        if not late.rows:
            continue
        is_enough = late.rows / late.num_dated >= LATE and late.rows >= summary.levels.few
        summary.add(
            "stop" if is_enough else "warn",
            f"{late.rows} of {late.num_dated} rows of {late.first} are dated at or after the first "
            f"row of {late.second}, where {late.first} should end before {late.second} begins",
        )
    if any(report.undated.values()):
        summary.evidence["undated"] = dict(report.undated)
        summary.add("note", f"rows without a readable date: {sum(report.undated.values())}")


def _add_benchmarks(report: Report, summary: Summary) -> None:
    """Benchmark rows that stand in training rows."""
    levels = summary.levels
    for contained in report.contained:
        count = contained.num_contained()
        num_compared = contained.num_compared
        numbers = {"found": count, "compared": num_compared, "rows": contained.num_rows}
        summary.count("benchmarks", contained.name, numbers)
        of = f"of {num_compared} rows of {contained.name}"
        if not num_compared:
            summary.add("note", f"{contained.name}: no row is long enough to be compared")
        elif count:
            is_enough = count / num_compared >= levels.stop_exact and count >= levels.few
            summary.add("stop" if is_enough else "warn", f"{count} {of} stand in {report.train}")
        else:
            summary.add("ok", f"none {of} stands in {report.train}")


def _add_left_out(report: Report, summary: Summary) -> None:
    """What could not be compared."""
    if report.left_out:
        summary.evidence["left_out"] = list(report.left_out)
        for words in report.left_out:
            summary.add("note", words)
    empty = {split: count for split, count in report.empty.items() if count}
    if empty:
        summary.evidence["empty"] = empty
        count = sum(empty.values())
        summary.add("note", f"{count} rows have no text and were compared with nothing")


def _why_not_run(report: Report) -> str:
    """Why no rows could be compared."""
    if len(report.splits) < 2:
        only = report.splits[0] if report.splits else "no split"
        return f"there is one split only ({only}): nothing to compare it with"
    empty = []
    for split in report.splits:
        if report.looked[split] == report.empty.get(split, 0):
            empty.append(split)
    if not empty:
        return "nothing to compare"
    return f"no row with text in {', '.join(empty)}: nothing to compare"


def _commands(report: Report, request: Request | None, also: AlsoRemove) -> tuple[str, ...]:
    """What to type next."""
    if request is None:
        return ("ftp data clean --help",)
    column = also.group
    for shared in report.shared:
        if column is None and shared.is_named and shared.values:
            column = shared.column
    cut = request.cut_by_group(column) if column else None

    # where a split would be left empty, cleaning is no help
    removed: dict[str, set[int]] = {}
    for split, row, _ in rows_to_remove(report, also):
        removed.setdefault(split, set()).add(row)
    for split, num_rows in report.looked.items():
        if len(removed.get(split, ())) >= num_rows > 0:
            return (cut or request.clean_train(),)
    clean = request.clean(*also.options(request.names))
    return (cut, clean) if cut and request.cuts_validation else (clean,)


def _examples(report: Report, excerpt: Callable[[str, int], str]) -> list[Mapping[str, object]]:
    """Some findings with the texts of their rows, of as many kinds as there are."""
    by_kind: dict[str, list[Finding]] = {}
    for number, finding in enumerate(report.findings()):
        of_kind = by_kind.setdefault(finding.kind, [])
        if len(of_kind) < EXAMPLES_OF_KIND:
            of_kind.append(finding)
        if number > SEARCHED:
            break

    # the first of each kind, then the second of each
    chosen: list[Finding] = []
    for index in range(EXAMPLES_OF_KIND):
        chosen += [findings[index] for findings in by_kind.values() if index < len(findings)]
    examples: list[Mapping[str, object]] = []
    for finding in chosen[:EXAMPLES]:
        texts = [excerpt(*finding.a)]
        if finding.b and finding.b[0] in report.splits:
            texts.append(excerpt(*finding.b))
        examples.append({**finding.as_dict(), "texts": texts})
    return examples
