"""Identifiers of people in rows: mail addresses, numbers, dates of birth, names, addresses. What is found is never printed.

Numbers are judged by libraries that know their rules (phonenumbers; python-stdnum for check digits of NHS, social security,
bank account and card numbers); words around a number tell record numbers and dates of birth. Names and addresses go by their
form alone, so they are weak evidence. A named entity recogniser (Presidio with spaCy) would find more names, and needs a model
of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ftp.data.look import NO_TEXT, some, text_of
from ftp.types import Data, Risk, Row, Run

WEAK = frozenset({"name", "address"})
"""Kinds that are told by their form alone."""
SHOWN = 20  # places listed in the evidence

_DATE = (r"(?:\d{1,2}[./-]\d{1,2}[./-](?:\d{2}){1,2}|\d{4}-\d{2}-\d{2}|\d{1,2}(?:st|nd|rd|th)? +[A-Z][a-z]{2,8},? +\d{4}"
         r"|[A-Z][a-z]{2,8} +\d{1,2}(?:st|nd|rd|th)?,? +\d{4})")
_NAME = r"(?:[A-Z][a-z]+(?:-[A-Z][a-z]+)?|O'[A-Z][a-z]+|Mc[A-Z][a-z]+|[A-Z]\.)"
_EPONYM = r"(?!(?:Alzheimer|Parkinson|Crohn|Hodgkin|Down|Graves)\b)"
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("mail address", re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")),
    ("date of birth", re.compile(rf"\b(?:date of birth|d\.?o\.?b\.?|born(?: on)?)\b[:, ]*{_DATE}", re.IGNORECASE)),
    ("record number", re.compile(
        r"\b(?:MRN(?: no\.?| number)?|(?:medical |hospital |patient |case |health )?"
        r"(?:record|chart|file|insurance|patient|hospital|policy|account|passport|licen[cs]e|member(?:ship)?)"
        r"[ -]?(?:no\.?|number|id|nr\.?))[:#. ]*(?:is )?"
        r"(?=[A-Z\d/-]*\d{3})[A-Z]{0,4}[-/]?\d[\d/-]{3,}\b", re.IGNORECASE)),
    ("name", re.compile(rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof)\b\.? +{_EPONYM}{_NAME}(?: +{_NAME})*")),
    ("name", re.compile(rf"\b(?:[Pp]atient(?:'s)?(?: [Nn]ame)?|[Nn]ame|NAME|PATIENT)(?::| is) *{_NAME}(?: +{_NAME})+")),
    ("address", re.compile(r"\b\d{1,5}[a-z]?,? +(?:[A-Z][a-z]+ +){1,3}(?:Street|St|Road|Rd|Lane|Ln|Avenue|Ave|Drive|Close"
                           r"|Crescent|Boulevard|Blvd|Court|Terrace|Way|Gardens)\b")),
    ("address", re.compile(r"\b(?:GIR 0AA|[A-PR-UWYZ][A-HK-Y]?\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2})\b")),
)
SSN = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
NHS = re.compile(r"(?<!\d)(?:\d{3}[ -]\d{3}[ -]\d{4}|(?<=NHS )\d{10}|(?<=NHS number )\d{10}|(?<=NHS No )\d{10})(?!\d)")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b")
CARD = re.compile(r"(?<![\d.-])(?:\d{4}[ -]){3}\d{4}(?![\d-])|(?<![\d.-])\d{16}(?![\d-])")
PHONE = re.compile(r"\+?\(?\d[\d ().-]{6,}\d")


@dataclass(frozen=True)
class Span:
    """A stretch of a text and what it seems to be."""

    kind: str
    start: int
    end: int


def spans(text: str, regions: Sequence[str] = ("GB", "US")) -> list[Span]:
    """Identifiers in a text, in order; of two that overlap the one that begins first, then the longer one."""
    kept: list[Span] = []
    for span in sorted(_candidates(text, regions), key=lambda span: (span.start, -span.end)):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept


def hidden(text: str, regions: Sequence[str] = ("GB", "US")) -> str:
    """A text with its identifiers replaced by their kind in brackets."""
    parts: list[str] = []
    end = 0
    for span in spans(text, regions):
        parts += [text[end : span.start], f"[{span.kind}]"]
        end = span.end
    return "".join([*parts, text[end:]])


def masked(text: str, regions: Sequence[str] = ("GB", "US")) -> str:
    """A text with an x for each letter of its identifiers, so that all offsets in it stay what they were."""
    for span in spans(text, regions):
        text = text[: span.start] + re.sub(r"\S", "x", text[span.start : span.end]) + text[span.end :]
    return text


def mask(row: Row, regions: Sequence[str]) -> dict[str, object]:
    """A row of any form with all its texts masked; answers stay what stands at their place."""
    masked_row = {name: value if name in NO_TEXT else _masked(value, regions) for name, value in row.items()}
    answers = row.get("answers")
    # answers are spans of the context: they are cut from the masked one, so that they still stand where they say
    if isinstance(answers, Mapping) and "answer_start" in answers:
        masked_context = str(masked_row["context"])
        texts = []
        for start, text in zip(answers["answer_start"], answers["text"], strict=True):
            end = start + len(text)
            stands_there = row["context"][start:end] == text
            texts.append(masked_context[start:end] if stands_there else text)
        masked_row["answers"] = {**answers, "text": texts}
    return masked_row


def _masked(value: object, regions: Sequence[str]) -> object:
    """Texts, and those in lists and mappings, masked; the role of a message is no text of a person."""
    if isinstance(value, str):
        return masked(value, regions)
    if isinstance(value, Mapping):
        return {name: item if name == "role" else _masked(item, regions) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, regions) for item in value]
    return value


def _candidates(text: str, regions: Sequence[str]) -> Iterator[Span]:
    for kind, pattern in PATTERNS:
        for match in pattern.finditer(text):
            yield Span(kind, match.start(), match.end())
    # all that follow have seven digits at least
    if not re.search(r"\d(?:\D{0,3}\d){6}", text):
        return
    from stdnum import iban, luhn
    from stdnum.gb import nhs
    from stdnum.us import ssn

    # with its dashes, by which it differs from other numbers of nine digits
    for match in SSN.finditer(text):
        if ssn.is_valid(match.group()):
            yield Span("social security number", match.start(), match.end())
    checks = (("NHS number", NHS, nhs.is_valid), ("card number", CARD, luhn.is_valid), ("account number", IBAN, iban.is_valid))
    for kind, pattern, is_valid in checks:
        for match in pattern.finditer(text):
            if is_valid(re.sub(r"[ -]", "", match.group())):
                yield Span(kind, match.start(), match.end())
    # phonenumbers is slow, and most texts have no number of this length
    if PHONE.search(text):
        from phonenumbers import PhoneNumberMatcher

        for region in regions:
            for number in PhoneNumberMatcher(text, region):
                yield Span("phone number", number.start, number.end)


@dataclass
class Census:
    """What is counted over splits: rows read, rows with identifiers, identifiers by kind, and where they are."""

    rows: Counter[str] = field(default_factory=Counter)
    rows_with_identifiers: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)

    def add(self, split: str, row_index: int, text: str, regions: Sequence[str]) -> None:
        """Count a row."""
        self.rows[split] += 1
        kinds = Counter(span.kind for span in spans(text, regions))
        if not kinds:
            return
        self.rows_with_identifiers[split] += 1
        self.kinds += kinds
        if len(self.places) < SHOWN:
            listed = ", ".join(f"{kind} x{count}" for kind, count in sorted(kinds.items()))
            self.places.append(f"{split} row {row_index}: {listed}")


def verdict(run: Run, data: Data, regions: Sequence[str], most: int, weak_share: float) -> Risk:
    """What is in the rows of all splits: kinds, counts and row numbers, and none of the texts.

    Args:
        most: rows of a split that are read.
        weak_share: share of rows with a name or an address alone, from which on it is a warning.
    """
    census = Census()
    is_sampled = False
    num_rows: dict[str, int] = {}
    for split, rows in data.splits.items():
        for row_index, row in some(rows, most):
            text = text_of(row)
            if text.strip():
                census.add(split, row_index, text, regions)
        if hasattr(rows, "num_rows"):  # a stream does not know
            is_sampled |= rows.num_rows > most
            if census.rows[split]:
                num_rows[split] = rows.num_rows
    total = census.rows.total()
    if not total:
        return Risk("identifiers", "not_run", "there are no rows with text to look at")
    evidence = {"rows": dict(census.rows), "of": num_rows, "sampled": is_sampled,
                "rows_with_identifiers": dict(census.rows_with_identifiers), "kinds": dict(sorted(census.kinds.items())),
                "places": census.places}
    share = census.rows_with_identifiers.total() / total
    if not share:
        return Risk("identifiers", "ok", f"no row seems to name a real person: no identifier was found in {total} rows", evidence)
    listed = ", ".join(f"{count} x {kind}" for kind, count in census.kinds.most_common())
    finding = ("rows seem to name real people, and a model can repeat what it was trained on (what was found is not printed): "
               f"{census.rows_with_identifiers.total()} of {total} rows ({share:.1%}) have {listed}")
    is_strong = bool(census.kinds.keys() - WEAK)
    if not is_strong and share < weak_share:
        return Risk("identifiers", "note", finding + " (by their form alone)", evidence)
    return Risk("identifiers", "warn", finding, evidence, (run.command("--medical.mask"),))
