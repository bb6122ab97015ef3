"""The same case or statute in two splits: rows about one case are no independent rows.

Citations are read by their form: neutral ones ([2007] FCA 123), reports by volume and page (410 U.S. 113), names (Smith v
Jones), and sections of a statute (section 52 of the Trade Practices Act 1974). Which reporters exist need not be known, as only
what two splits have in common counts. What very many training rows cite is an authority of the field and binds no two rows.
"""

from __future__ import annotations

import re
from typing import Any

from ftp.data.look import some, text_of
from ftp.types import Data, Risk, Run

COMMON = 0.02
"""Share of training rows above which a citation (of five rows at least) is one of the field, and not counted."""
FEWEST = 3
"""Evaluation rows that share a citation before it is a warning."""
SHOWN = 10

_WORD = r"(?:[A-Z][a-z]{0,3}\.|[A-Z][\w'’-]*)"
_PARTY = rf"{_WORD}(?:,? (?:{_WORD}|&|of|for|the|and|de|van)){{0,7}}"
NEUTRAL = re.compile(r"\[(\d{4})\] (?:(\d+) )?([A-Z][A-Za-z.]*(?: [A-Z][A-Za-z.]*){0,3})(?: \((\w+)\))? (\d+)")
REPORT = re.compile(
    r"\b(\d{1,4}) ((?:[A-Z]\.? ?){1,3}(?:[A-Za-z]{1,5}\.? ?){0,3}(?:[23]d|[4-9]th)?) ?(\d{1,5})\b(?! ?(?:percent|per cent|days))")
LOWER_REPORT = re.compile(  # texts in lower case: only what dots make a reporter
    r"\b(\d{1,4}) ((?:[a-z]{1,4}\. ?){1,4}(?:[23]d|[4-9]th)?) ?(\d{1,5})\b")
NAMES = re.compile(rf"({_PARTY}) v[s]?\.? ({_PARTY})")
SECTION = re.compile(
    r"(?<!\w)(?:[Ss]ections?|[Ss]ec\.|ss?|§§?) ?(\d+[A-Z]{0,2})(?:\(\w+\))* (?:of )?(?:the )?"
    r"((?:[A-Z][\w'’-]*,? (?:of |and |the |for |\([^)]{1,30}\) ?)*){1,8}Act(?: \d{4})?)")
CODE = re.compile(r"\b(\d{1,3}) ?(U\.?S\.?C\.?|C\.?F\.?R\.?) ?(?:§§?|[Ss]ec(?:tion|\.)) ?(\d+\w*)")
_CAPITALS = re.compile(r"[A-Z]{2,5}(?: [A-Z]{1,5})?")
_NO_REPORTER = frozenset({"AND", "OR", "OF", "TO", "DAYS", "THE", "PER", "IN", "AT", "BY"})
_LEAD = frozenset({"in", "see", "cf", "but", "also", "per", "and", "the", "compare", "under", "following", "contra", "as", "e.g",
                   "accord", "quoting", "citing"})


def cases(text: str) -> set[str]:
    """Cases that a text cites, each in one spelling."""
    found = {_plain("[", year, "]", volume or "", court, division or "", number)
             for year, volume, court, division, number in NEUTRAL.findall(text)}
    for pattern in (REPORT, LOWER_REPORT):
        for volume, reporter, page in pattern.findall(text):
            if "." in reporter or (_CAPITALS.fullmatch(reporter.strip()) and reporter.strip() not in _NO_REPORTER):
                found.add(_plain(volume, "|", reporter, "|", page))
    for first, second in NAMES.findall(text):
        words = first.split()
        while words and words[0].strip(",.").lower() in _LEAD:
            words.pop(0)
        if words:
            found.add(f"{_name(' '.join(words))} v {_name(second)}")
    return found


def statutes(text: str) -> set[str]:
    """Sections of statutes that a text cites, each in one spelling; sub-sections count as their section."""
    found = {f"s {number.lower()} {' '.join(act.lower().split())}" for number, act in SECTION.findall(text)}
    return found | {_plain(title, code, "s", section) for title, code, section in CODE.findall(text)}


KINDS = {"case": cases, "section": statutes}


def _plain(*parts: str) -> str:
    return re.sub(r"[ .]", "", "".join(parts)).lower()


def _name(party: str) -> str:
    """A party without what follows its name: the year or the rest of a sentence."""
    return " ".join(re.sub(r"[^\w& ]", "", word) for word in party.lower().split() if word not in ("the", "of"))


