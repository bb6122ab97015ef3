"""Identifiers of people in medical rows: found where they were planted, not where there are only numbers, never printed."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from datasets import Dataset

from ftp.data.read import read
from ftp.types import Data
from ftp_medical import SAMPLE
from ftp_medical.identifiers import hidden, mask, masked, spans, verdict
from ftp_testing.domains import a_run
from ftp_testing.samples import column_of

RUN = a_run("labelled")
REGIONS = ("GB", "US")
FIRST = ("Anna", "James", "Maria", "Owen", "Priya", "Tom", "Grace", "Louis", "Mei", "Kwame")
LAST = ("Walker", "O'Neill", "Singh", "Baxter", "Lopez", "McKenna", "Hughes-Price", "Tanaka", "Mbeki", "Stone")
ROADS = ("Mill Lane", "Station Road", "High Street", "Oak Avenue", "Church Close", "Park Crescent")
MONTHS = ("January", "March", "May", "August", "October", "December")

PLAIN = (  # numbers and names that are no person's
    "Blood pressure was 128/76, pulse 72, temperature 37.4, saturation 98 percent.",
    "The dose was raised from 12.5 to 25 mg twice daily on 3 March 2021.",
    "Sodium 138, potassium 4.1 (3.5-5.1), creatinine 0.9, and platelets 250,000 per microlitre.",
    "The odds ratio was 1.45 (95% CI 1.12-1.87; p = 0.0021) in 12 345 participants.",
    "doi: 10.1001/jama.2019.12345, PMID 31234567, trial NCT01234567.",
    "Mutations were found at 17q21.31 and in exon 11 (c.5266dupC).",
    "Born at 39 weeks with a weight of 3450 g and an Apgar score of 9.",
    "Parkinson's disease and Graves' disease were ruled out at St Mary's.",
    "Between 1998 and 2004 we followed 2004-2005 admissions in 14 centres.",
    "The Mini Mental State score fell from 28/30 to 21/30 over 24 months.",
    "Serial numbers of the lots were 0001 to 0400; 400 000 doses were given.",
    "Patient records of 1200 people were read, and the number of files was 1187.",
    "Isolates 123-45-678 and 9999-12 were sent to the laboratory.",
    "Drug X-1234567 at 100 nmol/L halved the signal (n = 1234567 cells).",
    "The patient was seen by the doctor, who called the surgeon at once.",
)


def nhs_number(dice: random.Random) -> str:
    """Nine digits and the check digit that makes them an NHS number (modulus 11)."""
    while True:
        digits = [dice.randrange(4, 7), *(dice.randrange(10) for _ in range(8))]
        check = 11 - sum(digit * weight for digit, weight in zip(digits, range(10, 1, -1), strict=True)) % 11
        if check != 10:
            number = "".join(map(str, [*digits, check % 11]))
            return f"{number[:3]} {number[3:6]} {number[6:]}"


def card_number(dice: random.Random) -> str:
    digits = [4, *(dice.randrange(10) for _ in range(14))]
    total = sum(sum(divmod(2 * digit, 10)) if index % 2 == 0 else digit for index, digit in enumerate(digits))
    number = "".join(map(str, [*digits, -total % 10]))
    return " ".join(number[start : start + 4] for start in range(0, 16, 4))


def planted(kind: str, dice: random.Random) -> tuple[str, str]:
    """A sentence with an identifier of a kind, and the identifier."""
    first, last = dice.choice(FIRST), dice.choice(LAST)
    match kind:
        case "mail address":
            plain = last.lower().replace("'", "")
            secret = f"{first.lower()}.{plain}{dice.randrange(90)}@{dice.choice(('mail.example', 'clinic.example.org'))}"
            return f"Results were sent to {secret} on request.", secret
        case "phone number":
            secret = dice.choice((f"020 7946 0{dice.randrange(100, 999)}", f"(212) 736-5{dice.randrange(100, 999)}",
                                f"+44 20 7946 0{dice.randrange(100, 999)}", f"+1 415 555 2{dice.randrange(100, 999)}"))
            return f"Her son can be reached on {secret} after six.", secret
        case "NHS number":
            secret = nhs_number(dice)
            return f"Referred with NHS number {secret} for review.", secret
        case "social security number":
            secret = f"{dice.randrange(100, 600)}-{dice.randrange(10, 99)}-{dice.randrange(1000, 9999)}"
            return f"The form gives {secret} and a signature.", secret
        case "card number":
            secret = card_number(dice)
            return f"The bill was paid with {secret} at the desk.", secret
        case "date of birth":
            secret = dice.choice((f"DOB: {dice.randrange(1, 28):02}/{dice.randrange(1, 12):02}/{dice.randrange(1930, 2015)}",
                                f"born on {dice.randrange(1, 28)} {dice.choice(MONTHS)} {dice.randrange(1930, 2015)}",
                                f"Date of birth {dice.randrange(1930, 2015)}-0{dice.randrange(1, 9)}-{dice.randrange(10, 28)}"))
            return f"A patient, {secret}, came with cough.", secret
        case "record number":
            number = dice.choice((f"{dice.randrange(10**5, 10**8)}", f"RX{dice.randrange(10**5, 10**6)}",
                                  f"{dice.randrange(100, 999)}-{dice.randrange(1000, 9999)}"))
            called = dice.choice(("MRN", "MRN:", "Hospital number", "Patient ID:", "medical record number", "Chart no."))
            secret = f"{called} {number}"
            return f"Notes under {secret} were not found.", secret
        case "name":
            title = dice.choice(("Mr", "Mrs", "Ms", "Dr", "Mr."))
            secret = dice.choice((f"{title} {last}", f"Mrs {first} {last}", f"Patient: {first} {last}"))
            return f"On Monday {secret} was seen in the ward.", secret
        case _:
            secret = dice.choice((f"{dice.randrange(1, 300)} {dice.choice(ROADS)}",
                                f"SW{dice.randrange(1, 9)} {dice.randrange(1, 9)}AB"))
            return f"The letter went to {secret} last week.", secret


KINDS = ("mail address", "phone number", "NHS number", "social security number", "card number", "date of birth", "record number",
         "name", "address")


def test_planted_identifiers_are_found_and_plain_numbers_are_not() -> None:
    dice = random.Random(11)
    clean = [*PLAIN, *column_of(read(SAMPLE / "labelled"), "text")]
    assert [text for text in clean if spans(text, REGIONS)] == []
    hit = Counter[str]()
    num_right = num_hidden = 0
    for kind in KINDS:
        for _ in range(40):
            sentence, secret = planted(kind, dice)
            text = f"{dice.choice(clean)} {sentence} {dice.choice(clean)}"
            where = text.index(secret)
            hidden_spans = spans(text, REGIONS)
            over_secret = [span for span in hidden_spans if span.start < where + len(secret) and span.end > where]
            num_hidden += len(hidden_spans)
            num_right += len(over_secret)
            hit[kind] += any(span.kind == kind for span in over_secret)
    assert {kind: hit[kind] / 40 for kind in KINDS if hit[kind] < 38} == {}  # recall of each kind 0.95 at least
    assert num_right / num_hidden >= 0.98  # precision


def test_what_is_found_is_never_in_the_verdict() -> None:
    dice = random.Random(5)
    secrets, rows = [], []
    for kind in KINDS:
        sentence, secret = planted(kind, dice)
        secrets.append(secret)
        rows.append({"text": sentence, "label": 0})
    risk = verdict(RUN, Data({"train": Dataset.from_list(rows)}, "labelled", ("a",)), REGIONS, 100, 0.01)
    printed = json.dumps([risk.finding, risk.evidence, risk.advice])
    assert risk.level == "warn" and risk.evidence["rows_with_identifiers"] == {"train": len(KINDS)}
    assert not [secret for secret in secrets if secret in printed or secret.split()[-1] in printed]
    assert set(risk.evidence["kinds"]) == set(KINDS)


def test_a_mask_keeps_every_place_and_leaves_nothing_to_find() -> None:
    dice = random.Random(7)
    text = " ".join(f"{planted(kind, dice)[0]} The pulse was 72." for kind in KINDS)
    shown = masked(text, REGIONS)
    assert len(shown) == len(text) and spans(text, REGIONS) and not spans(shown, REGIONS) and "The pulse was 72." in shown
    context = "Mail a.stone@clinic.example to ask. The pulse of Mrs Baxter was 72."
    answers = {"text": ["pulse of Mrs Baxter", "72"], "answer_start": [context.index("pulse"), context.index("72")]}
    row = mask({"question": "Whose? Mrs Baxter's", "context": context, "answers": answers, "id": "a"}, REGIONS)
    assert row["answers"] == {"text": ["pulse of xxx xxxxxx", "72"], "answer_start": answers["answer_start"]}
    assert row["question"] == "Whose? xxx xxxxxx's" and "@" not in row["context"]
    turns = mask({"messages": [{"role": "user", "content": "I am Mrs Baxter."}], "label": 3}, REGIONS)
    assert turns == {"messages": [{"role": "user", "content": "I am xxx xxxxxx."}], "label": 3}


def test_hidden_keeps_the_rest_of_the_text() -> None:
    assert hidden("Mr Walker (DOB 3/4/1961) rang from 020 7946 0958.") == "[name] ([date of birth]) rang from [phone number]."


@pytest.mark.parametrize(("texts", "level"), [
    (["", " "], "not_run"),
    (["The pulse was 72."] * 3, "ok"),
    (["Dr Stone was there."] + ["The pulse was 72."] * 199, "note"),
    (["Dr Stone was there."] * 3 + ["The pulse was 72."] * 97, "warn"),
    (["Mail a.stone@clinic.example now."] + ["The pulse was 72."] * 199, "warn"),
])
def test_levels(texts: list[str], level: str) -> None:
    data = Data({"train": Dataset.from_dict({"text": texts})}, "text")
    assert verdict(RUN, data, REGIONS, 1000, 0.01).level == level


def test_conversations_are_read_and_sampling_is_said() -> None:
    turns = [{"role": "user", "content": "I am Mrs Baxter."}, {"role": "assistant", "content": "Hello."}]
    data = Data({"train": Dataset.from_list([{"messages": turns}] * 20)}, "conversation")
    risk = verdict(RUN, data, REGIONS, 5, 0.01)
    assert risk.level == "warn" and risk.evidence["rows"] == {"train": 5}
    assert risk.evidence["of"] == {"train": 20} and risk.evidence["sampled"]


@pytest.mark.parametrize("secret", ["passport no. 533380006", "policy number H1234567", "account number: 12345678",
                                    "paid from GB29 NWBK 6016 1331 9268 19"])
def test_numbers_of_documents_and_accounts_are_hidden(secret: str) -> None:
    shown = hidden(f"The patient left, {secret}, and came again.")
    assert "number]" in shown and not any(letter.isdigit() for letter in shown)
