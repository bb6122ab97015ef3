"""The same case or statute in two splits: rows about one case are no independent rows.

Citations are read by their form: neutral ones ([2007] FCA 123), reports by volume and page (410 U.S. 113), names (Smith v
Jones), and sections of a statute (section 52 of the Trade Practices Act 1974). Which reporters exist need not be known, as only
what two splits have in common counts. What very many training rows cite is an authority of the field and binds no two rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftp.data.look import some, text_of
from ftp.types import Data, Risk, Run

if TYPE_CHECKING:
    from datasets import Dataset

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
    citations: set[str] = set()
    for year, volume, court, division, number in NEUTRAL.findall(text):
        citations.add(_plain("[", year, "]", volume or "", court, division or "", number))
    for pattern in (REPORT, LOWER_REPORT):
        for volume, reporter, page in pattern.findall(text):
            if _is_reporter(reporter.strip()):
                citations.add(_plain(volume, "|", reporter, "|", page))
    for first, second in NAMES.findall(text):
        words = first.split()
        # words that lead up to a citation begin with a capital where a sentence does
        while words and words[0].strip(",.").lower() in _LEAD:
            words.pop(0)
        if words:
            citations.add(f"{_name(' '.join(words))} v {_name(second)}")
    return citations


def _is_reporter(name: str) -> bool:
    """Whether a name between two numbers seems to be that of a reporter: abbreviated with dots, or capitals alone."""
    return "." in name or (_CAPITALS.fullmatch(name) is not None and name not in _NO_REPORTER)


def statutes(text: str) -> set[str]:
    """Sections of statutes that a text cites, each in one spelling; sub-sections count as their section."""
    citations: set[str] = set()
    for number, act in SECTION.findall(text):
        citations.add(f"s {number.lower()} {' '.join(act.lower().split())}")
    for title, code, section in CODE.findall(text):
        citations.add(_plain(title, code, "s", section))
    return citations


KINDS = {"case": cases, "section": statutes}


def _plain(*parts: str) -> str:
    return re.sub(r"[ .]", "", "".join(parts)).lower()


def _name(party: str) -> str:
    """A party without what follows its name: the year or the rest of a sentence."""
    return " ".join(re.sub(r"[^\w& ]", "", word) for word in party.lower().split() if word not in ("the", "of"))


@dataclass(frozen=True)
class Citations:
    """What the rows of a split cite. `of_rows`: by kind and number of the row, where it cites anything of that kind."""

    of_rows: Mapping[str, Mapping[int, set[str]]]
    num_rows: int

    @property
    def num_citing(self) -> int:
        """Rows that cite anything."""
        return len(set().union(*self.of_rows.values()))


@dataclass
class Shared:
    """What evaluation rows have in common with train. `rows`: of each citation the numbers of the rows by split. `shares`: of
    the rows of a split, by kind. `authorities`: citations of the whole field, and how many evaluation rows cite them.
    `worst`: split and kind whose share is furthest above what is allowed; None where none is."""

    rows: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    shares: dict[tuple[str, str], float] = field(default_factory=dict)
    authorities: Counter[str] = field(default_factory=Counter)
    worst: tuple[str, str] | None = None

    def examples(self) -> dict[str, dict[str, list[int]]]:
        """The citations that most rows share, each with a few rows."""
        order = sorted(self.rows, key=lambda citation: (-sum(map(len, self.rows[citation].values())), citation))
        examples: dict[str, dict[str, list[int]]] = {}
        for citation in order[:SHOWN]:
            examples[citation] = {split: row_indices[:5] for split, row_indices in self.rows[citation].items()}
        return examples


def read_citations(rows: Dataset, most: int) -> Citations:
    """The citations of at most `most` rows."""
    of_rows: dict[str, dict[int, set[str]]] = {kind: {} for kind in KINDS}
    num_rows = 0
    for row_index, row in some(rows, most):
        text = text_of(row)
        num_rows += 1
        for kind, find in KINDS.items():
            citations = find(text)
            if citations:
                of_rows[kind][row_index] = citations
    return Citations(of_rows, num_rows)


def compare(train: Citations, held_out: Mapping[str, Citations], limit: float) -> Shared:
    """Look up what evaluation rows cite among what training rows cite. `limit`: share of rows that may share a case."""
    shared = Shared()
    furthest = 0.0
    for kind in KINDS:
        # an authority that many rows cite does not make two of them the same case
        training_rows = binding(train.of_rows[kind], train.num_rows)
        common = set().union(*train.of_rows[kind].values()) - training_rows.keys()
        allowed = limit if kind == "case" else min(1.0, 5 * limit)  # many texts have sections in common
        for split, citations in held_out.items():
            num_sharing = 0
            for row_index, cited in citations.of_rows[kind].items():
                shared.authorities.update(cited & common)
                both = cited & training_rows.keys()
                num_sharing += bool(both)
                for citation in sorted(both):
                    rows = shared.rows.setdefault(citation, {"train": training_rows[citation][:5]})
                    rows.setdefault(split, []).append(row_index)
            # of all rows that were read, also of those that cite nothing
            share = num_sharing / max(1, citations.num_rows)
            shared.shares[split, kind] = share
            if num_sharing >= FEWEST and share > allowed and share / allowed >= furthest:
                furthest = share / allowed
                shared.worst = (split, kind)
    return shared


def verdict(run: Run, data: Data, most: int, limit: float) -> Risk:
    """How many evaluation rows cite a case, or a section, that training rows cite.

    Args:
        most: rows of a split that are read.
        limit: share of evaluation rows that share a case, above which it is a warning.
    """
    splits = [split for split in data.splits if split not in ("train", "general")]
    if "train" not in data.splits or not splits:
        return Risk("same case", "not_run", "there are no two splits to compare")
    train = read_citations(data.splits["train"], most)
    held_out = {split: read_citations(data.splits[split], most) for split in splits}
    counts = {split: citations.num_citing for split, citations in {"train": train, **held_out}.items()}
    if not counts["train"] or not any(counts[split] for split in splits):
        return Risk("same case", "not_run", "no citation is found in train, or none in the evaluation rows: nothing to compare",
                    {"rows_that_cite": counts})
    shared = compare(train, held_out, limit)
    examples = shared.examples()
    evidence: dict[str, object] = {
        "rows_that_cite": counts,
        "citations_in_two_splits": len(shared.rows),
        "share_of_rows_that_share": {f"{split}, {kind}": round(share, 4) for (split, kind), share in shared.shares.items()},
        "examples": examples,
    }
    about_authorities = ""
    num_authorities = len(shared.authorities)
    if num_authorities:
        largest = sorted(shared.authorities.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
        evidence["authorities"] = dict(largest)
        about_authorities = (
            f"{num_authorities} citations that evaluation rows have, such as {largest[0][0]}, are in more than {COMMON:.0%} of "
            "the training rows and were taken for authorities of the field, which bind no rows")
    if shared.worst is not None:
        split, kind = shared.worst
        finding = (f"{shared.shares[split, kind]:.1%} of the {split} rows cite a {kind} that training rows cite as well (for "
                   f"example {next(iter(examples))}): they are no unseen rows. All rows of a case belong in one split")
        return Risk("same case", "warn", finding, evidence, (run.command("--split", split, of="data preview"),))
    if shared.rows:
        return Risk("same case", "note", _joined(f"{len(shared.rows)} citations are in train and in few of the evaluation rows",
                                                 about_authorities), evidence)
    if num_authorities >= FEWEST:  # one or two are what a field cites; many are rather its rows, cut anyhow
        return Risk("same case", "note", about_authorities, evidence)
    return Risk("same case", "ok", _joined(
        f"no {'other ' if num_authorities else ''}case or section is cited in train and in an evaluation row "
        f"({counts['train']} training rows cite something)", about_authorities), evidence)


def _joined(*findings: str) -> str:
    return "; ".join(filter(None, findings))


def binding(of_rows: Mapping[int, set[str]], num_rows: int) -> dict[str, list[int]]:
    """The training rows of each citation, without those that are common in the field."""
    rows: dict[str, list[int]] = {}
    for row_index, citations in of_rows.items():
        for citation in citations:
            rows.setdefault(citation, []).append(row_index)
    most = max(4, COMMON * num_rows)  # fewer than five rows are never called common
    return {citation: row_indices for citation, row_indices in rows.items() if len(row_indices) <= most}