def cited(rows: Any, most: int) -> tuple[dict[str, dict[int, set[str]]], int]:
    """The citations of rows by kind and number of the row, where there are any; and how many rows were read."""
    found: dict[str, dict[int, set[str]]] = {kind: {} for kind in KINDS}
    read = 0
    for number, row in some(rows, most):
        text = text_of(row)
        read += 1
        for kind, look in KINDS.items():
            if keys := look(text):
                found[kind][number] = keys
    return found, read


def verdict(run: Run, data: Data, most: int, limit: float) -> Risk:
    """How many evaluation rows cite a case, or a section, that training rows cite."""
    held = [split for split in data.splits if split not in ("train", "general")]
    if "train" not in data.splits or not held:
        return Risk("same case", "not_run", "there are no two splits to compare")
    train, read = cited(data.splits["train"], most)
    others = {split: cited(data.splits[split], most) for split in held}
    counts = {split: len(set().union(*found.values())) for split, (found, _) in {"train": (train, read), **others}.items()}
    if not counts["train"] or not any(counts[split] for split in held):
        return Risk("same case", "not_run", "no citation is found in train, or none in the evaluation rows: nothing to compare",
                    {"rows_that_cite": counts})
    shares, shared = dict[tuple[str, str], float](), dict[str, dict[str, list[int]]]()
    field = dict[str, int]()  # authorities of the field that evaluation rows cite, and how many of these do
    worst: tuple[float, str, str] = (0.0, "", "")
    for kind in KINDS:
        known, allowed = binding(train[kind], read), limit if kind == "case" else min(1.0, 5 * limit)
        for split, (found, rows) in others.items():
            hit = {number: both for number, keys in found[kind].items() if (both := keys & known.keys())}
            share = shares[split, kind] = len(hit) / max(1, rows)
            often = set().union(*train[kind].values()) - known.keys()
            for key in (key for keys in found[kind].values() for key in keys & often):
                field[key] = field.get(key, 0) + 1
            for number, both in hit.items():
                for key in sorted(both):
                    shared.setdefault(key, {"train": known[key][:5]}).setdefault(split, []).append(number)
            if len(hit) >= FEWEST and share > allowed:
                worst = max(worst, (share / allowed, split, kind))
    largest = sorted(shared, key=lambda key: (-sum(map(len, shared[key].values())), key))[:SHOWN]
    evidence = {
        "rows_that_cite": counts, "citations_in_two_splits": len(shared),
        "share_of_rows_that_share": {f"{split}, {kind}": round(share, 4) for (split, kind), share in shares.items()},
        "examples": {key: {split: numbers[:5] for split, numbers in shared[key].items()} for key in largest}}
    authorities = dict(sorted(field.items(), key=lambda item: (-item[1], item[0]))[:SHOWN])
    if authorities:
        evidence["authorities"] = authorities
    told = (f"{len(field)} citations that evaluation rows have, such as {next(iter(authorities))}, are in more than "
            f"{COMMON:.0%} of the training rows and were taken for authorities of the field, which bind no rows") if field else ""
    if worst[0]:
        _, split, kind = worst
        finding = (f"{shares[split, kind]:.1%} of the {split} rows cite a {kind} that training rows cite as well (for example "
                   f"{largest[0]}): they are no unseen rows. All rows of a case belong in one split")
        return Risk("same case", "warn", finding, evidence, (run.command("--split", split, of="data preview"),))
    if shared:
        return Risk("same case", "note", "; ".join(filter(None, (
            f"{len(shared)} citations are in train and in few of the evaluation rows", told))), evidence)
    if len(field) >= FEWEST:  # one or two are what a field cites; many are rather its rows, cut anyhow
        return Risk("same case", "note", told, evidence)
    return Risk("same case", "ok", "; ".join(filter(None, (
        f"no {'other ' if field else ''}case or section is cited in train and in an evaluation row ({counts['train']} training "
        "rows cite something)", told))), evidence)


def binding(found: dict[int, set[str]], read: int) -> dict[str, list[int]]:
    """The training rows of each citation, without those that are common in the field."""
    rows: dict[str, list[int]] = {}
    for number, keys in found.items():
        for key in keys:
            rows.setdefault(key, []).append(number)
    return {key: numbers for key, numbers in rows.items() if len(numbers) < 5 or len(numbers) <= COMMON * read}
