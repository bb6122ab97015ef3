"""`ftp advise`: what a race comes to."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from ftp.advise import first_stage, from_looks
from ftp.advise.candidates import entries_of, field_of
from ftp.advise.forecast import operations_of
from ftp.advise.lanes import Lane, Raced
from ftp.advise.looks import take
from ftp.advise.pilot import Job, measure
from ftp.advise.pool import pool_of
from ftp.advise.question import Question
from ftp.advise.race import run_race
from ftp.advise.recommend import race_and_recommend, recommend
from ftp.advise.scores import Scorer
from ftp.advise.situation import open_situation
from ftp.advise.types import Entry, Facts, Looks, Metric, Outcome, Recommendation, Situation
from ftp.advise.write import recipe as recipe_of
from ftp.errors import UserError
from ftp.plugins.plan import prepare
from ftp.runs import dry_run
from ftp.runs.stages import read as read_stages
from ftp.types import Prediction
from ftp_testing.race_samples import an_outcome, situation_of

Plant = Callable[..., Path]
ACCURACY = Metric("accuracy", "max")
NO_LOOKS = Looks(ACCURACY)


# --- a whole race ---

CRASHING = """
    import os

    from ftp import Candidate, hookimpl, plugin

    @plugin(decides="which weights are trained", candidates=[Candidate(cost=0.1)])
    class Crash:
        "Ends its process."

        @hookimpl(wrapper=True)
        def build_model(self):
            model = yield
            os.abort()
