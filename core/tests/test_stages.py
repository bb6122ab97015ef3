"""A recipe of several stages: what it refuses, what a stage knows of earlier ones, and that a resume does what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ftp.runs.run
from ftp import UserError
from ftp.cli.main import call
from ftp.folder.files import Folder
from ftp.runs import following, recipes, stages
from ftp.train.amount import TrainingRows

PLUGIN = '''
from ftp import hookimpl, option, plugin

@plugin(gives=("labelled",))
class Notes:
    """Gives notes."""
    size: int = option(3, "lines", low=1)
    after: str = option("", "what it was made from")

    @hookimpl
    def load_data(self, run):
        return {}
'''
RECIPE = '''
out = "{out}"
seed = 5
plugins_from = ["{plugin}"]
[[stages]]
name = "first"
plugins = ["notes"]
[[stages]]
name = "second"
plugins = ["notes"]
model = "{{first}}"
seed = 7
notes.size = 2
notes.after = "{{first}}/model and more"
[[stages]]
name = "third"
plugins = ["notes"]
model = "{{second}}"
'''


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    plugin = tmp_path / "notes.py"
    plugin.write_text(PLUGIN)
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(out=tmp_path / "runs", plugin=plugin))
    return path


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Runs are only written down: the prepared ones, each with whether it was resumed. The stage named in `stop` breaks off."""
    runs: list[Any] = []

    def execute(prepared: Any, resume: Path | None = None) -> Any:
        out = prepared.settings.out
        out.mkdir(parents=True, exist_ok=True)
        folder = Folder(out)
        if resume is None:  # as a run does once it has its rows
            prepared = following.follow(prepared, TrainingRows(50))
        folder.write_recipe(prepared.anywhere().recipe())
        if resume is None:
            recipes.begin(folder, prepared.anywhere().recipe())
        runs.append((out.name, resume is not None, prepared))
        if out.name in stop:
            folder.write_facts(status="stopped")
            (out / "log.jsonl").write_text('{"event": "step"}\n' if "at once" not in stop else "")
            raise UserError("broken off")
        folder.write_facts(status="finished")
        return out

    stop: list[str] = []
    monkeypatch.setattr(ftp.runs.run, "execute", execute)
    monkeypatch.setattr("ftp.report.outcome.show_result", lambda result: None)
    runs.append(stop)
    return runs


def test_stages_run_one_after_the_other(recipe: Path, done: list[Any], tmp_path: Path) -> None:
    assert call(["run", "--trust-recipe", str(recipe), "--max-steps", "9"]) == 0
    assert [(name, resumed) for name, resumed, _ in done[1:]] == [("first", False), ("second", False), ("third", False)]
    first, second, third = (prepared for _, _, prepared in done[1:])
    out = tmp_path / "runs"
    assert (first.settings.model, second.settings.model, third.settings.model) == (None, str(out / "first"), str(out / "second"))
    assert (first.settings.seed, second.settings.seed, third.settings.seed) == (5, 7, 5)
    assert second.values["notes.after"] == f"{out / 'first'}/model and more"
    assert second.values["notes.size"] == 2
    assert {prepared.settings.max_steps for prepared in (first, second, third)} == {9}
    assert first.settings.out == out / "first"


def test_a_flag_is_for_all_stages_but_not_for_what_one_takes_from_another(recipe: Path, done: list[Any], tmp_path: Path) -> None:
    assert call(["run", "--trust-recipe", str(recipe), "--model", "somewhere", "--seed", "3"]) == 0
    assert [prepared.settings.model for _, _, prepared in done[1:]] == [
        "somewhere", str(tmp_path / "runs" / "first"), str(tmp_path / "runs" / "second")]
    assert {prepared.settings.seed for _, _, prepared in done[1:]} == {3}


