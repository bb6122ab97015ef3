"""`ftp advise` without a network: how a question is read, what rows are taken for, the pool, the learning curve, the facts."""

from __future__ import annotations

import csv
import dataclasses
import random
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from ftp.advise import facts as fact_finding
from ftp.advise import from_looks
from ftp.advise.curve import fit_curve, sizes_up_to
from ftp.advise.language import language_of
from ftp.advise.pool import pool_of
from ftp.advise.question import Question
from ftp.advise.situation import check_models, open_situation, run_of
from ftp.advise.types import Advice, Entry, Facts, Finding, Looks, Metric, Outcome, Point, Situation
from ftp.advise.wording import more_rows
from ftp.advise.write import told_later
from ftp.cli.advise import read_question
from ftp.errors import UserError
from ftp.types import Data

WORDS = ["the", "film", "actors", "plot", "music", "story", "was", "with", "a", "very", "and", "scene", "night", "paper"]
GOOD = ["good", "great", "lovely", "superb", "fine"]
BAD = ["bad", "awful", "poor", "dreadful", "dull"]


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def reviews(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts whose class is said by one of their words, each text once."""
    dice = random.Random(seed)
    rows = []
    for number in range(count):
        words = dice.choices(WORDS, k=8)
        words.insert(dice.randrange(8), dice.choice(GOOD if number % 2 else BAD))
        rows.append((f"{' '.join(words)} {number}", "pos" if number % 2 else "neg"))
    return rows


def situation_of(path: Path, **more: object) -> Situation:
    return open_situation(dataclasses.replace(Question(data=str(path), out=path.parent / "out"), **more))  # type: ignore[arg-type]


# --- the line ---


def test_a_line_is_read_as_a_question() -> None:
    question, as_json = read_question(["--data", "a/my rows.csv", "--model", "x", "--model", "y", "--budget", "2m", "--goal=mcc",
                                       "--max-length", "64", "--json"])
    assert as_json
    assert question.models == ("x", "y")
    assert question.budget_seconds == 120
    assert question.goal == "mcc"
    assert question.options == {"max_length": "64"}
    assert question.out == Path("advice/my-rows")
    assert read_question(["--data", "a.csv", "--budget", "0"])[0].budget_seconds == 0


def test_all_mistakes_of_a_line_are_told_at_once() -> None:
    with pytest.raises(UserError) as told:
        read_question(["--budget", "soon", "--lora.r", "8", "--max-lenght", "3", "--goal"])
    message = str(told.value)
    assert "no data are named" in message
    assert "--budget soon: not a time" in message
    assert "--lora.r: an option of a plugin" in message
    assert "--max-length" in message
    assert "--goal: its value is missing" in message


# --- what rows are taken for ---


def test_columns_are_guessed_where_nobody_names_them_and_that_is_told(tmp_path: Path) -> None:
    situation = situation_of(write_rows(tmp_path / "r.csv", ("review", "verdict"), reviews(40)))
    assert situation.plugins == ("classify",)
    assert dict(situation.columns) == {"text": "review", "label": "verdict"}
    findings = fact_finding.look_at(situation).findings
    assert any("text=review,label=verdict" in finding.text for finding in findings)
    # the run of an entry reads them in the same way
    prepared = run_of(situation, Entry("full", ("full", "classify"), {"batch_size": 4}))
    assert prepared.values["columns"] == ("text=review", "label=verdict")
    assert prepared.settings.batch_size == 4


def test_numbers_are_read_as_numbers_and_not_as_text_alone(tmp_path: Path) -> None:
    rows = [(text, round(number * 0.37, 2)) for number, (text, _) in enumerate(reviews(40))]
    situation = situation_of(write_rows(tmp_path / "r.csv", ("text", "label"), rows))
    assert situation.prepared.task.head == "regression"
    assert dict(situation.columns) == {"score": "label"}


@pytest.mark.parametrize(("label", "message"), [("pos", "all training rows have the same label"), ("", "no usable label")])
def test_labels_that_say_nothing_are_refused_and_not_read_as_text_alone(tmp_path: Path, label: str, message: str) -> None:
    rows = [(text, label) for text, _ in reviews(40)]
    with pytest.raises(UserError, match=message):
        situation_of(write_rows(tmp_path / "r.csv", ("text", "label"), rows))


def test_rows_without_labels_are_read_as_text(tmp_path: Path) -> None:
    situation = situation_of(write_rows(tmp_path / "r.csv", ("text",), [(text,) for text, _ in reviews(40)]))
    assert situation.prepared.task.form == "text"


def test_columns_of_no_form_are_named_with_what_could_be_read(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "r.csv", ("x", "y"), [(number, number * 2) for number in range(40)])
    with pytest.raises(UserError, match="what its columns mean is not known: x, y") as told:
        situation_of(file)
    assert "labelled (text, label)" in str(told.value)


def test_plugins_of_the_user_come_first_and_an_objective_is_added_where_one_is_needed(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "r.csv", ("prompt", "chosen", "rejected"), [(f"q{n}?", f"a {n}", f"b {n}") for n in range(40)])
    situation = situation_of(file, plugins=("files",), options={})
    assert situation.plugins[0] == "files" and len(situation.plugins) == 2
    assert situation.data.form in ("preference", "conversation", "text", "prompt", "feedback")


def test_models_that_are_not_there_are_refused_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = write_rows(tmp_path / "r.csv", ("text", "label"), reviews(40))
    situation = situation_of(rows, models=("./no-folder", "no.such name"))
    with pytest.raises(UserError) as told:
        check_models(situation)
    assert "./no-folder" in str(told.value) and "no.such name" in str(told.value)


def test_what_is_told_on_the_way_is_shown_beside_the_facts(tmp_path: Path) -> None:
    facts = Facts("labelled", "labels", {}, {}, findings=(Finding("note", "rows", "5 rows cut"),))
    made = from_looks.recommend(situation_of(write_rows(tmp_path / "r.csv", ("text", "label"), reviews(40))), facts, None)
    notes = ("5 rows cut", "no look through a network")
    assert told_later(Advice(Question("r.csv"), facts, None, made, notes=notes)) == ["no look through a network"]


# --- the pool ---


def labelled(counts: Sequence[int]) -> Data:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    names = tuple(f"class {label}" for label in range(len(counts)))
    texts = [f"text {number}" for number in range(len(labels))]
    train = Dataset.from_dict({"text": texts, "label": labels})
    return Data({"train": train.select(range(3, len(labels))), "validation": train.select(range(3)),
                 "test": train.select(range(2))}, "labelled", names)


def test_each_row_of_train_and_validation_is_in_one_fold_and_classes_are_spread() -> None:
    pool = pool_of(labelled([50, 20, 10]), seed=0)
    assert len(pool.rows) == 80, "test rows are none of them"
    labels = np.array(pool.rows["label"][:])
    for fold in range(pool.num_folds):
        counts = np.bincount(labels[pool.held(fold)], minlength=3)
        assert counts.tolist() == [10, 4, 2]
        assert not set(pool.held(fold)) & set(pool.fitted(fold))
        assert len(pool.held(fold)) + len(pool.fitted(fold)) == 80


def test_few_rows_are_part_of_more_rows_and_a_fair_sample() -> None:
    pool = pool_of(labelled([50, 20, 10]), seed=0)
    labels = np.array(pool.rows["label"][:])
    few, more = pool.fitted(1, 16), pool.fitted(1, 32)
    assert set(few) <= set(more)
    assert np.bincount(labels[few], minlength=3).min() >= 1
    assert set(pool.fitted(0, 16)) != set(few), "each fold begins with others"
    assert pool_of(labelled([50, 20, 10]), seed=0).fitted(1, 16).tolist() == few.tolist()
    split = pool.split(1, 16)
    assert len(split.splits["train"]) == 16 and len(split.splits["validation"]) == 16


def test_rows_that_belong_together_are_in_one_fold_and_on_one_side_of_a_cut() -> None:
    labels = [number % 2 for number in range(60)]
    # three rows of each author, and one text twice
    columns = {"text": [f"text {max(number, 1)}" for number in range(60)], "label": labels,
               "author": [f"author {number // 3}" for number in range(60)]}
    train = Dataset.from_dict(columns)
    data = Data({"train": train.select(range(54)), "validation": train.select(range(54, 60))}, "labelled", ("no", "yes"))
    pool = pool_of(data, 0, group="author")
    assert (pool.fold_of_row.reshape(20, 3) == pool.fold_of_row[::3, None]).all()
    assert np.bincount(pool.fold_of_row).tolist() == [12] * 5
    split = pool.as_run(2).splits
    assert len(split["test"]) == 12 and len(split["train"]) + len(split["validation"]) == 48 and len(split["validation"])
    authors = [set(rows["author"]) for rows in split.values()]
    assert not authors[0] & authors[1] and not authors[0] & authors[2] and not authors[1] & authors[2]
    # without the column only the text that is there twice binds rows
    alone = pool_of(data, 0)
    assert alone.fold_of_row[0] == alone.fold_of_row[1] and np.bincount(alone.fold_of_row).max() <= 13
    assert (alone.fold_of_row.reshape(20, 3) != alone.fold_of_row[::3, None]).any()


# --- the learning curve ---


def points_of(a: float, b: float, c: float, sizes: Sequence[int]) -> list[Point]:
    return [Point(size, a - b * size**-c, 0.005) for size in sizes]


def test_a_curve_is_found_again() -> None:
    points = points_of(0.9, 1.2, 0.5, sizes_up_to(800, 25))
    curve = fit_curve("words", points, [[point.value for point in points]] * 5, is_share=True, goal="max")
    assert curve is not None
    assert curve.at(1600) == pytest.approx(0.9 - 1.2 * 1600**-0.5, abs=0.005)
    gain, low, high = curve.gain(800, 800)
    assert low <= gain <= high
    assert gain == pytest.approx(1.2 * (800**-0.5 - 1600**-0.5), abs=0.004)


def test_a_curve_neither_falls_with_more_rows_nor_ends_above_what_is_possible() -> None:
    falling = fit_curve("words", [Point(50, 0.8, 0.01), Point(100, 0.7, 0.01), Point(200, 0.6, 0.01)], [], True, "max")
    assert falling is not None and falling.at(400) >= falling.at(200) - 1e-9
    steep = fit_curve("words", [Point(50, 0.5, 0.01), Point(100, 0.8, 0.01), Point(200, 0.99, 0.01)], [], True, "max")
    assert steep is not None and steep.at(10**9) <= 1
    loss = fit_curve("words", [Point(50, 0.9, 0.01), Point(100, 0.7, 0.01), Point(200, 0.6, 0.01)], [], False, "min")
    assert loss is not None and loss.at(400) < loss.at(200)


def test_what_further_labels_are_worth_is_told_with_its_band() -> None:
    points = points_of(0.9, 1.2, 0.5, sizes_up_to(400, 25))
    dice = np.random.default_rng(0)
    drawn = [[point.value + dice.normal(0, 0.01) for point in points] for _ in range(60)]
    curve = fit_curve("words", points, drawn, is_share=True, goal="max")
    assert curve is not None
    low, high = curve.band(400)
    assert 0.005 < high - low < 0.06
    assert "500 more labels are worth +" in more_rows(Metric("accuracy", "max"), curve, 400)


# --- facts ---


def test_leaks_stop_the_ladder_with_the_command_that_cleans(tmp_path: Path) -> None:
    rows = reviews(60)
    folder = tmp_path / "rows"
    folder.mkdir()
    write_rows(folder / "train.csv", ("text", "label"), rows[:50])
    write_rows(folder / "test.csv", ("text", "label"), rows[30:])
    situation = situation_of(folder)
    facts = fact_finding.look_at(situation)
    assert facts.stopped
    assert facts.findings[0].level == "stop" and facts.findings[0].title == "leakage"
    assert facts.findings[0].command.startswith("ftp data clean")
    recommendation = from_looks.recommend(situation, facts, None)
    assert recommendation.kind == "stopped" and recommendation.entry is None
    assert recommendation.would_change == (facts.findings[0].command,)


def test_rows_that_had_better_be_read_otherwise_are_asked_about_again(tmp_path: Path) -> None:
    spelt = [(text, label.upper() if number % 4 < 2 else label) for number, (text, label) in enumerate(reviews(80))]
    file = write_rows(tmp_path / "my reviews.csv", ("text", "label"), spelt)
    facts = fact_finding.look_at(situation_of(file, options={"max_length": "64"}))
    commands = [finding.command for finding in facts.findings if "spellings of one class" in finding.text and finding.command]
    assert commands == [f"ftp advise --data '{file}' --max-length 64 --join-labels"]
    question, _ = read_question(shlex.split(commands[0])[2:])
    joined = fact_finding.look_at(open_situation(question))
    assert {name.casefold() for name in joined.classes} == {"pos", "neg"} and len(joined.classes) == 2


def test_three_rows_stop_the_ladder(tmp_path: Path) -> None:
    facts = fact_finding.look_at(situation_of(write_rows(tmp_path / "r.csv", ("text", "label"), reviews(3))))
    assert facts.stopped and "3 rows are too few" in facts.findings[0].text


def test_classes_lengths_and_language(tmp_path: Path) -> None:
    rows = [*reviews(60), *((f"rare thing number {number} of the town", "rare") for number in range(3))]
    facts = fact_finding.look_at(situation_of(write_rows(tmp_path / "r.csv", ("text", "label"), rows)))
    assert facts.classes == {"neg": 30, "pos": 30, "rare": 3}
    assert facts.rows == {"train": 57, "validation": 6}
    assert facts.language == "English"
    assert not facts.stopped
    assert any(finding.title == "uneven classes" and "'rare' has 3 rows" in finding.text for finding in facts.findings)


def test_pairs_in_which_the_longer_answer_is_the_chosen_one(tmp_path: Path) -> None:
    header = ("prompt", "chosen", "rejected")
    biased = [(f"question {n}?", f"yes {n} and here is much more", f"no {n}") for n in range(60)]
    fair = [(f"question {n}?", "yes" + " so" * (n % 2), "no" + " so" * ((n + 1) % 2)) for n in range(60)]
    titles = {}
    for name, rows in (("biased", biased), ("fair", fair)):
        situation = situation_of(write_rows(tmp_path / f"{name}.csv", header, rows))
        titles[name] = [finding.title for finding in fact_finding.look_at(situation).findings]
    assert "longer answers" in titles["biased"]
    assert "longer answers" not in titles["fair"]


@pytest.mark.parametrize(("text", "language"), [
    ("der Hund ist nicht in dem Haus und die Katze ist auch nicht bei den Nachbarn", "German"),
    ("le chien est dans la maison et les enfants ne sont pas avec lui pour le moment", "French"),
    ("собака не в доме", "Cyrillic script"),
    ("zxq wvb", ""),
])
def test_language(text: str, language: str) -> None:
    assert language_of([text] * 10) == language


# --- what looks alone come to ---


def outcome(name: str, accuracy: float) -> Outcome:
    return Outcome(name, np.arange(4), np.zeros(4), scores={"accuracy": accuracy}, num_train_rows=100)


def looks_of(best: float, ahead: tuple[float, float, float] | None) -> Looks:
    entries = {"majority class": outcome("majority class", 0.5), "words": outcome("words", best)}
    return Looks(Metric("accuracy", "max"), entries, "words", "majority class", ahead)


@pytest.mark.parametrize(("best", "ahead", "kind"), [
    (0.52, (0.02, -0.03, 0.07), "nothing to learn"),
    (0.99, (0.49, 0.44, 0.54), "train nothing"),
    (0.80, (0.30, 0.25, 0.35), "train"),
])
def test_looks_say_no_more_than_they_show(
    tmp_path: Path, best: float, ahead: tuple[float, float, float], kind: str
) -> None:
    situation = situation_of(write_rows(tmp_path / "r.csv", ("text", "label"), reviews(40)))
    entries = [Entry("probe", ("probe", "classify"), trains=False), Entry("full", ("full", "classify"))]
    recommendation = from_looks.recommend(situation, Facts("labelled", "labels", {}, {}), looks_of(best, ahead), entries)
    assert recommendation.kind == kind
    # whoever is told not to fine-tune gets no recipe that does
    assert recommendation.entry == entries[0 if kind == "train nothing" else 1]
    assert [line.name for line in recommendation.tried] == ["words", "majority class"]
    assert recommendation.score is None, "what was not raced has no expected score"
