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
from dataclasses import dataclass
from typing import Any

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
    found = sorted(_found(text, regions), key=lambda one: (one.start, -one.end))
    kept: list[Span] = []
    for one in found:
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept


def hidden(text: str, regions: Sequence[str] = ("GB", "US")) -> str:
    """A text with its identifiers replaced by their kind in brackets."""
    parts, place = [], 0
    for one in spans(text, regions):
        parts += [text[place : one.start], f"[{one.kind}]"]
        place = one.end
    return "".join([*parts, text[place:]])


def masked(text: str, regions: Sequence[str] = ("GB", "US")) -> str:
    """A text with an x for each letter of its identifiers, so that all places in it stay what they were."""
    for one in spans(text, regions):
        text = text[: one.start] + re.sub(r"\S", "x", text[one.start : one.end]) + text[one.end :]
    return text


def mask(row: Row, regions: Sequence[str]) -> dict[str, Any]:
    """A row of any form with all its texts masked; answers stay what stands at their place."""
    made = {name: value if name in NO_TEXT else _masked(value, regions) for name, value in row.items()}
    if isinstance(answers := row.get("answers"), Mapping) and "answer_start" in answers:
        made["answers"] = {**answers, "text": [
            made["context"][start : start + len(text)] if row["context"][start : start + len(text)] == text else text
            for start, text in zip(answers["answer_start"], answers["text"], strict=True)]}
    return made


def _masked(value: Any, regions: Sequence[str]) -> Any:
    if isinstance(value, str):
        return masked(value, regions)
    if isinstance(value, Mapping):
        return {name: item if name == "role" else _masked(item, regions) for name, item in value.items()}
    return [_masked(item, regions) for item in value] if isinstance(value, list) else value


def _found(text: str, regions: Sequence[str]) -> Iterator[Span]:
    for kind, pattern in PATTERNS:
        for match in pattern.finditer(text):
            yield Span(kind, match.start(), match.end())
    if not re.search(r"\d\D{0,3}\d\D{0,3}\d\D{0,3}\d\D{0,3}\d\D{0,3}\d\D{0,3}\d", text):
        return  # all that follow have seven digits at least
    from stdnum import iban, luhn
    from stdnum.gb import nhs
    from stdnum.us import ssn

    for kind, pattern, valid in (("social security number", SSN, ssn.is_valid), ("NHS number", NHS, nhs.is_valid),
                                 ("card number", CARD, luhn.is_valid), ("account number", IBAN, iban.is_valid)):
        for match in pattern.finditer(text):
            if valid(re.sub(r"[ -]", "" if pattern is not SSN else "-", match.group())):
                yield Span(kind, match.start(), match.end())
    if PHONE.search(text):
        from phonenumbers import PhoneNumberMatcher

        for region in regions:
            for number in PhoneNumberMatcher(text, region):
                yield Span("phone number", number.start, number.end)


def verdict(run: Run, data: Data, regions: Sequence[str], most: int, weak_share: float) -> Risk:
    """What was found in the rows of all splits: kinds, counts and row numbers, and none of the texts."""
    rows, hit, kinds, places = Counter[str](), Counter[str](), Counter[str](), list[str]()
    strong, sampled = False, dict[str, int]()
    for split, stored in data.splits.items():
        for number, row in some(stored, most):
            text = text_of(row)
            if not text.strip():
                continue
            rows[split] += 1
            found = Counter(one.kind for one in spans(text, regions))
            if found:
                hit[split] += 1
                kinds += found
                strong |= bool(found.keys() - WEAK)
                if len(places) < SHOWN:
                    kinds_here = ", ".join(f"{kind} x{count}" for kind, count in sorted(found.items()))
                    places.append(f"{split} row {number}: {kinds_here}")
        if hasattr(stored, "num_rows") and len(stored) > most:
            sampled[split] = most
    if not rows:
        return Risk("identifiers", "not_run", "there are no rows with text to look at")
    total, with_any = sum(rows.values()), sum(hit.values())
    of = {split: data.splits[split].num_rows for split in rows if hasattr(data.splits[split], "num_rows")}
    evidence = {"rows": dict(rows), "of": of, "sampled": bool(sampled), "rows_with_identifiers": dict(hit),
                "kinds": dict(sorted(kinds.items())), "places": places}
    if not with_any:
        return Risk("identifiers", "ok", f"no row seems to name a real person: no identifier was found in {total} rows", evidence)
    told = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
    finding = ("rows seem to name real people, and a model can repeat what it was trained on (what was found is not printed): "
               f"{with_any} of {total} rows ({with_any / total:.1%}) have {told}")
    if not strong and with_any / total < weak_share:
        return Risk("identifiers", "note", finding + " (by their form alone)", evidence)
    return Risk("identifiers", "warn", finding, evidence, (run.command("--medical.mask"),))