@pytest.mark.slow
def test_a_resume_skips_what_is_finished_and_goes_on(recipe: Path, done: list[Any], tmp_path: Path, capsys: Any) -> None:
    done[0].append("second")
    assert call(["run", "--trust-recipe", str(recipe), "--max-steps", "9"]) == 2
    assert f"ftp run --resume {tmp_path / 'runs'}" in capsys.readouterr().err
    done[0].clear()
    del done[1:]
    assert call(["run", "--resume", str(tmp_path / "runs")]) == 0
    assert [(name, resumed) for name, resumed, _ in done[1:]] == [("second", True), ("third", False)]
    assert done[-1][2].settings.max_steps == 9  # what came beside the recipe counts again
    del done[1:]
    assert call(["run", "--resume", str(tmp_path / "runs")]) == 0
    assert not done[1:]
    assert "stage 3 of 3: third is finished" in capsys.readouterr().out


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.slow
def test_an_edit_of_stages_is_taken_where_it_is_harmless_and_else_refused_by_name(
    recipe: Path, done: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done[0].append("second")
    assert call(["run", "--trust-recipe", str(recipe)]) == 2
    done[0].clear()
    del done[1:]
    kept, resume = tmp_path / "runs" / "stages.toml", ["run", "--resume", str(tmp_path / "runs")]

    edit(kept, 'name = "first"', 'name = "first"\nlearning_rate = 0.5')  # which is finished
    edit(kept, "seed = 7", "seed = 8\nsave_steps = 3")  # of the second, which has begun
    edit(kept, 'model = "{second}"', 'model = "{second}"\nbatch_size = 2')  # of the third, which has not
    capsys.readouterr()
    assert call(resume) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "stage first has other options than when it was finished: learning_rate: 5e-05 -> 0.5" in printed
    assert "stage second has other options than when it began: seed: 7 -> 8 " in printed
    assert "third" not in printed and not done[1:]

    edit(kept, "\nlearning_rate = 0.5", "")
    edit(kept, "seed = 8", "seed = 7")
    assert call(resume) == 0, capsys.readouterr().err
    second, third = (prepared for _, _, prepared in done[1:])
    assert second.settings.save_steps == 3 and second.settings.seed == 7
    assert third.settings.batch_size == 2


@pytest.mark.slow
def test_harmless_options_are_given_to_all_stages_that_are_left(
    recipe: Path, done: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done[0].append("second")
    assert call(["run", "--trust-recipe", str(recipe)]) == 2
    done[0].clear()
    del done[1:]
    resume = ["run", "--resume", str(tmp_path / "runs")]
    assert call([*resume, "--seed", "3"]) == 2
    assert "--seed cannot be given with it" in capsys.readouterr().err
    assert call([*resume, "--no-verify", "--resume-with", "save_steps=3"]) == 0, capsys.readouterr().err
    assert [(prepared.settings.verify, prepared.settings.save_steps) for _, _, prepared in done[1:]] == [(False, 3)] * 2
    assert "verify = false" in (tmp_path / "runs" / "flags.toml").read_text()
    assert call(resume) == 0


def test_paths_are_beside_the_recipe_at_a_resume_too(
    recipe: Path, done: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.write_text(recipe.read_text().replace(str(tmp_path / "notes.py"), "notes.py"))
    done[0].append("first")
    assert call(["run", "--trust-recipe", str(recipe)]) == 2
    done[0].clear()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert call(["run", "--trust-recipe", "--resume", str(tmp_path / "runs")]) == 0
    assert done[-1][2].values["plugins_from"] == (str(tmp_path / "notes.py"),)


def test_a_second_beginning_in_the_same_folder_is_refused(recipe: Path, done: list[Any], capsys: Any) -> None:
    assert call(["run", "--trust-recipe", str(recipe)]) == 0
    assert call(["run", "--trust-recipe", str(recipe)]) == 2
    assert "holds these stages already" in capsys.readouterr().err
    assert len(done) == 4


def test_stages_of_which_none_came_to_an_update_are_begun_anew(recipe: Path, done: list[Any], capsys: Any) -> None:
    """A mistake that the first stage finds in its rows, for example: the command is mended and typed again."""
    done[0].extend(["first", "at once"])
    assert call(["run", "--trust-recipe", str(recipe)]) == 2
    done[0].clear()
    del done[1:]
    assert call(["run", "--trust-recipe", str(recipe), "--max-steps", "9"]) == 0, capsys.readouterr().err
    assert [(name, resumed) for name, resumed, _ in done[1:]] == [("first", False), ("second", False), ("third", False)]
    assert {prepared.settings.max_steps for _, _, prepared in done[1:]} == {9}


def test_all_mistakes_of_all_stages_at_once(recipe: Path, done: list[Any], capsys: Any) -> None:
    text = recipe.read_text().replace('"{first}"\nseed', '"{frist}"\nseed').replace("notes.size = 2", "notes.size = 0")
    recipe.write_text(text.replace('name = "third"', 'name = "second"') + 'notes.sizes = 3\nout = "x"\n')
    assert call(["run", "--trust-recipe", str(recipe)]) == 2
    printed = capsys.readouterr().err
    assert "{frist} is no earlier stage" in printed
    assert "did you mean 'first'?" in printed
    assert "stage second: " in printed
    assert "out of range" in printed
    assert "stage 3 has the name 'second'" in printed
    assert not done[1:]


@pytest.mark.parametrize(("words", "printed"), [
    (["--plugins", "notes"], "each stage of a recipe names its own"),
    (["--notes.size", "2"], "--notes.size: an option of a plugin belongs in a stage"),
])
def test_what_does_not_go_beside_stages(recipe: Path, done: list[Any], capsys: Any, words: list[str], printed: str) -> None:
    assert call(["run", "--trust-recipe", str(recipe), *words]) == 2
    assert printed in capsys.readouterr().err


def test_stages_are_a_list_of_tables(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('stages = "sft"\n')
    with pytest.raises(UserError, match="each begins with"):
        stages.read(path, {})
    path.write_text('[notes]\nsize = 1\n[[stages]]\nname = "a"\nplugins = ["nothing-of-that-name"]\n')
    with pytest.raises(UserError) as error:
        stages.read(path, {})
    assert "[notes] stands above the stages" in str(error.value)
    assert "stage a: " in str(error.value)


def test_the_recipe_is_kept_with_what_came_beside_it(recipe: Path, done: list[Any], tmp_path: Path) -> None:
    call(["run", "--trust-recipe", str(recipe), "--seed", "9", "--out", str(tmp_path / "other")])
    assert [prepared.settings.seed for _, _, prepared in done[1:]] == [9, 9, 9]
    out, read_stages = stages.read(tmp_path / "other" / stages.FILE, {}, resume=True)
    assert out == tmp_path / "other"
    assert [stage.prepared.settings.seed for stage in read_stages] == [9, 9, 9]
    assert all(stage.done for stage in read_stages)
    assert json.loads((out / "first" / "run.json").read_text())["status"] == "finished"


def test_a_folder_of_somebody_else_is_never_written_over(
    recipe: Path, done: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    out.mkdir()
    (out / "flags.toml").write_text("theirs")
    assert call(["run", "--trust-recipe", str(recipe)]) == 2
    assert "what it holds are not the stages of a recipe that ftp began" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["flags.toml"] and (out / "flags.toml").read_text() == "theirs"
    (out / "flags.toml").unlink()
    assert call(["run", "--trust-recipe", str(recipe)]) == 0 and (out / ".ftp.json").is_file()


def test_a_file_that_was_put_among_stages_is_never_written_over(
    recipe: Path, done: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done[0] += ["first", "at once"]
    assert call(["run", "--trust-recipe", str(recipe)]) == 2
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace('name = "third"', 'name = "notes"'))
    (tmp_path / "runs" / "notes.toml").write_text("theirs")
    assert call(["run", str(other)]) == 2
    assert "stages would write over notes.toml, which ftp did not write" in capsys.readouterr().err
    assert (tmp_path / "runs" / "notes.toml").read_text() == "theirs"