"""


@pytest.fixture(scope="module")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ftp_testing.models import tiny

    return tiny("bert", tmp_path_factory.mktemp("advise") / "encoder")


@pytest.mark.slow
def test_a_race_ends_with_a_recipe_and_goes_on_where_it_stopped(
    plant: Plant, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("ftp-planted-crash", {"crash": "ftp_planted_crash:Crash"}, {"ftp_planted_crash": CRASHING})
    options = {"model": str(tiny_encoder), "device": "cpu", "precision": "fp32"}
    situation = situation_of(tmp_path, options=options, budget_seconds=3600.0)
    pool = pool_of(situation.data, 0)
    looks = Looks(ACCURACY)
    # two entries, no extras, two rungs: a race is as long as it has entries
    monkeypatch.setattr("ftp.advise.race.SHARES", (1 / 12, 1.0))
    monkeypatch.setattr("ftp.advise.race.beside", lambda *anything: [])
    few = [entry for entry in entries_of(situation, field_of(situation)) if entry.name in ("crash", "full")]
    monkeypatch.setattr("ftp.advise.recommend.entries_of", lambda *anything: few)
    told: list[str] = []
    first = race_and_recommend(situation, Facts("labelled", "labels", {}, {}), pool, looks, told.append)
    assert first.entry is not None and first.kind in ("train", "likely", "no difference") and first.score is not None
    lines = {line.name: line for line in first.tried}
    assert "its process was ended by SIGABRT" in lines["crash"].left and any("crash failed" in line for line in told)
    assert lines[first.entry.name].value is not None and first.low is not None and first.low <= first.score
    assert first.seconds and first.memory and first.memory > 10**7

    # what was done is not done again, and decides as it did
    files = {file: file.stat().st_mtime_ns for file in (situation.question.out / "pilots").iterdir()}
    again = race_and_recommend(situation, Facts("labelled", "labels", {}, {}), pool, looks)
    assert {file: file.stat().st_mtime_ns for file in (situation.question.out / "pilots").iterdir()} == files
    assert again.entry == first.entry and again.score == first.score and again.tried == first.tried


def test_a_pilot_ends_with_its_best_weights_as_a_run_does(tiny_encoder: Path, tmp_path: Path) -> None:
    pool = pool_of(situation_of(tmp_path).data, 0)
    options = {"model": str(tiny_encoder), "device": "cpu", "precision": "fp32", "learning_rate": 10.0, "eval_steps": 2}
    begun = Job("full", ("full", "classify"), (), options, pool.as_run(0), pool.held(0), 0, updates=0, batch_size=8)
    trained = measure(dataclasses.replace(begun, updates=4), tmp_path)
    start = measure(begun, tmp_path)
    assert not start.error and not trained.error
    # such a rate makes it worse, so that it is what it began with: a fitted head
    assert [answer.answer for answer in trained.answers] == [answer.answer for answer in start.answers]
    assert np.allclose(trained.losses, start.losses) and start.scores["accuracy"] == 1.0


def test_a_pilot_without_updates_tunes_what_a_run_without_updates_tunes(tiny_encoder: Path, tmp_path: Path) -> None:
    """Every third row has the label at random, so that it is likelier than even nowhere: a threshold of 0.5 gives it to none."""
    file = tmp_path / "rows.jsonl"
    rows = [{"text": f"number {row}", "labels": ["food", "price"][: 2 if row % 3 == 0 else 1]} for row in range(90)]
    file.write_text("\n".join(map(json.dumps, rows)))
    options = {"model": str(tiny_encoder), "device": "cpu", "precision": "fp32"}
    pool = pool_of(open_situation(Question(str(file), out=tmp_path / "advice", options=options)).data, 0)
    job = Job("probe", ("probe", "multilabel"), (), options, pool.as_run(0), pool.held(0), 0, updates=0, batch_size=8)
    outcome = measure(job, tmp_path)
    assert not outcome.error
    price = pool.data.labels.index("price")
    assert all(answer.scores is not None and answer.scores[price] < 0.5 for answer in outcome.answers)
    assert any(price in (answer.answer or ()) for answer in outcome.answers)


# --- looks at heads of all kinds ---

ROWS_OF: dict[str, Callable[[int], dict[str, Any]]] = {
    "tagged": lambda row: {"tokens": ["Ann", f"{row}"][:: 1 - row % 2 * 2], "ner_tags": ["B-PER", "O"][:: 1 - row % 2 * 2]},
    "graded": lambda row: {"text": f"{'good ' * (row % 5)} number {row}", "score": row % 5 + 0.5},
    "multilabelled": lambda row: {"text": f"{'soup' * (row % 2)} bill {row}", "labels": ["food", "price"][1 - row % 2:]},
    "text": lambda row: {"text": f"Ann has {row} cats, and {row + 1} dogs. " * 3},
    "question": lambda row: {"context": f"Ann has {row} cats.", "question": f"Who has {row}?",
                             "answers": {"text": ["Ann"], "answer_start": [0]}},
}


@pytest.mark.slow
@pytest.mark.parametrize(("form", "budget", "metric", "simplest", "others"), [
    # what each word was last time reads the row, so that it is no yardstick for having learnt nothing
    ("tagged", 60.0, "f1", "", {"each word's usual tag", "untuned, linear head", "untuned"}),
    ("graded", 60.0, "pearson", "mean of train", {"TF-IDF, linear model", "untuned, linear head"}),
    ("multilabelled", 0.0, "micro_f1", "most frequent label", {"TF-IDF, linear model", "untuned, linear head"}),
    # what a plugin learnt of the network that it has seen is no part of an answer
    ("multilabelled", 60.0, "micro_f1", "most frequent label", {"TF-IDF, linear model", "untuned, linear head"}),
    # perplexity and bits per byte need a tokenizer, which answers of pilots have not
    ("text", 0.0, "perplexity", "", {"untuned"}),
    ("text", 60.0, "loss", "", {"untuned"}),
    # all that could be shown is a head of random numbers
    ("question", 60.0, "exact_match", "", set()),
])
def test_looks_at_rows_of_a_form(
    tiny_encoder: Path, tmp_path: Path, form: str, budget: float, metric: str, simplest: str, others: set[str]
) -> None:
    from ftp_testing.models import tiny

    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(ROWS_OF[form](row)) for row in range(30)))
    model = tiny("llama", tmp_path / "decoder") if form == "text" else tiny_encoder
    options = {"model": str(model), "device": "cpu", "precision": "fp32", "max_length": 64}
    situation = open_situation(Question(str(file), out=tmp_path / "advice", options=options, budget_seconds=budget))
    assert situation.data.form == form
    looks = take(situation, pool_of(situation.data, 0))
    assert looks.metric.name == metric and looks.simplest == simplest and set(looks.entries) == others | {simplest} - {""}
    made = from_looks.recommend(situation, Facts(form, situation.prepared.task.head, {}, {}), looks)
    # nothing that trains is recommended to whoever is told not to fine-tune
    assert (made.entry is None) == (made.kind == "train nothing")
    assert (made.kind == "not known") == (form in ("question", "text"))
    assert "Nothing was learnt" not in made.answer or simplest


def test_a_look_chooses_nothing_by_the_rows_that_it_answers(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thresholds that are tuned on the answered rows would flatter a baseline beside pilots."""
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(ROWS_OF["multilabelled"](row)) for row in range(30)))
    options = {"model": str(tiny_encoder), "device": "cpu", "precision": "fp32", "max_length": 64}
    situation = open_situation(Question(str(file), out=tmp_path / "advice", options=options, budget_seconds=0.0))
    splits_seen: list[dict[str, set[str]]] = []

    def no_baselines(run: Any, data: Any, *others: Any) -> dict[str, Any]:
        splits_seen.append({split: set(rows["text"][:]) for split, rows in data.splits.items()})
        return {}

    monkeypatch.setattr("ftp.evaluate.baselines.predict_baselines", no_baselines)
    take(situation, pool_of(situation.data, 0))
    assert splits_seen
    for splits in splits_seen:
        assert splits["validation"] and splits["test"] and not splits["validation"] & splits["test"]
        assert not splits["train"] & (splits["validation"] | splits["test"])


