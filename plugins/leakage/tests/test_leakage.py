"""What leaks must be found, and what is no leak must not: on sentences that vary as written ones
do."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import itertools
import json
import os
import random
import shlex
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from datasets import Dataset

from ftp.data.split_files import locate
from ftp.errors import UserError
from ftp.plugins.call import Hooks
from ftp.settings import Settings
from ftp.types import Data, Risk, Run, Task
from ftp_leakage import Leakage, labels
from ftp_leakage.advice import command_options, request_of_files, request_of_run
from ftp_leakage.check_options import CheckOptions
from ftp_leakage.cli import data as data_command
from ftp_leakage.look import look
from ftp_leakage.near import search
from ftp_leakage.near.pairs import CUT, NOTES
from ftp_leakage.normalise import number_words, words
from ftp_leakage.rows import choose_reading
from ftp_leakage.source import read_benchmarks
from ftp_leakage.summary import RANK, Levels
from ftp_leakage.verdict import verdict

HERE = Path()
REAL = Path(os.environ.get("FTP_DATA") or "no-public-sets")

WHO = [
    "the old baker",
    "my neighbour",
    "a tired nurse",
    "our new teacher",
    "the youngest pilot",
    "an honest lawyer",
    "the night guard",
    "her cousin",
]
DID = [
    "repaired",
    "painted",
    "forgot",
    "borrowed",
    "photographed",
    "measured",
    "returned",
    "examined",
    "described",
    "hid",
]
WHAT = [
    "a rusty bicycle",
    "the kitchen ceiling",
    "seven wooden chairs",
    "the map of the harbour",
    "an expensive violin",
    "a broken radio",
    "the letter from Lisbon",
    "two copper kettles",
    "the blue umbrella",
    "a box of lemons",
]
WHEN = [
    "before the first snow",
    "during a long strike",
    "while the children slept",
    "after the wedding in May",
    "because nobody asked",
    "on a foggy Tuesday",
    "without saying a word",
    "in spite of the rain",
    "for eleven euros",
    "near the closed station",
]
HOW = [
    "and never mentioned it",
    "but the owner laughed",
    "which surprised everyone",
    "so we stayed at home",
    "and then went to sea",
    "although it was late",
    "to win a silly bet",
    "with borrowed tools",
    "as the newspapers wrote",
    "and was thanked twice",
]


def make_sentences(count: int, seed: int = 0) -> list[str]:
    """Distinct sentences: no two have fewer than two of five parts different."""
    rng = random.Random(seed)
    sentences: list[str] = []
    used: set[tuple[int, ...]] = set()
    while len(sentences) < count:
        pick = tuple(rng.randrange(len(part)) for part in (WHO, DID, WHAT, WHEN, HOW))
        corners = {(*pick[:i], -1, *pick[i + 1 :]) for i in range(5)}
        if corners & used:
            continue
        used |= corners
        sentences.append(
            " ".join(
                part[i] for part, i in zip((WHO, DID, WHAT, WHEN, HOW), pick, strict=True)
            ).capitalize()
            + "."
        )
    return sentences


def changed(text: str, kind: str, rng: random.Random) -> str:
    parts = text.split()
    if kind == "case":
        return text.upper()
    if kind == "punctuation":
        return f"“{text.rstrip('.').replace(' ', ', ', 1)}”!"
    if kind == "word":
        parts[rng.randrange(len(parts))] = rng.choice(
            ["gravel", "seldom", "orchestra", "yellow", "thirteen"]
        )
    if kind == "order":
        rng.shuffle(parts)
    if kind == "cut":
        parts = parts[: max(5, int(0.7 * len(parts)))]
    if kind == "cut letters":
        return text[: round(rng.uniform(0.7, 0.95) * len(text))]
    return " ".join(parts)


KINDS = ("case", "punctuation", "word", "order", "cut", "cut letters")


def rows(texts: list[str], **columns: list) -> Dataset:
    return Dataset.from_dict({"text": texts, **columns})


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    """Where the tests of this file keep what they check, so that each advice they get can be
    followed."""
    global HERE
    HERE = tmp_path


def kept(splits: dict[str, Dataset]) -> str:
    """A folder, with a blank in its name, that holds these splits."""
    folder = HERE / f"my data {len(list(HERE.iterdir()))}"
    folder.mkdir()
    for split, held in splits.items():
        held.to_parquet(str(folder / f"{split}.parquet"))
    return str(folder)


def obeyed(risk: Risk) -> Risk:
    """The verdict, once its advice is found to be there where it is needed, to run, and to help."""
    assert bool(risk.advice) == (risk.level in ("warn", "stop")), risk
    for command in risk.advice:
        ftp, group, name, *arguments = shlex.split(command)
        assert (ftp, group) == ("ftp", "data") and invoke(name, *arguments).exit_code == 0
        if name == "clean" and arguments[0] not in ("--help", "--train"):
            folder, *arguments, _, out = [
                word for word in arguments if word not in ("--shared", "--conflicts", "--giveaways")
            ]
            again = json.loads(invoke("check", out, *arguments, "--json").output)["verdict"]
            assert Path(folder).exists() and again["level"] in RANK[: RANK.index(risk.level)], again
    return risk


def check(
    form: str = "text", check_options: CheckOptions | None = None, names=(), **splits: Dataset
):
    check_options, read = (
        check_options or CheckOptions(),
        choose_reading(form, next(iter(splits.values()))),
    )
    options = command_options(
        (),
        None,
        check_options.group_column,
        check_options.date_column,
        tuple(check_options.benchmarks),
        check_options.threshold,
        check_options.within,
    )
    report = look(splits, read, check_options, names)
    folder = kept(splits)
    return report, obeyed(
        verdict(
            report,
            Levels(),
            request=lambda: request_of_files(folder, {}, locate(Path(folder))[0], options),
        )
    )


def run(**splits: Dataset):
    return run_form("text", **splits)


def run_form(
    form: str, labels: tuple[str, ...] = (), options: dict | None = None, **splits: Dataset
):
    task = Task(form, "tokens")  # type: ignore[arg-type]
    settings = Settings(data=kept(splits))
    [risk] = Leakage(**(options or {})).check_risks(
        Run(settings, task, Hooks(())), "data", Data(splits, form, labels)
    )
    return obeyed(risk)


# --- words


@pytest.mark.parametrize(
    ("text", "other_text"),
    [
        ("It’s  GREAT!", "its great"),
        ("Straße", "STRASSE"),
        ("ﬁne\u200b print", "fine print"),
        ("café", "cafe\u0301"),
        ("a\tb\nc", "A, b; C."),
    ],
)
def test_the_same_words(text: str, other_text: str) -> None:
    assert words(text) == words(other_text)


def test_different_words_stay_different() -> None:
    assert words("not good") != words("good")
    assert words(":-)") != words(":-(")
    assert words("") == words("   ") == []
    assert len(words("私は学生です")) == 6


# --- duplicates


def test_planted_leaks_are_found_and_nothing_else() -> None:
    rng = random.Random(1)
    sentences = make_sentences(1400)
    train, test = sentences[:1000], sentences[1000:]
    planted = {}
    for i, row in enumerate(rng.sample(range(len(test)), 80)):
        source = rng.randrange(len(train))
        kind = "exact" if i % 2 else KINDS[i // 2 % len(KINDS)]
        test[row] = changed(train[source], kind, rng)
        planted[row] = source, kind
    report, risk = check(train=rows(train), test=rows(test))
    pairs = {(finding.b[1], finding.a[1]) for finding in report.findings()}
    missed = [planted[row] for row in planted if (row, planted[row][0]) not in pairs]
    assert len(missed) <= 1, missed
    wrong = [pair for pair in pairs if pair[0] not in planted]
    assert len(wrong) <= 1, [(train[a], test[b]) for b, a in wrong]
    assert risk.level == "stop" and any("ftp data clean" in line for line in risk.advice)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.7, 0.85, 0.95])
def test_a_text_cut_inside_a_word(share: float) -> None:
    sentences = make_sentences(300)
    cut = [text[: round(share * len(text))] for text in sentences[:100]]
    report, _ = check(train=rows(sentences[:250]), test=rows(cut + sentences[250:]))
    found_pairs = [(f.a[1], f.b[1]) for f in report.findings()]
    assert sum(a == b < 100 for a, b in found_pairs) >= 98
    # another word is no cut one
    ending_in_another_word = [" ".join([*text.split()[:-4], "gravel"]) for text in sentences[:100]]
    report, _ = check(train=rows(sentences[:250]), test=rows(ending_in_another_word))
    assert not [f for f in report.findings() if f.note == NOTES[CUT]]


def test_clean_splits_are_ok() -> None:
    sentences = make_sentences(900, seed=3)
    _, risk = check(train=rows(sentences[:700]), validation=rows(sentences[700:]))
    assert risk.level == "ok"
    assert risk.evidence["compared"] == {"train": 700, "validation": 200}


def test_one_word_of_four_is_another_text() -> None:
    texts = [
        f"What is a {word}?"
        for word in ("prism", "shaman", "tsunami", "micron", "meerkat", "thyroid")
    ]
    report, risk = check(train=rows(texts[:3] + make_sentences(50)), test=rows(texts[3:]))
    assert not list(report.findings()) and risk.level == "ok"


def test_a_template_is_no_duplicate() -> None:
    towns = ["Lima", "Oslo", "Quito", "Riga", "Sofia", "Tunis", "Turin", "Kyoto"]
    asked = [f"Where in {town} can I buy a ticket?" for town in towns]
    report, _ = check(train=rows(asked[:5] + make_sentences(60)), test=rows(asked[5:]))
    assert not list(report.findings())


def test_a_near_pair_with_an_exact_one_is_told_once() -> None:
    sentences = make_sentences(60)
    twin = (
        sentences[0].replace("the", "some", 1)
        if "the" in sentences[0]
        else "Indeed " + sentences[0]
    )
    report, _ = check(
        train=rows([*sentences[:50], twin]), test=rows([sentences[0], *sentences[50:]])
    )
    assert [(finding.kind, finding.a, finding.b) for finding in report.findings()] == [
        ("exact", ("train", 0), ("test", 0))
    ]
    assert len(list(report.alike(every=True))) == 2


def test_duplicates_inside_a_split_on_request() -> None:
    sentences = make_sentences(40)
    report, _ = check(
        train=rows([*sentences[:30], sentences[0]]),
        test=rows(sentences[30:]),
        check_options=CheckOptions(within=True),
    )
    assert [(finding.kind, finding.a, finding.b) for finding in report.findings()] == [
        ("exact", ("train", 0), ("train", 30))
    ]
    report, _ = check(train=rows([*sentences[:30], sentences[0]]), test=rows(sentences[30:]))
    assert not list(report.findings())


def test_blocks_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(2)
    sentences = make_sentences(300)
    test = sentences[200:250] + [
        changed(text, KINDS[i % len(KINDS)], rng) for i, text in enumerate(sentences[:20])
    ]
    splits = {"train": rows(sentences[:200]), "test": rows(test)}
    in_one_piece, _ = check(**splits)
    monkeypatch.setattr(search, "BLOCK", 1500)
    in_blocks, _ = check(**splits)
    all_pairs = {(f.a, f.b) for f in in_one_piece.findings()}
    pairs_in_blocks = {(f.a, f.b) for f in in_blocks.findings() if f.b[1] >= 50}
    assert {pair for pair in all_pairs if pair[1][1] >= 50} == pairs_in_blocks
    assert len(all_pairs) >= 20


def test_every_row_of_a_crowd_is_told() -> None:
    vocabulary = None
    train, test = (
        ["the same old text again and again"] * 50,
        ["the same old text again and again"] * 40,
    )
    texts = number_words(train + test, vocabulary)
    import numpy as np

    pairs = search.find(texts, np.array([0] * 50 + [1] * 40))
    assert set(pairs.left.tolist()) == set(range(50)) and set(pairs.right.tolist()) == set(
        range(50, 90)
    )
    assert len(pairs) < 2000


# --- bad input


def test_one_split_is_not_run() -> None:
    risk = run(train=rows(make_sentences(20)))
    assert risk.level == "not_run" and "one split only" in risk.finding


def test_identical_splits_stop() -> None:
    sentences = make_sentences(50)
    assert run(train=rows(sentences), validation=rows(sentences)).level == "stop"
    three = sentences[:3]
    assert run(train=rows(three), validation=rows(three)).level == "stop"


def test_three_rows() -> None:
    sentences = make_sentences(4)
    risk = run(train=rows(sentences[:3]), validation=rows(sentences[3:]))
    assert risk.level == "ok" and risk.evidence["compared"] == {"train": 3, "validation": 1}
    assert run(train=rows(sentences[:3]), validation=rows([sentences[0], sentences[3]])).level in (
        "note",
        "warn",
        "stop",
    )


def test_empty_texts_are_told_and_never_alike() -> None:
    sentences = make_sentences(30)
    risk = run(train=rows([*sentences[:20], "", "  "]), validation=rows(["", *sentences[20:]]))
    assert risk.evidence["train/validation"]["exact"] == 0 and risk.evidence["empty"] == {
        "train": 2,
        "validation": 1,
    }
    assert run(train=rows(["", ""]), validation=rows(["", ""])).level == "not_run"
    assert run(train=rows(sentences), validation=rows([])).level == "not_run"


def test_a_sample_is_told() -> None:
    sentences = make_sentences(200)
    risk = run_form(
        "text",
        options={"max_rows": 50},
        train=rows(sentences[:150]),
        validation=rows(sentences[150:]),
    )
    assert risk.evidence["sampled"] == ["train: 50 of 150 rows were looked at"]


def test_row_numbers_of_a_sample_are_those_of_the_data() -> None:
    sentences = make_sentences(200)
    splits = {"train": rows(sentences[:150]), "validation": rows(sentences[100:150])}
    report, _ = check(**splits, check_options=CheckOptions(most_rows=60))
    findings = list(report.findings())
    assert findings and all(
        splits["train"][f.a[1]]["text"] == splits["validation"][f.b[1]]["text"] for f in findings
    )


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(UserError, match="no such column"):
        run_form(
            "text",
            options={"group_column": "autor"},
            train=rows(make_sentences(5)),
            validation=rows(make_sentences(5, 1)),
        )


def test_it_runs_before_training_only() -> None:
    sentences = rows(make_sentences(9))
    assert (
        Leakage().check_risks(
            None, "end", Data({"train": sentences, "validation": sentences}, "text")
        )
        == []
    )


def test_general_text_is_no_evaluation() -> None:
    sentences = make_sentences(20)
    assert run(train=rows(sentences), general=rows(sentences)).level == "not_run"


def test_thresholds_that_contradict_each_other() -> None:
    with pytest.raises(UserError, match=r"warn_sure 0\.5 is above --leakage\.stop_sure 0\.1"):
        run_form(
            "text",
            options={"warn_sure": 0.5, "stop_sure": 0.1},
            train=rows(make_sentences(5)),
            validation=rows(make_sentences(5, 1)),
        )


def test_what_could_not_be_compared_is_told() -> None:
    sentences = make_sentences(60)
    train, held = (
        rows(sentences[:40], who=[" "] * 40, day=["soon"] * 40),
        rows(sentences[40:], who=["P1"] * 20, day=["2020-01-01"] * 20),
    )
    risk = run_form(
        "text", options={"group_column": "who", "date_column": "day"}, train=train, validation=held
    )
    assert risk.level == "note" and risk.evidence["left_out"] == [
        "who is empty in all rows of train: its groups were not compared",
        "day holds no date in any row of train: its dates were not compared",
    ]
    none = rows([""] * 20, who=[""] * 20)
    risk = run_form("text", options={"group_column": "who"}, train=none, validation=none)
    assert risk.level == "not_run" and "who is empty in all rows of train" in risk.finding


def test_a_label_in_train_only_is_told_and_looked_at() -> None:
    sentences = make_sentences(60)
    risk = run_form(
        "text",
        train=rows([*sentences[:40], sentences[0]], label=[0, 1] * 20 + [1]),
        validation=rows(sentences[40:]),
    )
    assert risk.evidence["left_out"] == [
        "validation has no column label: its labels were not compared"
    ]
    assert risk.level == "note" and risk.evidence["conflicts"] == 1


def test_columns_that_are_alike_while_others_differ() -> None:
    stories, summaries = make_sentences(80, 1), make_sentences(80, 5)
    both = [
        Dataset.from_dict({"story": stories[:30], "summary": some})
        for some in (summaries[:30], summaries[40:70])
    ]
    _, risk = check(None, train=both[0], validation=both[1])
    assert risk.level == "warn" and risk.evidence["sides"] == {"story train/validation": 30}
    both = [
        Dataset.from_dict({"task": ["Say in one word what this is about."] * 30, "story": some})
        for some in (stories[:30], stories[40:70])
    ]
    _, risk = check(None, train=both[0], validation=both[1])
    assert risk.level == "note" and risk.evidence["left_out"] == [
        "task says the same in every row and was left out"
    ]


def test_a_sample_of_labels_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "SAMPLE", 50)
    sentences = make_sentences(90)
    risk = run(
        train=rows(sentences[:80], label=[0, 1] * 40),
        validation=rows(sentences[80:], label=[0, 1] * 5),
    )
    assert risk.evidence["sampled"] == [
        "labels: 50 of 80 rows of train were looked at for what gives them away"
    ]


# --- forms


def talk(asked: str, answered: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": "You are kind."},
        {"role": "user", "content": asked},
        {"role": "assistant", "content": answered},
    ]


def turn(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


FORMS = {
    "text": lambda a, b, c: {"text": a},
    "labelled": lambda a, b, c: {"text": a, "label": len(a) % 2},
    "tagged": lambda a, b, c: {"tokens": a.split(), "tags": [0] * len(a.split())},
    "question": lambda a, b, c: {
        "question": a,
        "context": b,
        "answers": {"text": ["x"], "answer_start": [0]},
    },
    "conversation": lambda a, b, c: {"messages": talk(a, b)},
    "preference": lambda a, b, c: {
        "prompt": turn("user", a),
        "chosen": turn("assistant", b),
        "rejected": turn("assistant", c),
    },
    "feedback": lambda a, b, c: {
        "prompt": turn("user", a),
        "completion": turn("assistant", b),
        "label": True,
    },
    "prompt": lambda a, b, c: {"prompt": turn("user", a)},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_every_form(form: str) -> None:
    first, second, third = make_sentences(130, 1), make_sentences(130, 5), make_sentences(130, 9)
    sentences = [FORMS[form](*row) for row in zip(first, second, third, strict=True)]
    train, clean = Dataset.from_list(sentences[:100]), Dataset.from_list(sentences[100:])
    assert run_form(form, ("a", "b"), train=train, validation=clean).level in ("ok", "note")
    leaky = Dataset.from_list(sentences[:6] + sentences[100:])
    risk = run_form(form, ("a", "b"), train=train, validation=leaky)
    assert risk.level == "stop" and risk.evidence["train/validation"]["exact"] == 6


def test_a_shared_prompt_is_told_apart() -> None:
    prompts, answers = make_sentences(60, 1), make_sentences(160, 5)
    train = Dataset.from_list(
        [FORMS["preference"](prompts[i], answers[i], answers[i + 60]) for i in range(40)]
    )
    held = Dataset.from_list(
        [FORMS["preference"](prompts[i], answers[i + 100], answers[i + 110]) for i in range(10)]
    )
    report, risk = check("preference", train=train, validation=held)
    assert {(f.kind, f.a[1], f.b[1], f.note) for f in report.findings()} == {
        ("group", i, i, "the same prompt") for i in range(10)
    }
    assert (
        "--shared" in risk.advice[0]
        and risk.level == "warn"
        and "share their prompt" in risk.finding
    )
    assert risk.evidence["train/validation"]["exact"] == 0


def test_two_questions_about_one_text_are_two_rows() -> None:
    long = " ".join(make_sentences(12))
    train = Dataset.from_list([FORMS["question"]("Who repaired the bicycle?", long, "")])
    held = Dataset.from_list(
        [FORMS["question"]("How many kettles were there in the end?", long, "")]
    )
    report = look({"train": train, "validation": held}, choose_reading("question", train))
    assert [(f.kind, f.note) for f in report.findings()] == [("group", "the same context")]


def test_a_pair_needs_both_sides() -> None:
    first, second = make_sentences(40, 1), make_sentences(40, 5)
    train = Dataset.from_dict({"text": first[:30], "text_pair": second[:30], "label": [0, 1] * 15})
    held = Dataset.from_dict(
        {
            "text": [first[0], first[1], first[35]],
            "text_pair": [second[0], second[36], second[37]],
            "label": [0, 1, 0],
        }
    )
    report = look({"train": train, "validation": held}, choose_reading("labelled", train))
    findings = [(f.kind, f.a, f.b) for f in report.findings()]
    assert ("exact", ("train", 0), ("validation", 0)) in findings
    assert ("exact", ("train", 1), ("validation", 1)) not in findings
    assert ("group", ("train", 1), ("validation", 1)) in findings


def told_of(form: str, train: list[dict], held: list[dict]) -> set[tuple[str, int, int, str]]:
    splits = {"train": Dataset.from_list(train), "validation": Dataset.from_list(held)}
    return {
        (f.kind, f.a[1], f.b[1], f.note)
        for f in look(splits, choose_reading(form, splits["train"])).findings()
    }


def test_sides_of_a_pair_in_either_column() -> None:
    first, second, rng = make_sentences(90, 1), make_sentences(90, 5), random.Random(0)
    pairs = [
        {"sentence1": a, "sentence2": b, "label": 0} for a, b in zip(first, second, strict=True)
    ]
    held = [
        {"sentence1": second[0], "sentence2": first[0], "label": 0},
        {"sentence1": second[1], "sentence2": first[80], "label": 0},
        {"sentence1": first[81], "sentence2": first[2], "label": 0},
        {"sentence1": first[82], "sentence2": changed(second[3], "word", rng), "label": 0},
        pairs[83],
    ]
    assert told_of("labelled", pairs[:70], held) == {
        ("near", 0, 0, "the same, with the two sides swapped"),
        ("exact", 1, 1, "the same sentence2 as the other's sentence1"),
        ("exact", 2, 2, "the same sentence1 as the other's sentence2"),
        ("near", 3, 3, "nearly the same sentence2"),
    }


def test_answers_of_a_preference() -> None:
    prompts, answers, rng = make_sentences(90, 1), make_sentences(180, 5), random.Random(0)
    sentences = [(prompts[i], answers[i], answers[i + 90]) for i in range(90)]
    held = [
        (prompts[0], answers[90], answers[0]),
        (prompts[80], changed(answers[1], "word", rng), answers[170]),
        (prompts[81], answers[171], answers[2]),
        sentences[83],
    ]
    train_rows = [FORMS["preference"](*row) for row in sentences[:70]]
    held_rows = [FORMS["preference"](*row) for row in held]
    assert told_of("preference", train_rows, held_rows) == {
        ("near", 0, 0, "the same, with the two sides swapped"),
        ("near", 1, 1, "nearly the same chosen"),
        ("exact", 2, 2, "the same chosen as the other's rejected"),
    }


def test_a_conversation_that_goes_on_from_another() -> None:
    questions, answers = make_sentences(90, 1), make_sentences(90, 5)
    sentences = [talk(a, b) for a, b in zip(questions, answers, strict=True)]
    long = [
        sentences[0] + talk(questions[80], answers[80] + " " + " ".join(questions[60:70]))[1:],
        sentences[85],
    ]
    findings = told_of(
        "conversation",
        [{"messages": row} for row in sentences[:60]],
        [{"messages": row} for row in long],
    )
    assert ("near", 0, 0, "one is a part of the other") in findings and {
        b for _, _, b, _ in findings
    } == {0}


def test_short_and_common_sides_are_no_leak() -> None:
    prompts, answers = make_sentences(120, 1), make_sentences(240, 5)
    sorry = "I am sorry, but I cannot help you with that."
    sentences = [
        FORMS["preference"](
            "Tell me a story." if i % 2 else prompts[i], answers[i], sorry if i % 3 else "No."
        )
        for i in range(120)
    ]
    assert told_of("preference", sentences[:90], sentences[90:]) == set()


# --- labels


def test_a_word_that_gives_the_label_away() -> None:
    sentences = make_sentences(400)
    labels = [i % 2 for i in range(400)]
    marked = [
        f"{text} [{'POS' if label else 'NEG'}]"
        for text, label in zip(sentences, labels, strict=True)
    ]
    report, risk = check(
        "labelled",
        train=rows(marked[:300], label=labels[:300]),
        validation=rows(marked[300:], label=labels[300:]),
    )
    assert {giveaway.sign for giveaway in report.giveaways} == {
        "[pos]",
        "[neg]",
    } and risk.level == "stop"
    assert {f.kind for f in report.findings()} == {"label"}


def test_the_name_of_the_label_in_the_text() -> None:
    sentences = make_sentences(400)
    labels = [i % 2 for i in range(400)]
    named = [
        f"{text} It was {'good' if label else 'bad'}." if i % 5 < 3 else text
        for i, (text, label) in enumerate(zip(sentences, labels, strict=True))
    ]
    report, risk = check(
        "labelled",
        names=("bad.", "good."),
        train=rows(named[:300], label=labels[:300]),
        validation=rows(named[300:], label=labels[300:]),
    )
    assert risk.level == "warn" and {giveaway.label for giveaway in report.giveaways} == {
        "bad.",
        "good.",
    }


def test_natural_words_give_nothing_away() -> None:
    rng = random.Random(0)
    good, bad = (
        ["lovely", "gorgeous", "warm", "witty", "fine"],
        ["dull", "bitter", "clumsy", "stale", "awful"],
    )
    texts, labels = [], []
    for text in make_sentences(600):
        label = rng.randrange(2)
        texts.append(f"{text} {rng.choice(good if label else bad)}")
        labels.append(label)
    report, risk = check(
        "labelled",
        train=rows(texts[:500], label=labels[:500]),
        validation=rows(texts[500:], label=labels[500:]),
    )
    assert not report.giveaways and risk.level == "ok"


def test_a_column_that_tells_the_label() -> None:
    sentences, rng = make_sentences(300), random.Random(0)
    labels = [rng.randrange(3) for _ in sentences]
    extra = {
        "stars": [2 * label for label in labels],
        "shop": [rng.randrange(9) for _ in sentences],
        "id": list(range(300)),
        "label_name": [str(label) for label in labels],
    }
    split = (
        {name: values[:200] for name, values in extra.items()},
        {name: values[200:] for name, values in extra.items()},
    )
    report, risk = check(
        "labelled",
        train=rows(sentences[:200], label=labels[:200], **split[0]),
        validation=rows(sentences[200:], label=labels[200:], **split[1]),
    )
    assert [giveaway.sign for giveaway in report.telling] == ["stars"] and risk.level == "note"


@pytest.mark.parametrize(
    ("marks", "signs"),
    [
        (
            ("!", "."),
            {
                "…!",
                "….",
            },
        ),
        (("<b>", ""), {"<b>…"}),
        ((" ", ""), {"a blank at the end"}),
    ],
)
def test_a_mark_glued_to_a_word(marks: tuple[str, str], signs: set[str]) -> None:
    labels, texts = [i % 2 for i in range(400)], []
    for text, label in zip(make_sentences(400), labels, strict=True):
        mark, plain = marks[label], text.rstrip(".")
        texts.append(f"{plain}{mark}" if "<b>" not in marks else f"Indeed {mark}{plain}")
    report, risk = check(
        "labelled",
        train=rows(texts[:300], label=labels[:300]),
        validation=rows(texts[300:], label=labels[300:]),
    )
    assert {giveaway.sign for giveaway in report.giveaways} & signs == signs and risk.level in (
        "warn",
        "stop",
    )


def test_a_number_that_tells_the_label_by_its_size() -> None:
    sentences, rng = make_sentences(300), random.Random(0)
    labels = [rng.randrange(3) for _ in sentences]
    extra = {
        "score": [
            rng.uniform(label, label + 0.95) if i else None for i, label in enumerate(labels)
        ],
        "price": [rng.uniform(0, 9) for _ in sentences],
        "loose": [rng.gauss(label, 1) for label in labels],
        "target_original": [3 * label for label in labels],
        "label_name": [str(label) for label in labels],
    }
    split = (
        {name: values[:200] for name, values in extra.items()},
        {name: values[200:] for name, values in extra.items()},
    )
    report, _ = check(
        "labelled",
        train=rows(sentences[:200], label=labels[:200], **split[0]),
        validation=rows(sentences[200:], label=labels[200:], **split[1]),
    )
    assert [giveaway.sign for giveaway in report.telling] == ["score", "target_original"]


def test_conflicting_labels() -> None:
    sentences = make_sentences(60)
    report, risk = check(
        "labelled",
        train=rows(
            [*sentences[:50], sentences[0].upper(), sentences[1]], label=[0, 1] * 25 + [1, 1]
        ),
        validation=rows(sentences[50:], label=[0, 1] * 5),
    )
    assert [(f.a, f.b) for f in report.findings() if f.kind == "conflict"] == [
        (("train", 0), ("train", 50))
    ]
    assert risk.level == "note" and risk.evidence["conflicts"] == 1


def test_many_conflicting_labels_and_the_rows_that_go() -> None:
    sentences = make_sentences(60)
    _, risk = check(
        "labelled",
        train=rows([*sentences[:50], *sentences[:4]], label=[0, 1] * 25 + [1, 0] * 2),
        validation=rows(sentences[50:], label=[0, 1] * 5),
    )
    assert risk.level == "warn" and "--conflicts" in risk.advice[0]


# --- groups, dates, benchmarks


def test_groups_by_name_and_as_named() -> None:
    sentences = make_sentences(120)
    train = rows(
        sentences[:90], patient_id=[i // 3 for i in range(90)], topic=[i % 3 for i in range(90)]
    )
    held = rows(
        sentences[90:],
        patient_id=[i // 3 + 25 for i in range(30)],
        topic=[i % 3 for i in range(30)],
    )
    report, risk = check(train=train, validation=held)
    assert {shared.column for shared in report.shared} == {"patient_id"} and risk.level == "warn"
    assert sum(f.kind == "group" for f in report.findings()) == 5
    assert (
        run_form("text", options={"group_column": "patient_id"}, train=train, validation=held).level
        == "stop"
    )
    spelt = [
        held.remove_columns("patient_id").add_column(
            "patient_id", [f" P{i // 3 + 25} " for i in range(30)]
        )
    ]
    named = train.remove_columns("patient_id").add_column(
        "patient_id", [f"p{i // 3}" for i in range(90)]
    )
    assert (
        run_form(
            "text", options={"group_column": "patient_id"}, train=named, validation=spelt[0]
        ).level
        == "stop"
    )
    apart = held.map(lambda row: {"patient_id": row["patient_id"] + 100})
    assert check(train=train, validation=apart)[1].level == "ok"


def test_training_rows_after_evaluation_rows() -> None:
    sentences = make_sentences(60)
    early, late = (
        [f"2020-01-{i % 28 + 1:02d}" for i in range(40)],
        [f"2021-03-{i + 1:02d}" for i in range(20)],
    )
    good = run_form(
        "text",
        options={"date_column": "day"},
        train=rows(sentences[:40], day=early),
        test=rows(sentences[40:], day=late),
    )
    assert good.level == "ok"
    mixed = early[:30] + ["2022-05-05"] * 10
    bad = run_form(
        "text",
        options={"date_column": "day"},
        train=rows(sentences[:40], day=mixed),
        test=rows(sentences[40:], day=late),
    )
    assert bad.level == "stop" and bad.evidence["time"]["train/test"] == {"late": 10, "of": 40}


def test_rows_go_on_both_sides_of_the_date_that_keeps_most() -> None:
    sentences = make_sentences(100)
    days = [f"2020-{i // 5 + 1:02d}-01" for i in range(50)]
    train, held = rows(sentences[:50], day=days), rows(sentences[50:], day=[*days[25:], *days[:25]])
    assert (
        run_form("text", options={"date_column": "day"}, train=train, validation=held).level
        == "stop"
    )
    late = rows(sentences[:50], day=["2024-01-01"] * 50)  # all of train would go: other advice
    risk = run_form("text", options={"date_column": "day"}, train=late, validation=held)
    assert risk.level == "stop" and "--within" in risk.advice[0]


def test_benchmark_rows_inside_long_training_rows(tmp_path: Path) -> None:
    sentences = make_sentences(200)
    long = [" ".join(sentences[i : i + 4]) for i in range(0, 160, 4)]
    middle = sentences[5].split()
    middle[len(middle) // 2] = "harpsichord"  # one word changed: contained all the same
    bench = tmp_path / "bench.jsonl"
    asked = [sentences[1], " ".join(middle), sentences[190], "Yes."]
    bench.write_text("".join(json.dumps({"text": text}) + "\n" for text in asked), encoding="utf-8")
    splits = {"train": rows(long), "validation": rows(sentences[160:180])}
    report, _ = check(**splits, check_options=CheckOptions(benchmarks=read_benchmarks([bench])))
    contained = {(f.a[1], f.b[1]) for f in report.findings() if f.kind == "benchmark"}
    assert contained == {(0, 0), (1, 1)}
    risk = run_form("text", options={"against": (str(bench),)}, **splits)
    assert risk.level == "warn" and risk.evidence["benchmarks"][str(bench)] == {
        "found": 2,
        "compared": 3,
        "rows": 4,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "other_part"),
    [("question", "answer"), ("prompt", "completion"), ("sentence1", "sentence2")],
)
def test_one_part_of_a_benchmark_row_is_enough(tmp_path: Path, part: str, other_part: str) -> None:
    sentences, replies = (
        make_sentences(120),
        ["Yes.", "That is not for me to say, sir, ask another."],
    )
    bench = tmp_path / "bench.jsonl"
    asked = [
        {part: text, other_part: sentences[80 + i // 2] if i % 2 else replies[i // 2 % 2]}
        for i, text in enumerate(sentences[:40])
    ]
    bench.write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    train, held = rows(sentences[20:80]), rows(sentences[100:])
    report, risk = check(
        train=train,
        validation=held,
        check_options=CheckOptions(benchmarks=read_benchmarks([bench])),
    )
    assert {f.b[1] for f in report.findings() if f.similarity == 1} == set(
        range(20, 40)
    ) and risk.level == "stop"
    train_replies = rows(
        [f"{replies[i % 2]} {text}" for i, text in enumerate(make_sentences(40, 77))]
    )
    assert not [
        f
        for f in check(
            train=train_replies,
            validation=held,
            check_options=CheckOptions(benchmarks=read_benchmarks([bench])),
        )[0].findings()
        if f.similarity == 1
    ]


# --- the commands


def write(path: Path, texts: list[str], labels: list[int] | None = None) -> None:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        if ".csv" in path.name:
            sheet = csv.writer(file)
            sheet.writerow(["text", "label"])
            sheet.writerows(
                [text, (labels or [0, 1] * len(texts))[i]] for i, text in enumerate(texts)
            )
        else:
            file.writelines(
                json.dumps({"text": text, "label": i % 2}) + "\n" for i, text in enumerate(texts)
            )


def invoke(*words: str | Path):
    return CliRunner().invoke(
        data_command, [str(word) for word in words], catch_exceptions=False, standalone_mode=False
    )


@pytest.mark.parametrize("ending", ["csv", "jsonl", "csv.gz"])
def test_check_and_clean(tmp_path: Path, ending: str) -> None:
    sentences = make_sentences(120)
    sentences[3] = 'He said "no",\nthen two lines. ' + sentences[3]
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write(folder / f"train.{ending}", sentences[:100])
    write(
        folder / f"test.{ending}",
        [
            sentences[100],
            sentences[3],
            sentences[101],
            sentences[7].upper(),
            sentences[102],
            sentences[9],
            *sentences[103:],
        ],
    )
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    report = json.loads(invoke("check", folder, "--json").output)
    assert [(finding["kind"], finding["a"], finding["b"]) for finding in report["findings"]] == [
        ("exact", ["train", 3], ["test", 1]),
        ("exact", ["train", 7], ["test", 3]),
        ("exact", ["train", 9], ["test", 5]),
    ]
    assert report["verdict"]["level"] == "stop"
    train, test = folder / f"train.{ending}", folder / f"test.{ending}"
    files = json.loads(invoke("check", "--train", train, "--test", test, "--json").output)
    assert files["findings"] == report["findings"]
    invoke("clean", folder, "--out", out)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    gone = [
        json.loads(line)
        for line in (out / "removed.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [(removed["split"], removed["row"], removed["b"]) for removed in gone] == [
        ("train", 3, ["test", 1]),
        ("train", 7, ["test", 3]),
        ("train", 9, ["test", 5]),
    ]
    from ftp.data.read import read

    left = read(out)
    assert left["train"]["text"][:] == [
        text for i, text in enumerate(sentences[:100]) if i not in (3, 7, 9)
    ]
    assert len(left["test"]) == 23 and (out / f"test.{ending}").exists()
    assert json.loads(invoke("check", out, "--json").output)["findings"] == []


def test_a_sample_is_checked_and_all_rows_are_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = make_sentences(90)
    write(tmp_path / "train.csv", sentences)
    write(tmp_path / "test.csv", sentences[:30])
    monkeypatch.setattr(
        "ftp_leakage.check_options.CheckOptions", partial(CheckOptions, most_rows=20)
    )
    assert "train: 20 of 90 rows were looked at" in invoke("check", tmp_path).output
    report = json.loads(invoke("clean", tmp_path, "--out", tmp_path / "new", "--json").output)
    assert report["removed"] == {"train": 30, "test": 0}


def test_clean_never_overwrites(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", make_sentences(10))
    write(tmp_path / "test.csv", make_sentences(10))
    with pytest.raises(UserError, match="nothing is overwritten"):
        invoke("clean", tmp_path, "--out", tmp_path)
    with pytest.raises(UserError, match="nothing would be left"):
        invoke("clean", tmp_path, "--out", tmp_path / "new")
    write(tmp_path / "test.csv", make_sentences(10, seed=1))
    with pytest.raises(UserError, match="cannot be made"):
        invoke("clean", tmp_path, "--out", tmp_path / "train.csv" / "new")


def test_check_of_one_split_and_of_nothing(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", make_sentences(10))
    result = invoke("check", tmp_path)
    assert result.output.startswith("not_run: there is one split only") and result.return_value == 0
    assert invoke("check", tmp_path, "--fail-on", "stop").return_value == 2
    with pytest.raises(UserError, match="give either a folder"):
        invoke("check")
    with pytest.raises(UserError, match="no such column"):
        invoke("check", tmp_path, "--text-column", "txt")


@pytest.mark.parametrize(
    ("train", "held"),
    [
        (("description",), ("text",)),
        (("sentence",), ("text",)),
        (("text",), ("remark",)),
        (("sentence1", "sentence2"), ("text_a", "text_b")),
    ],
)
def test_splits_may_call_their_texts_by_different_names(
    tmp_path: Path, train: tuple[str, ...], held: tuple[str, ...]
) -> None:
    sentences = make_sentences(60)
    pairs = list(zip(sentences, reversed(sentences), strict=True))
    for split, names, part in (("train", train, pairs[:40]), ("validation", held, pairs[37:])):
        rows = [dict(zip(names, pair, strict=False)) for pair in part]
        text = "".join(json.dumps({**row, "label": i % 2}) + "\n" for i, row in enumerate(rows))
        (tmp_path / f"{split}.jsonl").write_text(text, encoding="utf-8")
    result = invoke("check", tmp_path, "--json")
    found = json.loads(result.output[result.output.index("{") :])["findings"]
    shared = {(*row["a"], *row["b"]) for row in found if row["kind"] == "exact"}
    assert {("train", 37 + i, "validation", i) for i in range(3)} <= shared


def test_columns_that_could_be_either_text_are_not_guessed(tmp_path: Path) -> None:
    sentences = make_sentences(20)
    for split, names in (("train", ("said", "heard")), ("validation", ("asked", "told"))):
        rows = [dict(zip(names, pair, strict=True)) for pair in itertools.pairwise(sentences)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{split}.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="validation has no column 'said'"):
        invoke("check", tmp_path)


# --- advice


def test_advice_is_made_of_what_was_asked(tmp_path: Path) -> None:
    sentences = make_sentences(120)
    sheet = {
        "question": sentences[:90],
        "answer": sentences[30:120],
        "mark": [0, 1] * 45,
        "who": list(range(90)),
        "day": ["2020-01-01"] * 90,
    }
    train, held = tmp_path / "the train.jsonl", tmp_path / "held.jsonl"
    every = Dataset.from_dict(sheet)
    every.to_json(str(train))
    every.select(range(40)).map(lambda row: {"day": "2021-01-01"}).to_json(str(held))
    (tmp_path / "bench.txt").write_text("\n".join(sentences[:20]), encoding="utf-8")
    options = [
        "--train",
        train,
        "--validation",
        held,
        "--text-column",
        "question",
        "--text-column",
        "answer",
        "--label-column",
        "mark",
        "--group-column",
        "who",
        "--date-column",
        "day",
        "--against",
        tmp_path / "bench.txt",
        "--threshold",
        "0.9",
        "--within",
    ]
    [command] = json.loads(invoke("check", *options, "--json").output)["verdict"]["advice"]
    assert shlex.split(command) == [
        "ftp",
        "data",
        "clean",
        *map(str, options),
        "--out",
        str(tmp_path / "clean"),
    ]
    assert invoke(*shlex.split(command)[2:]).exit_code == 0
    [again] = json.loads(invoke("check", *options, "--json").output)["verdict"]["advice"]
    assert again.endswith("clean-2")  # never a folder that is there


def test_advice_of_a_run_names_columns_as_the_files_do(tmp_path: Path) -> None:
    sentences, read = make_sentences(60), choose_reading("labelled", rows([""], label=[0]))
    folder = tmp_path / "of mine"
    folder.mkdir()
    for split, texts in {"train": sentences, "validation": sentences[50:]}.items():
        Dataset.from_dict({"said": texts, "target": [0] * len(texts), "who": texts}).to_csv(
            str(folder / f"{split}.csv")
        )
    run = Run(
        Settings(data=str(folder), columns=("text=said,label=target",)),
        Task("labelled", "labels"),
        None,
    )
    asked = request_of_run(Leakage(group_column="who", threshold=0.9), run, "labelled", read)
    assert asked.clean("--within") == (
        f"ftp data clean '{folder}' --text-column said --label-column target "
        f"--group-column who --threshold 0.9 --within --out '{folder}-clean'"
    )
    assert (
        request_of_run(
            Leakage(), Run(Settings(), Task("labelled", "labels"), Hooks(())), "labelled", read
        )
        is None
    )
    large = dataclasses.replace(
        run, settings=dataclasses.replace(run.settings, max_decompressed="64GB")
    )
    assert "--max-decompressed 64GB" in request_of_run(Leakage(), large, "labelled", read).check()


def test_what_is_advised_of_a_compressed_file_allows_it_to_grow_as_far(tmp_path: Path) -> None:
    for split in ("train", "test"):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in make_sentences(20))
        (tmp_path / f"{split}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    with pytest.raises(UserError, match=r"--max-decompressed 400$"):
        invoke("check", tmp_path, "--max-decompressed", "100")
    bench = ["--against", tmp_path / "test.jsonl.gz"]
    options = ["--train", tmp_path / "train.jsonl.gz", *bench, "--max-decompressed", "1MB"]
    [command] = json.loads(invoke("check", *options, "--json").output)["verdict"]["advice"]
    assert "--max-decompressed 1MB" in command
    assert invoke(*shlex.split(command)[2:]).exit_code == 0
    with pytest.raises(UserError, match="grows to more than 100 bytes"):
        invoke("check", *options[:-1], "100")


def test_advice_of_a_run_whose_rows_are_in_no_folder_of_splits(tmp_path: Path) -> None:
    from ftp.plugins.plan import prepare

    recipe = tmp_path / "run.toml"
    recipe.write_text(prepare(["full", "sentiment"]).recipe(), encoding="utf-8")
    run = Run(Settings(), Task("labelled", "labels"), Hooks(()), out=tmp_path)
    command = shlex.split(
        request_of_run(
            Leakage(), run, "labelled", choose_reading("labelled", rows([""], label=[0]))
        ).clean()
    )
    assert command[3] == str(recipe) and invoke(*command[2:]).exit_code == 0
    assert {path.stem for path in (tmp_path / "clean").glob("*.parquet")} == {
        "train",
        "validation",
        "test",
    }


def test_a_run_that_cut_its_own_validation_cuts_again_by_group(tmp_path: Path) -> None:
    sentences, data = make_sentences(60), tmp_path / "mine.csv"
    write(data, sentences)
    run = Run(Settings(data=str(data)), Task("labelled", "labels"), Hooks(()), out=tmp_path)
    splits = {
        "train": rows(sentences[:40], who=[i % 9 for i in range(40)]),
        "validation": rows(sentences[40:], who=[1] * 20),
    }
    [risk] = Leakage(group_column="who").check_risks(run, "data", Data(splits, "text"))
    assert (
        risk.level == "stop"
        and risk.advice[0] == f"ftp run {tmp_path / 'run.toml'} --group-column who"
    )


def test_groups_that_are_in_both_files_throughout_are_parted_by_a_cut_of_the_training_file(
    tmp_path: Path,
) -> None:
    sentences, data = make_sentences(90), tmp_path / "mine"
    data.mkdir()
    for split, texts in (("train", sentences[:60]), ("validation", sentences[60:])):
        patients = [i % 10 for i in range(len(texts))]
        Dataset.from_dict(
            {"text": texts, "label": ["a", "b"] * (len(texts) // 2), "patient_id": patients}
        ).to_json(str(data / f"{split}.jsonl"))
    run = Run(Settings(data=str(data)), Task("labelled", "labels"), Hooks(()), out=tmp_path)
    splits = {
        split: Dataset.from_json(str(data / f"{split}.jsonl")) for split in ("train", "validation")
    }
    [risk] = Leakage(group_column="patient_id").check_risks(
        run, "data", Data(splits, "labelled", ("a", "b"))
    )
    assert risk.level == "stop"
    assert risk.advice == (
        f"ftp run {tmp_path / 'run.toml'} --data {data / 'train.jsonl'} --group-column patient_id",
    )


def test_where_nothing_would_be_left_the_training_rows_are_kept(tmp_path: Path) -> None:
    sheet = Dataset.from_dict({"said": make_sentences(20), "note": ["of no use to anyone"] * 20})
    for split in ("train", "validation"):
        sheet.to_json(str(tmp_path / f"{split}.jsonl"))
    options = [tmp_path, "--text-column", "said", "--threshold", "0.9", "--within"]
    [command] = json.loads(invoke("check", *options, "--json").output)["verdict"]["advice"]
    assert (
        f"--train {tmp_path}/train.jsonl --text-column said --threshold 0.9 --within --out"
        in command
    )
    assert invoke(*shlex.split(command)[2:]).exit_code == 0
    with pytest.raises(UserError, match="nothing would be left") as error:
        invoke("clean", *options, "--out", tmp_path / "new")
    assert error.value.problems[0].command == f"{command}-2"


def test_one_split_is_looked_at_on_its_own(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", make_sentences(30))
    assert invoke("check", tmp_path, "--within").output.startswith(
        "ok: none of 30 rows of train repeats another of train"
    )
    (tmp_path / "bench.txt").write_text("\n".join(make_sentences(10, 9)), encoding="utf-8")
    output = invoke(
        "check", "--train", tmp_path / "train.csv", "--against", tmp_path / "bench.txt"
    ).output
    assert output.startswith("ok: none of 10 rows of")


def test_one_split_is_cleaned_on_its_own(tmp_path: Path) -> None:
    sentences = make_sentences(30)
    write(tmp_path / "train.csv", [*sentences, sentences[0]])
    with pytest.raises(UserError) as error:
        invoke("clean", tmp_path, "--out", tmp_path / "new")
    [problem] = error.value.problems
    assert invoke(*shlex.split(problem.command)[2:]).exit_code == 0


# --- real rows

SETS = {
    "sst2": ("train.jsonl.xz", "test.jsonl.xz"),
    "banking77": ("train.csv.xz", "test.csv.xz"),
    "ag_news": ("train.csv.xz", "test.csv.xz"),
    "trec": ("train.csv.xz", "test.csv.xz"),
}


PROMPTS = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request. Instruction: say where "
    "and when this happened. Input: {} Response:",
    "You are given a short sentence from a diary. Decide whether its writer liked what had "
    "happened or not, and say so with one single word and nothing else. Here is the sentence: {} "
    "Your answer:",
)


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS])
def test_rows_written_into_one_long_prompt_are_not_alike_for_it(prompts: tuple[str, ...]) -> None:
    names = ["".join(pair) for pair in itertools.product("bdfgklmnprst", "aeiou", "lmnrst")]
    rng = random.Random(0)
    answers = [
        " ".join(rng.choice(names) + rng.choice(names) for _ in range(rng.randrange(4, 8)))
        for _ in range(1000)
    ]
    texts = [prompts[i % len(prompts)].format(text) for i, text in enumerate(answers)]
    train, test = texts[:800], texts[800:]
    assert not list(
        look(
            {"train": rows(train), "test": rows(test)}, choose_reading("text", rows(train))
        ).findings()
    )
    copies = [prompts[i % len(prompts)].format(answers[i] + " indeed") for i in range(50)]
    findings = look(
        {"train": rows(train), "test": rows(copies)}, choose_reading("text", rows(train))
    ).findings()
    assert {finding.b[1] for finding in findings if finding.b} == set(range(50))


@pytest.mark.skipif(not REAL.is_dir(), reason="no real sets here (FTP_DATA names their folder)")
@pytest.mark.parametrize("name", SETS)
def test_recall_and_precision_on_real_rows(name: str) -> None:
    from ftp.data.read import read

    def pairs() -> set[tuple[int, int]]:
        splits = {"train": rows(train), "test": rows(test)}
        report = look(splits, choose_reading("text", splits["train"]))
        assert verdict(report, Levels()).level == "stop" or not planted
        return {(finding.b[1], finding.a[1]) for finding in report.findings()}

    train, test = (read(REAL / name / file).popitem()[1]["text"][:] for file in SETS[name])
    train, rng, planted = train[:12_000], random.Random(4), {}
    # these sets have rows of their own that are alike: they count neither way
    already = {row for row, _ in pairs()}
    fit = [i for i, text in enumerate(train) if len(words(text)) >= 6]
    for i, row in enumerate(rng.sample(range(len(test)), len(test) // 10)):
        source = rng.choice(fit)
        test[row] = (
            train[source] if i % 2 else changed(train[source], KINDS[i // 2 % len(KINDS)], rng)
        )
        planted[row] = words(train[source])
    matches = pairs()
    right = {
        row for row, source in matches if row in planted and words(train[source]) == planted[row]
    }
    wrong = {row for row, _ in matches} - planted.keys() - already
    assert len(right) / len(planted) >= 0.98
    assert len(right) / (len(right) + len(wrong)) >= 0.98


def test_a_wide_table_is_looked_at_once_and_not_once_a_column(tmp_path, monkeypatch):
    """Each look at a data set copies the kinds of all its columns: one look a column took minutes
    for a thousand."""
    import datasets

    width, looks = 300, []
    for name, rows in (("train", 40), ("test", 20)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label", *(f"c{column}" for column in range(width))])
            for row in range(rows):
                side = row // 2 % 2  # the check learns on every other row and judges on the rest
                writer.writerow([f"{name} row number {row}", "ab"[side], *[side] * width])
    copy = datasets.Features.copy

    def counted(features):
        looks.append(len(features))
        return copy(features)

    monkeypatch.setattr(datasets.Features, "copy", counted)
    report = json.loads(invoke("check", tmp_path, "--json").output)
    assert sum(width <= columns for columns in looks) < 50
    assert "c299" in json.dumps(report)  # and each column was compared with the labels
