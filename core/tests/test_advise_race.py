"""`ftp advise`: who may be raced, how pilots end, and what a race comes to."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ftp.advise import kept, write
from ftp.advise.candidates import beside, entries_of, field_of
from ftp.advise.pilot import Job, read_job, write_job
from ftp.advise.question import Question
from ftp.advise.situation import open_situation
from ftp.advise.study import OptunaStudy, Standing
from ftp.advise.types import Entry, Metric
from ftp.advise.worker import Worker
from ftp.errors import UserError
from ftp.folder import marker
from ftp_testing.race_samples import an_outcome, situation_of, write_rows

Plant = Callable[..., Path]
ACCURACY = Metric("accuracy", "max")

OUTSIDER = """
    from ftp import Candidate, hookimpl, option, plugin

    @plugin(decides="which weights are trained", candidates=[
        Candidate({"share": 0.2, "learning_rate": 1e-3}, cost=0.5, why="it is small"), Candidate(fewest_rows=100_000),
        Candidate({"share": 0.9}, needs="uneven")])
    class Tickle:
        "Trains a little of everything."

        share: float = option(0.5, "how much", low=0, high=1)

        @hookimpl(wrapper=True)
        def build_model(self):
            return (yield)
"""


# --- who may be raced ---


def test_an_installed_package_enters_by_its_declaration(plant: Plant, tmp_path: Path) -> None:
    plant("ftp-planted-tickle", {"tickle": "ftp_planted_tickle:Tickle"}, {"ftp_planted_tickle": OUTSIDER})
    situation = situation_of(tmp_path)
    field = field_of(situation)
    entries = {entry.name: entry for entry in entries_of(situation, field)}
    tickle = entries["tickle (share 0.2, learning_rate 0.001)"]
    assert tickle.plugins == ("tickle", "classify") and tickle.cost == 0.5 and tickle.why == "it is small"
    assert tickle.options == {"tickle.share": 0.2, "learning_rate": 1e-3}
    assert {"full", "lora", "adapters"} <= entries.keys()
    # what does not fit is left out with its reason
    assert "tickle" not in entries and "tickle: it is for 100,000 training rows or more" in field.notes
    assert any(note.startswith("tickle (share 0.9): it needs a class with less") for note in field.notes)
    # the cheapest first
    assert [entry.cost for entry in entries.values()] == sorted(entry.cost for entry in entries.values())


def test_extras_go_beside_the_leader_where_they_fit(tmp_path: Path) -> None:
    situation = situation_of(tmp_path)
    field = field_of(situation)
    assert "class_weight" not in field.extras  # for uneven classes
    leader = Entry("lora", ("lora", "classify"), {"lora.r": 4}, cost=0.5)
    joined = {entry.name: entry for entry in beside(situation, field, leader)}
    assert joined["lora, smoothing"].plugins == ("smoothing", "lora", "classify")
    assert joined["lora, smoothing"].options == {"lora.r": 4} and joined["lora, rdrop"].cost == 1.0
    assert not any("loraplus" in name for name in joined)  # it declares nothing


def test_uneven_classes_bring_their_own_extras(tmp_path: Path) -> None:
    file = write_rows(tmp_path, 120, lambda row: "bad" if row % 24 == 0 else "good")
    situation = open_situation(Question(str(file), plugins=("classify",)))
    assert {"class_weight", "focal", "balanced"} <= field_of(situation).extras.keys()


def test_the_users_own_plugins_are_not_up_for_a_race(tmp_path: Path) -> None:
    situation = situation_of(tmp_path, plugins=("lora", "classify"))
    assert [entry.plugins for entry in entries_of(situation, field_of(situation))] == [("lora", "classify")]


def test_objectives_that_read_the_same_rows_take_part_by_declaration(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    lines = []
    for row in range(12):
        lines.append(json.dumps({"prompt": f"Question {row}?", "chosen": f"Yes, {row}.", "rejected": "No."}))
    file.write_text("\n".join(lines))
    situation = open_situation(Question(str(file), plugins=("files", "dpo"), out=tmp_path / "advice"))
    assert not field_of(situation).objectives  # the user named one
    question = dataclasses.replace(situation.question, plugins=("files",))
    field = field_of(dataclasses.replace(situation, question=question))
    assert field.objectives.keys() == {"orpo", "simpo"}
    entries = {entry.name: entry for entry in entries_of(situation, field)}
    assert entries["simpo, lora"].plugins == ("lora", "files", "simpo") and "dpo, full" in entries


def test_several_models_are_raced_by_their_size(tmp_path: Path) -> None:
    for name, size in (("small", 1000), ("large", 3000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(bytes(size))
    situation = situation_of(tmp_path, models=(str(tmp_path / "small"), str(tmp_path / "large")))
    costs = {entry.name: entry.cost for entry in entries_of(situation, field_of(situation))}
    assert costs["full, small"] == 1 and costs["full, large"] == 3


def test_each_entry_has_a_name_of_its_own(plant: Plant, tmp_path: Path) -> None:
    same_again = 'Candidate({"share": 0.2, "learning_rate": 1e-3})'
    code = OUTSIDER.replace('Candidate({"share": 0.9}, needs="uneven")', same_again)
    plant("ftp-planted-tickle", {"tickle": "ftp_planted_tickle:Tickle"}, {"ftp_planted_tickle": code})
    models = []
    for parent in ("one", "two"):
        folder = tmp_path / parent / "encoder"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        models.append(str(folder))
    situation = situation_of(tmp_path, models=(*models, models[0]))
    entries = entries_of(situation, field_of(situation))
    names = [entry.name for entry in entries]
    assert {"full, one/encoder", "full, two/encoder"} <= set(names) and len(names) == len(set(names))
    assert {entry.model for entry in entries} == set(models)


# --- what is kept ---


def test_an_outcome_of_another_version_of_core_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    situation = situation_of(tmp_path)
    job = Job("lora", ("lora", "classify"), (), {}, situation.data, np.arange(3), 0, updates=1, batch_size=8)
    keys = {kept.key_of(job, situation.prepared), kept.key_of(job, situation.prepared)}
    monkeypatch.setattr("ftp.advise.kept.VERSION", "99.0")
    keys.add(kept.key_of(job, situation.prepared))
    assert len(keys) == 2


def test_what_clears_a_folder_knows_all_that_an_advice_writes(tmp_path: Path) -> None:
    out = tmp_path / "advice"
    with write.claimed(out):
        pass
    kept.save(an_outcome("lora", [True]), out / kept.PILOTS / "x.json")
    pytest.importorskip("optuna")
    OptunaStudy(out / "study.db", "rows", ACCURACY, 0).report("lora", 0, 0.5)
    (out / "notes.txt").write_text("of the user")
    with write.claimed(out):  # asked again
        pass
    marker.clear(out)
    assert sorted(path.name for path in out.iterdir()) == [marker.NAME, "notes.txt"]


def test_two_at_a_time_in_one_folder_are_one_too_many(tmp_path: Path) -> None:
    out = tmp_path / "advice"
    with write.claimed(out):
        # a marker that is being written does not make its folder somebody else's
        (out / marker.NAME).rename(out / f".{marker.NAME}.1.part")
        for _ in range(2):
            with pytest.raises(UserError, match="another ftp advise is working in this folder"), write.claimed(out):
                pass
            marker.create(out, write.KIND)
    with write.claimed(out):
        pass


def test_an_outcome_comes_back_from_its_file(tmp_path: Path) -> None:
    outcome = an_outcome("lora", [True, False], [0.5, float("nan")], scores={"mcc": float("nan")})
    kept.save(outcome, tmp_path / "new" / "x.json")
    back = kept.load(tmp_path / "new" / "x.json")
    assert back is not None and back.answers == list(outcome.answers) and back.folds == (0,) and back.seconds == 3.0
    assert np.array_equal(back.losses, outcome.losses, equal_nan=True) and np.isnan(back.scores["mcc"])
    (tmp_path / "half.json").write_text('{"entry": "lo')
    assert kept.load(tmp_path / "half.json") is None and kept.load(tmp_path / "none.json") is None


def test_without_optuna_the_better_third_is_promising() -> None:
    assert Standing().promising(0, list("abcdefg")) == ["a", "b"]
    assert Standing().promising(0, ["a"]) == ["a"]


def test_a_study_halves_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    values = {"a": 0.9, "b": 0.8, "c": 0.5, "d": 0.4, "e": 0.3, "f": 0.2}
    for _ in range(2):  # the second opens what the first left behind
        study = OptunaStudy(tmp_path / "study.db", "rows", ACCURACY, 0)
        for entry in "fedacb":  # in the order in which they are measured
            study.report(entry, 0, values[entry])
        # each is held against those before it: of f alone, e and f, d, e and f, ... the best third
        assert study.promising(0, list(values)) == ["a", "b", "d", "e", "f"]
    study.close("a", 0.9, "")
    study.close("c", None, "accuracy 0.4 behind a")
    with sqlite3.connect(tmp_path / "study.db") as database:
        states = dict(database.execute("select state, count(*) from trials group by state"))
    assert states == {"COMPLETE": 1, "PRUNED": 1, "RUNNING": 4}


# --- pilots in processes of their own ---


@pytest.mark.slow
def test_a_job_that_cannot_be_done_is_told_and_the_next_one_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = situation_of(tmp_path).data
    job = Job("lora", ("lora", "classify"), (), {"model": "nowhere"}, data, np.arange(3), 0, updates=1, batch_size=8)
    with Worker(tmp_path / "pilots") as worker:
        outcome = worker.do(dataclasses.replace(job, options={"nonsense": 4}), 3600)
        assert "nonsense: no such option; " in outcome.error  # with what is allowed
        with monkeypatch.context() as patched:  # its files are lost
            patched.setattr("ftp.advise.worker.write_job", lambda job, folder: folder.mkdir(parents=True))
            outcome = worker.do(job, 3600)
        assert "ended with status 1" in outcome.error and "FileNotFoundError" in outcome.error
        helper = worker.helper
        outcome = worker.do(job, 0.0)
        assert worker.helper is helper and outcome.error == "it took too long and was ended"
        assert outcome.seconds < 60
    assert worker.helper is None and not list((tmp_path / "pilots").iterdir())


def test_a_job_comes_back_from_its_files(tmp_path: Path) -> None:
    data = situation_of(tmp_path).data
    job = Job("lora", ("lora", "classify"), (), {"lora.r": 4}, data, np.arange(3), 2, updates=9, batch_size=8)
    write_job(job, tmp_path / "job")
    back = read_job(tmp_path / "job")
    assert back.rows.tolist() == [0, 1, 2] and back.data.labels == data.labels
    assert {name: rows.to_list() for name, rows in back.data.splits.items()} == {
        name: rows.to_list() for name, rows in data.splits.items()}
    assert dataclasses.replace(back, data=data, rows=job.rows) == job