def test_a_large_network_reads_fewer_rows(tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat model of a billion weights would read 600 pairs for hours on a CPU."""
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(ROWS_OF["graded"](row)) for row in range(30)))
    options = {"model": str(tiny_encoder), "device": "cpu", "precision": "fp32", "max_length": 64}
    situation = open_situation(Question(str(file), out=tmp_path / "advice", options=options, budget_seconds=0.0))
    monkeypatch.setattr("ftp.advise.lookers.TOKENS_TIMES_WEIGHTS", 0)
    monkeypatch.setattr("ftp.advise.lookers.FEWEST_FEATURE_ROWS", 20)
    looks = take(situation, pool_of(situation.data, 0))
    answered = {name: len(outcome.rows) for name, outcome in looks.entries.items()}
    # two of five folds of 20 rows, and not of 30
    assert answered["untuned, linear head"] <= 10, answered


# --- what it comes to ---


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recommendation]:
    """`judged({"lora": outcome}, looks)`: the recommendation after a race with these last rungs."""
    situation = situation_of(tmp_path)
    pool = pool_of(situation.data, 0)
    labels = [row % 2 for row in range(len(pool.rows))]
    pool = dataclasses.replace(pool, rows=pool.rows.remove_columns("label").add_column("label", labels))
    monkeypatch.setattr("ftp.runs.dry_run.forecast", lambda prepared: SimpleNamespace(shape=None, updates=None))
    monkeypatch.setattr("ftp.advise.comparison.DRAWS", 40)  # a second each time for a hundred

    def judge(outcomes: dict[str, Outcome], looks: Looks = NO_LOOKS, **changes: Any) -> Recommendation:
        from ftp.advise.started import started

        lanes = []
        costs = {"probe": 0.1, "lora": 0.5}
        for name, outcome in outcomes.items():
            entry = Entry(name, (name, "classify"), cost=costs.get(name, 1.0), trains=name != "probe")
            updates = changes.get("updates_of_run", {}).get(name, outcome.updates)
            lanes.append(Lane(entry, situation.prepared, updates, (outcome,), rung=2, left=changes.get(name, "")))
        with started(situation) as run:
            scorer = Scorer(run, pool)
            facts = Facts("labelled", "labels", {}, {})
            untried = [Entry(name, (name, "classify")) for name in changes.get("untried", ())]
            lanes += [Lane(entry, situation.prepared, 10) for entry in untried]
            return recommend(situation, facts, pool, scorer, looks, Raced(tuple(lanes), 9.0), untried)

    return judge


def right_in(count: int, total: int = 60, start: int = 0) -> list[bool]:
    """Right in `count` of `total` rows, from one of them on."""
    return [(row - start) % total < count for row in range(total)]


def test_a_clear_winner_is_recommended(judged: Callable[..., Recommendation]) -> None:
    made = judged({"full": an_outcome("full", right_in(57)), "lora": an_outcome("lora", right_in(35))})
    assert made.kind == "train" and made.entry is not None and made.entry.name == "full"
    assert made.score is not None and made.low is not None and made.high is not None
    assert made.low < made.score <= made.high <= 1 and made.seconds is not None and made.seconds > 3
    assert [line.name for line in made.tried] == ["full", "lora"] and cast(float, made.tried[1].behind) > 0.3


def test_what_there_was_no_time_for_is_not_called_worse(judged: Callable[..., Recommendation]) -> None:
    made = judged({"full": an_outcome("full", right_in(57))}, untried=("lora", "adapters"))
    assert made.kind == "no difference" and "there was no time to try 'lora', 'adapters'" in made.answer
    assert judged({"full": an_outcome("full", right_in(57))}).kind == "train"


def test_where_rows_cannot_tell_the_cheaper_is_taken(judged: Callable[..., Recommendation]) -> None:
    made = judged({"full": an_outcome("full", right_in(50)), "lora": an_outcome("lora", right_in(49, start=30))})
    assert made.kind == "no difference" and made.entry is not None and made.entry.name == "lora"
    assert "No difference that your rows could show" in made.answer and "more labels" in " ".join(made.would_change)


def test_what_is_surely_worse_is_not_named_among_those_as_good(judged: Callable[..., Recommendation]) -> None:
    outcomes = {"full": an_outcome("full", right_in(50)), "lora": an_outcome("lora", right_in(49, start=30)),
                "probe": an_outcome("probe", right_in(20))}
    made = judged(outcomes)
    assert made.kind == "no difference" and "between 'lora' and 'full': take" in made.answer


def looks_with(linear: Outcome, majority: Outcome, ahead: float) -> Looks:
    entries = {"majority class": majority, "linear head": linear}
    fields = {item.name for item in dataclasses.fields(Looks)}
    more: dict[str, Any] = {"ahead": (ahead, ahead - 0.1, ahead + 0.1)} if "ahead" in fields else {}
    return Looks(ACCURACY, entries, "linear head", "majority class", **more)


def test_nothing_is_trained_where_a_linear_head_is_as_good(judged: Callable[..., Recommendation]) -> None:
    looks = looks_with(an_outcome("linear head", right_in(57)), an_outcome("majority class", right_in(30)), 0.4)
    made = judged({"full": an_outcome("full", right_in(53)), "probe": an_outcome("probe", right_in(56))}, looks)
    assert made.kind == "train nothing" and made.entry is not None and made.entry.name == "probe"
    assert "Do not fine-tune" in made.answer
    made = judged({"full": an_outcome("full", right_in(53))}, looks)
    assert made.kind == "train nothing" and made.entry is None


def test_where_rows_show_little_what_is_usual_counts(judged: Callable[..., Recommendation]) -> None:
    """One row more of sixty says nothing; that training is worth some points does."""
    linear_head = an_outcome("linear head", right_in(50))
    looks = looks_with(linear_head, an_outcome("majority class", right_in(30)), 0.4)
    made = judged({"full": an_outcome("full", right_in(51)), "probe": an_outcome("probe", right_in(50))}, looks)
    assert made.kind == "likely" and made.entry is not None and made.entry.name == "full"
    assert "points ahead of the cheaper 'probe'" in made.answer and any(line.startswith("usual") for line in made.why)
    # ways of training a network are usually alike: the cheaper one will do
    both = judged({"full": an_outcome("full", right_in(52, start=20)), "lora": an_outcome("lora", right_in(51)),
                   "probe": an_outcome("probe", right_in(50))}, looks)
    assert both.kind == "likely" and both.entry is not None and both.entry.name == "lora"


def test_a_loss_is_judged_by_the_rows_alone(judged: Callable[..., Recommendation]) -> None:
    """What is usual of shares says nothing of it."""
    outcomes = {}
    for name, spread in (("full", 0.0), ("lora", 0.5)):
        losses = np.asarray([0.5 + spread * (-1) ** row for row in range(60)])
        outcomes[name] = dataclasses.replace(an_outcome(name, right_in(50)), losses=losses - (0.02 if name == "full" else 0.0))
    made = judged(outcomes, Looks(Metric("loss", "min")))
    assert made.kind == "no difference" and made.entry is not None and made.entry.name == "lora"


def test_nobody_is_told_not_to_tune_where_nothing_was_tuned_far_enough(judged: Callable[..., Recommendation]) -> None:
    looks = looks_with(an_outcome("linear head", right_in(55)), an_outcome("majority class", right_in(30)), 0.4)
    outcomes = {"probe": an_outcome("probe", right_in(55)), "full": an_outcome("full", right_in(54), updates=10)}
    made = judged(outcomes, looks, updates_of_run={"full": 100})
    assert made.kind == "likely" and made.entry is not None and made.entry.name == "full"
    assert "Do not fine-tune" not in made.answer
    enough = judged(outcomes, looks, updates_of_run={"full": 20})
    assert enough.kind == "train nothing" and enough.entry is not None and enough.entry.name == "probe"
    assert any(line.startswith("full beside 'linear head'") for line in enough.why)


def test_noise_is_called_noise(judged: Callable[..., Recommendation]) -> None:
    looks = looks_with(an_outcome("linear head", right_in(31, start=9)), an_outcome("majority class", right_in(30)), 0.0)
    made = judged({"full": an_outcome("full", right_in(32, start=20))}, looks)
    assert made.kind == "nothing to learn" and made.entry is None and "Look at the labels" in made.answer


def test_where_nothing_is_right_nothing_was_learnt(judged: Callable[..., Recommendation]) -> None:
    outcomes = {"full": an_outcome("full", right_in(0)), "lora": an_outcome("lora", right_in(0))}
    made = judged(outcomes)
    assert made.kind == "nothing to learn" and made.entry is None and "every accuracy is 0" in made.answer
    # an eighth of a run says nothing of all of it
    begun = judged(outcomes, updates_of_run={name: 8 * outcome.updates for name, outcome in outcomes.items()})
    assert begun.kind == "not known" and begun.entry is not None and begun.score is None
    assert "Nothing was learnt yet" in begun.answer and "12% of a run's updates" in begun.answer
    assert judged({**outcomes, "full": an_outcome("full", right_in(1))}).kind in ("likely", "no difference")


def test_a_race_without_time_says_what_it_takes(tmp_path: Path) -> None:
    situation = situation_of(tmp_path, budget_seconds=1.0)
    pool = pool_of(situation.data, 0)
    facts = Facts("labelled", "labels", {}, {})
    made = recommend(situation, facts, pool, cast(Scorer, None), Looks(ACCURACY), Raced((), 0.0, wanted=40.0), [])
    assert any("--budget 80s" in line for line in made.would_change)
    # what a run takes elsewhere needs no pilot
    assert any("NVIDIA" in line and "not measured" in line for line in made.elsewhere), made.elsewhere


@pytest.mark.parametrize(("plugins", "form", "times"), [
    (("full", "classify"), "labelled", 1.0),
    # a second pass of the network with its own dropout
    (("full", "classify", "rdrop"), "labelled", 2.0),
    # two answers, which the untrained model reads as well
    (("full", "files", "dpo"), "preference", 2.66),
    (("full", "files", "simpo"), "preference", 2.0),
    (("full", "files", "kto"), "feedback", 1.33),
])
def test_a_forecast_counts_what_an_update_reads(plugins: tuple[str, ...], form: str, times: float) -> None:
    prepared = prepare(plugins, given=[("test", {"batch_size": 8})])
    assert prepared.task.form == form
    shape = dry_run.Shape("model", "Kind", 400, 1000, (), 1, 1, 1, 1, row_limit=10)
    # of each token six operations for a trained weight, four for a frozen one
    of_one_sequence = 5 * 8 * 10 * (6 * 400 + 4 * 600)
    assert operations_of(prepared, shape, updates=5) == pytest.approx(times * of_one_sequence)


class SlowWorker:
    """Answers all rows rightly; what `slow` names takes as long as it may."""

    def __init__(self, folder: Path) -> None:
        self.slow = "lora"

    def __enter__(self) -> SlowWorker:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def do(self, job: Job, seconds: float) -> Outcome:
        if job.entry == self.slow:
            return Outcome(job.entry, np.zeros(0, dtype=np.int64), np.zeros(0), seconds=seconds, error="it took too long")
        answers = [Prediction(label) for label in job.data.splits["test"]["label"]]
        return Outcome(job.entry, job.rows, np.zeros(len(job.rows)), answers, seconds=1.0, updates=job.updates, folds=(job.fold,))


def test_what_is_ended_for_want_of_time_has_not_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftp.advise.started import started

    monkeypatch.setattr("ftp.advise.race.Worker", SlowWorker)
    monkeypatch.setattr("ftp.advise.race.beside", lambda *anything: [])
    situation = situation_of(tmp_path, budget_seconds=60.0)
    pool = pool_of(situation.data, 0)
    entries = [Entry(name, (name, "classify")) for name in ("full", "lora")]
    with started(situation) as run:
        raced = run_race(situation, pool, Scorer(run, pool), ACCURACY, entries, field_of(situation))
    lanes = {lane.entry.name: lane for lane in raced.lanes}
    assert lanes["lora"].is_unfinished and not lanes["lora"].left and not lanes["lora"].outcomes
    assert lanes["full"].outcomes and raced.spent > 55
    # asked again with more time it is tried again
    kept_entries = {json.loads(file.read_text())["entry"] for file in (situation.question.out / "pilots").glob("*.json")}
    assert kept_entries == {"full"}


# --- a first stage on plain text ---


def staged_situation(tiny_encoder: Path, tmp_path: Path, **changes: Any) -> Situation:
    """Rows with labels, and a few texts of the same domain."""
    texts = tmp_path / "notes.txt"
    texts.write_text("\n\n".join(f"A quiet joy from first to last, and note {row} of many." for row in range(20)))
    options = {"model": str(tiny_encoder), "device": "cpu", "precision": "fp32", "max_length": 16}
    return situation_of(tmp_path, options=options, unlabelled=str(texts), **{"budget_seconds": 3600.0, **changes})


def test_texts_that_cannot_be_a_first_stage_are_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    first_stage.check(staged_situation(tiny_encoder, tmp_path))
    with pytest.raises(UserError, match="nowhere"):
        first_stage.check(situation_of(tmp_path, unlabelled=str(tmp_path / "nowhere.txt")))
    texts = str(tmp_path / "notes.txt")
    plain = open_situation(Question(texts, unlabelled=texts))
    with pytest.raises(UserError, match="these are plain text themselves"):
        first_stage.check(plain)


@pytest.mark.parametrize(("kind", "objective"), [("bert", "mlm"), ("llama", "clm")])
def test_the_objective_of_a_first_stage_is_the_one_that_the_network_can_be_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, objective: str
) -> None:
    from ftp_testing.models import tiny

    situation = staged_situation(tiny(kind, tmp_path / kind), tmp_path)
    monkeypatch.setattr("ftp.advise.first_stage.train", lambda *anything: ("", 1.0))
    monkeypatch.setattr("ftp.advise.first_stage._after", lambda situation, stage, entry: stage)
    staged = first_stage.train_and_stage(situation, [Entry("full", ("full", "classify"))], lambda message: None)
    assert [stage.name for stage in staged.entries] == [objective]


@pytest.mark.slow
def test_each_method_is_raced_after_a_first_stage_too(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    situation = staged_situation(tiny_encoder, tmp_path)
    entries = [Entry("full", ("full", "classify"), {"learning_rate": 1e-4})]
    told: list[str] = []
    begun = time.perf_counter()
    staged = first_stage.train_and_stage(situation, entries, told.append)
    passed = time.perf_counter() - begun
    assert not staged.notes and 0 < staged.seconds <= passed
    (after,) = staged.entries
    assert after.name == "mlm > full" and after.first is not None and after.model == after.first.folder
    assert after.options["learning_rate"] == 1e-4 and any("mlm on" in line for line in told)

    # it is trained once, and its time counts again
    monkeypatch.setattr("subprocess.Popen", lambda *words, **more: pytest.fail("the first stage is trained again"))
    again = first_stage.train_and_stage(situation, entries, told.append)
    assert again.seconds == pytest.approx(staged.seconds, abs=0.01)
    # but no more of it than its share of the budget
    short = dataclasses.replace(situation, question=dataclasses.replace(situation.question, budget_seconds=1.0))
    assert first_stage.train_and_stage(short, entries, told.append).seconds == 0.5

    # the recipe is one of two stages, which `ftp run` takes
    made = Recommendation("train", "Train it.", ACCURACY, after)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_of(situation, made))
    _, stages = read_stages(recipe, {"out": str(tmp_path / "runs")})
    assert [stage.name for stage in stages] == ["mlm", "tuned"]
    assert stages[0].prepared.values["data"] == situation.question.unlabelled
    assert stages[0].prepared.settings.max_length == stages[1].prepared.settings.max_length == 16
    assert stages[1].prepared.settings.model == str(tmp_path / "runs" / "mlm")
    assert stages[1].prepared.settings.learning_rate == 1e-4 and stages[1].prepared.plugins == after.plugins


@pytest.mark.slow
def test_a_first_stage_that_cannot_be_done_in_time_is_told_and_gone_on_with(tiny_encoder: Path, tmp_path: Path) -> None:
    situation = staged_situation(tiny_encoder, tmp_path, budget_seconds=0.2)
    staged = first_stage.train_and_stage(situation, [Entry("full", ("full", "classify"))], lambda message: None)
    assert not staged.entries and "asked again it goes on" in staged.notes[0] and staged.seconds == pytest.approx(0.1)
