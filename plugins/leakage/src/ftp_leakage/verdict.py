"""From what was found to one verdict: its level, its words, its numbers, and the commands that would help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ftp.types import Level, Risk
from ftp_leakage.advice import Asked
from ftp_leakage.clean import Also, goes
from ftp_leakage.findings import Finding
from ftp_leakage.report import Overlap, Report

RANK: tuple[Level, ...] = ("ok", "note", "warn", "stop")


@dataclass(frozen=True)
class Levels:
    """Shares of the evaluation rows. `stop_exact`: in train with the same words. `stop_sure`, `warn_sure`: copied from
    train beyond doubt, changed or not (log odds of `check.SURE` nats). `warn_near`: with any near duplicate in train;
    where many people say short things, many of these are chance. Fewer than `few` rows never stop a run."""

    stop_exact: float = 0.01
    stop_sure: float = 0.05
    warn_sure: float = 0.02
    warn_near: float = 0.2
    few: int = 3


def verdict(
    report: Report, levels: Levels, show: Callable[[str, int], str] = lambda split, row: "",
    ask: Callable[[], Asked | None] = lambda: None,
) -> Risk:
    """The verdict on a report. `show`: shortened text of a row; `ask`: what the advice is made of, asked for where it is
    needed."""
    held = [split for split in report.splits if split != "train"]
    compared = {split: report.looked[split] - report.empty.get(split, 0) for split in report.splits}
    evidence: dict[str, Any] = {"rows": dict(report.rows), "compared": compared}
    if report.sampled:
        evidence["sampled"] = list(report.sampled)
    said: list[tuple[Level, str]] = []
    also: dict[str, Any] = {}  # what cleaning must do beside what was asked for
    pairs = {(one.first, one.second): one for one in report.overlaps}
    useful = [(a, b) for (a, b) in pairs if compared[a] and compared[b]]
    for a, b in useful:
        level, words, numbers = _overlap(pairs[a, b], compared[b], levels)
        evidence[f"{a}/{b}"] = numbers
        said.append((level, words))
    for one in report.inside:
        evidence.setdefault("inside", {})[one.first] = one.rows()
        said.append(("note" if one.rows() else "ok", f"{one.rows() or 'none'} of {compared[one.first]} rows of {one.first} "
                     f"repeat{'' if one.rows() else 's'} another of {one.first}"))
    for one in report.sides:
        share = one.rows() / max(1, compared[one.second])
        evidence.setdefault("sides", {})[f"{one.name} {one.first}/{one.second}"] = one.rows()
        whose = f"have the {one.other} of a row of {one.first} whose {one.part} it is" if one.other else ""
        level = "warn" if one.weighty and share >= 0.05 else "note"
        if level == "warn":
            also["shared"] = True
        said.append((level, f"{one.rows()} of {compared[one.second]} rows of {one.second} "
                     + (whose or f"share their {one.part} with {one.first}")))
    grouped: dict[str, int] = {}
    for shared in report.shared:
        if not shared.values:
            continue
        share = shared.rows / max(1, shared.of)
        evidence.setdefault("groups", {})[f"{shared.column} {shared.first}/{shared.second}"] = shared.rows
        level = ("stop" if shared.named and share >= levels.stop_exact and shared.rows >= levels.few
                 else "warn" if share >= levels.stop_exact else "note")
        said.append((level, f"{shared.rows} of {shared.of} rows of {shared.second} have a {shared.column} that is "
                     f"in {shared.first} too, where rows of one {shared.column} belong into one split"))
        if level != "note" and not shared.named:
            grouped[shared.column] = grouped.get(shared.column, 0) + shared.rows
    if grouped:
        also["group"] = max(grouped, key=lambda name: grouped[name])
    _labels(report, said, evidence, also)
    for late in report.late:
        evidence.setdefault("time", {})[f"{late.first}/{late.second}"] = {"late": late.rows, "of": late.of}
        if late.rows:
            share = late.rows / late.of
            said.append(("stop" if share >= 0.01 and late.rows >= levels.few else "warn",
                         f"{late.rows} of {late.of} rows of {late.first} are dated not before the first row of {late.second}, "
                         f"where {late.first} should end before {late.second} begins"))
    if any(report.undated.values()):
        evidence["undated"] = dict(report.undated)
        said.append(("note", f"rows without a readable date: {sum(report.undated.values())}"))
    for held_in in report.contained:
        count = held_in.num_benchmark_rows()
        evidence.setdefault("benchmarks", {})[held_in.name] = {"found": count, "compared": held_in.compared, "rows": held_in.of}
        if not held_in.compared:
            said.append(("note", f"{held_in.name}: no row is long enough to be compared"))
        elif count:
            many = count / held_in.compared >= levels.stop_exact and count >= levels.few
            said.append(("stop" if many else "warn",
                         f"{count} of {held_in.compared} rows of {held_in.name} stand in {report.train}"))
        else:
            said.append(("ok", f"none of {held_in.compared} rows of {held_in.name} stands in {report.train}"))
    if report.left_out:
        evidence["left_out"] = list(report.left_out)
        said += [("note", words) for words in report.left_out]
    if report.empty and any(report.empty.values()):
        evidence["empty"] = {split: count for split, count in report.empty.items() if count}
        said.append(("note", f"{sum(report.empty.values())} rows have no text and were compared with nothing"))
    examples = _examples(report, show)
    if examples:
        evidence["examples"] = examples
    alone = any(compared[one.first] for one in report.inside) or any(held_in.compared for held_in in report.contained)
    if not useful and not alone and not any(level in ("warn", "stop") for level, _ in said):
        return Risk("leakage", "not_run", "; ".join([_reason(report, held), *report.left_out]), evidence, stage="data")
    if not useful and not alone:
        said.append(("note", _reason(report, held)))
    level = max((one for one, _ in said), key=RANK.index)
    advice = _commands(report, ask(), Also(**also)) if level in ("warn", "stop") else ()
    told = [words for one, words in sorted(said, key=lambda item: -RANK.index(item[0])) if level == "ok" or one != "ok"]
    return Risk("leakage", level, "; ".join(dict.fromkeys(told)), evidence, advice, "data")


def _commands(report: Report, asked: Asked | None, also: Also) -> tuple[str, ...]:
    """What to type next."""
    if asked is None:
        return ("ftp data clean --help",)
    column = also.group or next((one.column for one in report.shared if one.named and one.values), None)
    cut = asked.cut_again(column) if column else None
    gone: dict[str, set[int]] = {}
    for split, row, _ in goes(report, also):
        gone.setdefault(split, set()).add(row)
    if any(len(gone.get(split, ())) >= size > 0 for split, size in report.looked.items()):
        return (cut or asked.otherwise(),)
    return (*((cut,) if cut and asked.recut else ()), asked.clean(*also.words(asked.names)))


def _reason(report: Report, held: list[str]) -> str:
    if len(report.splits) < 2:
        only = report.splits[0] if report.splits else "no split"
        return f"there is one split only ({only}): nothing to compare it with"
    empty = [split for split in report.splits if report.looked[split] == report.empty.get(split, 0)]
    return f"no row with text in {', '.join(empty)}: nothing to compare" if empty else "nothing to compare"


def _overlap(overlap: Overlap, rows: int, levels: Levels) -> tuple[Level, str, dict[str, Any]]:
    exact, sure, every = overlap.exact(), overlap.sure(), overlap.rows()
    numbers: dict[str, Any] = {
        "exact": exact, "near": every - exact, "sure": sure, "rows": rows, "share": round(every / rows, 4)
    }
    if overlap.pairs.crowded:
        numbers["crowded"] = overlap.pairs.crowded
    pair = f"{overlap.second} also in {overlap.first}"
    if not every:
        return "ok", f"none of {rows} rows of {pair}", numbers
    words = f"{every} of {rows} rows of {pair} ({every / rows:.1%}): {exact} word for word, {every - exact} nearly"
    level: Level = "note"
    if exact / rows >= levels.stop_exact or sure / rows >= levels.stop_sure:
        level = "stop" if overlap.first == "train" and (every >= levels.few or every == rows) else "warn"
    elif sure / rows >= levels.warn_sure or every / rows >= levels.warn_near:
        level = "warn"
    return level, words, numbers


def _labels(report: Report, said: list[tuple[Level, str]], evidence: dict[str, Any], also: dict[str, Any]) -> None:
    if report.conflicts:
        share = len(report.conflicts) / max(1, sum(report.looked.values()))
        evidence["conflicts"] = len(report.conflicts)
        level: Level = "warn" if share >= 0.01 and len(report.conflicts) >= 3 else "note"
        if level == "warn":
            also["conflicts"] = True
        said.append((level, f"{len(report.conflicts)} rows have the text of another row and a different label"))
    if report.giveaways:
        evidence["giveaways"] = {one.what: one.label for one in report.giveaways[:5]}
        evidence["given_away"] = round(report.given_away, 4)
        most = report.given_away
        level = "stop" if most >= 0.9 else "warn" if most >= 0.4 else "note"
        if level != "note":
            also["giveaways"] = True
        words = ", ".join(f"'{one.what}' ({one.label})" for one in report.giveaways[:3])
        said.append((level, f"words or signs give away the label in {most:.0%} of the rows of {report.train}, from which a "
                     f"model learns nothing else: {words}"))
    if report.telling:
        evidence["columns"] = [one.what for one in report.telling]
        said.append(("note", f"the label can be told from {', '.join(one.what for one in report.telling)} alone: "
                     "never give that column to the model"))


def _examples(report: Report, show: Callable[[str, int], str]) -> list[Mapping[str, Any]]:
    """Five findings at most, of as many kinds as there are."""
    by_kind: dict[str, list[Finding]] = {}
    for number, finding in enumerate(report.findings()):
        kept = by_kind.setdefault(finding.kind, [])
        if len(kept) < 3:
            kept.append(finding)
        if number > 20_000:
            break
    chosen = [kept[place] for place in range(3) for kept in by_kind.values() if place < len(kept)][:5]
    return [
        {**one.as_dict(), "texts": [show(*one.a)] + ([show(*one.b)] if one.b and one.b[0] in report.splits else [])}
        for one in chosen
    ]
