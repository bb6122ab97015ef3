"""Code that a recipe or a run's folder names runs only when the user says so, and is remembered by its hash."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import py_compile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftp import UserError
from ftp.cli.main import call
from ftp.plugins import trust
from ftp.plugins.plan import prepare

PLUGIN = '''
from pathlib import Path
from ftp import hookimpl, option, plugin

with Path({ran!r}).open("a") as file:
    file.write("ran ")

@plugin(gives=("labelled",))
class Notes:
    """Gives notes."""
    size: int = option(3, "lines of a note", low=1)

    @hookimpl
    def load_data(self, run):
        return {{}}
'''


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FTP_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A plugin beside a recipe `r.toml` that names it; when it is imported it leaves a word in `ran`."""
    file = tmp_path / "mine" / "notes.py"
    file.parent.mkdir()
    file.write_text(PLUGIN.format(ran=str(tmp_path / "ran")))
    (file.parent / "r.toml").write_text('plugins = ["full"]\nplugins_from = ["notes.py:Notes"]\nmax_steps = 1\n')
    return file


@pytest.fixture
def ran(tmp_path: Path) -> Callable[[], bool]:
    return lambda: (tmp_path / "ran").exists()


def folder_of_run(code: Path, **facts: Any) -> Path:
    """The folder of a run that names the code, as somebody might send it."""
    folder = code.parent / "sent"
    (folder / "model").mkdir(parents=True)
    (folder / "run.toml").write_text(f'plugins = ["full"]\nplugins_from = ["{code}:Notes"]\n')
    (folder / "run.json").write_text(json.dumps({"status": "finished", "verified": 0.0, **facts}))
    (folder / "log.jsonl").write_text('{"event": "step", "step": 1}\n')
    return folder


@pytest.mark.parametrize("command", ["run", "plan", "config"])
def test_a_recipe_that_names_code_is_told_and_not_run(code, ran, capsys, command):
    assert call([command, str(code.parent / "r.toml")]) == 2
    printed = capsys.readouterr().err
    assert str(code) in printed and hashlib.sha256(code.read_bytes()).hexdigest() in printed
    assert f"try: ftp {command} {code.parent / 'r.toml'} --trust-recipe" in printed  # the command that was given, and no other
    assert not ran()


def test_help_shows_the_rest_and_runs_nothing(code, ran, capsys):
    assert call(["run", str(code.parent / "r.toml"), "--help"]) == 0
    printed = capsys.readouterr()
    assert "--learning-rate" in printed.out and "--notes.size" not in printed.out and str(code) in printed.err and not ran()
    assert call(["run", str(code.parent / "r.toml"), "--help", "--trust-recipe"]) == 0
    assert "--notes.size" in capsys.readouterr().out and ran()


@pytest.mark.parametrize("words", [
    ["run", "--resume"], ["predict"], ["evaluate", "--data", "rows.csv"], ["chat"], ["runs"], ["report"], ["gate"], ["merge"],
    ["export", "--to", "safetensors"], ["plan"], ["config"],
])
def test_no_command_runs_the_code_of_a_run_folder(code, ran, capsys, words):
    folder = folder_of_run(code, **({"status": "stopped"} if "--resume" in words else {}))
    where = folder / "run.toml" if words[0] in ("plan", "config") else folder.parent if words[0] == "runs" else folder
    call([words[0], *words[1:], str(where)] if "--resume" in words else [words[0], str(where), *words[1:]])
    printed = capsys.readouterr()
    assert not ran()
    if words[0] in ("run", "predict", "evaluate", "chat", "plan", "config"):
        assert "code that you have not run before" in printed.err and "--trust-recipe" in printed.err


def test_the_users_word_is_remembered_until_the_file_changes(code, ran, capsys, state):
    recipe = str(code.parent / "r.toml")
    assert call(["config", recipe, "--trust-recipe"]) == 0 and ran()
    assert call(["config", recipe]) == 0, capsys.readouterr().err
    code.write_text(code.read_text() + "\n")
    assert call(["config", recipe]) == 2
    assert "code that you have not run before" in capsys.readouterr().err
    assert state.stat().st_mode & 0o077 == 0


def test_the_same_code_elsewhere_is_asked_for(code):
    code_of_run = trust.code_of({"plugins_from": [str(code)]}, prepare_options())
    trust.remember(code_of_run)
    assert trust.is_trusted(code_of_run)
    copy = code.with_name("copy.py")
    copy.write_bytes(code.read_bytes())
    assert not trust.is_trusted(trust.code_of({"plugins_from": [str(copy)]}, prepare_options()))


def test_a_new_file_in_a_folder_of_plugins_is_asked_for(code):
    named = {"plugins_from": [str(code.parent)]}
    trust.remember(trust.code_of(named, prepare_options()))
    assert trust.is_trusted(trust.code_of(named, prepare_options()))
    (code.parent / "more.py").write_text("")
    assert not trust.is_trusted(trust.code_of(named, prepare_options()))


def test_what_is_typed_is_the_users_own_word(code, ran):
    assert call(["config", "--plugins", "full", "--plugins-from", f"{code}:Notes"]) == 0 and ran()


def test_a_flag_takes_the_place_of_what_a_recipe_names(code, ran, tmp_path, capsys):
    other = tmp_path / "other.py"
    other.write_text(code.read_text().replace("ran ", "other "))
    assert call(["config", str(code.parent / "r.toml"), "--plugins-from", f"{other}:Notes"]) == 0, capsys.readouterr().err
    assert (tmp_path / "ran").read_text() == "other "


def test_an_option_of_a_plugin_that_names_code(tmp_path, capsys):
    (tmp_path / "judge.py").write_text("def short(completions): return [0.0] * len(completions)\n")
    recipe = tmp_path / "r.toml"
    recipe.write_text('plugins = ["rlhf", "full", "chat"]\n[rlhf]\nreward = ["judge.py:short"]\n')
    assert call(["plan", str(recipe)]) == 2
    printed = capsys.readouterr().err
    assert f"rlhf.reward names {tmp_path / 'judge.py'} (sha256 " in printed
    assert call(["config", str(recipe), "--trust-recipe"]) == 0
    assert f"{tmp_path / 'judge.py'}:short" in capsys.readouterr().out


def test_a_recipe_that_trusts_the_code_of_a_model(tmp_path, capsys):
    model = tmp_path / "model"
    model.mkdir()
    (model / "modeling.py").write_text("")
    recipe = tmp_path / "r.toml"
    recipe.write_text('plugins = ["full", "sentiment"]\nmodel = "model"\ntrust_remote_code = true\n')
    assert call(["config", str(recipe)]) == 2
    assert "trust_remote_code names the code that comes with the model model" in capsys.readouterr().err
    assert call(["config", str(recipe), "--trust-remote-code"]) == 0  # typed
    assert call(["config", str(recipe)]) == 2  # it was not run yet, and no recipe was trusted
    assert call(["config", str(recipe), "--trust-recipe"]) == 0
    assert call(["config", str(recipe)]) == 0
    (model / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "someone/else--modeling.Net"}}))
    assert call(["config", str(recipe)]) == 2  # code of another place, which may be another tomorrow


def test_code_on_the_hub_is_not_remembered(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('plugins = ["full", "sentiment"]\nmodel = "someone/model"\ntrust_remote_code = true\n')
    assert call(["config", str(recipe), "--trust-recipe"]) == 0
    assert call(["config", str(recipe)]) == 2


def test_stages_are_asked_for_together(code, ran, capsys):
    recipe = code.parent / "stages.toml"
    stage = '[[stages]]\nname = "a"\nplugins = ["full"]\nplugins_from = ["notes.py:Notes"]\n'
    recipe.write_text(f'out = "{code.parent / "runs"}"\n{stage}')
    assert call(["run", str(recipe)]) == 2
    assert str(code) in capsys.readouterr().err and not ran()


def test_a_folder_that_cannot_be_written_is_asked_for_again(code, state, capsys):
    state.write_text("a file where the folder would be")
    recipe = str(code.parent / "r.toml")
    assert call(["config", recipe, "--trust-recipe"]) == 0
    assert call(["config", recipe]) == 2


def prepare_options() -> list[Any]:
    from ftp.plugins.fit import core_options

    return core_options()


# --- paths of a recipe ---


def test_paths_of_a_recipe_are_taken_from_its_folder(tmp_path, monkeypatch, capsys):
    folder, work = tmp_path / "recipes", tmp_path / "work"
    (folder / "rows").mkdir(parents=True)
    work.mkdir()
    for name in ("template.jinja", "general.txt"):
        (folder / name).write_text("x")
    recipe = folder / "r.toml"
    recipe.write_text('plugins = ["full", "sft", "chat", "forgetting"]\ndata = "rows"\nout = "rows"\nmodel = "absent"\n'
                      '[sft]\nchat_template = "template.jinja"\n[forgetting]\ntext = "general.txt"\n')
    monkeypatch.chdir(work)
    from ftp.cli import flags

    _, prepared = flags.assemble([str(recipe)])
    assert prepared.values["data"] == str(folder / "rows") and prepared.values["model"] == "absent"
    assert prepared.values["sft.chat_template"] == folder / "template.jinja"
    assert prepared.values["forgetting.text"] == str(folder / "general.txt")
    assert prepared.values["out"] == Path("rows")  # what a run writes is in the working folder
    assert not prepared.notes
    (work / "rows").mkdir()
    _, prepared = flags.assemble([str(recipe)])
    assert "r.toml: data means" in prepared.notes[0] and str(work / "rows") in prepared.notes[0]
    _, prepared = flags.assemble([str(recipe), "--data", "rows"])  # a flag means the working folder
    assert prepared.values["data"] == "rows"


def test_paths_of_a_stage_are_taken_from_the_folder_of_its_recipe(tmp_path, monkeypatch):
    from ftp.runs import stages

    (tmp_path / "recipes" / "rows").mkdir(parents=True)
    recipe = tmp_path / "recipes" / "r.toml"
    recipe.write_text('[[stages]]\nname = "a"\nplugins = ["full", "sentiment"]\ndata = "rows"\n')
    monkeypatch.chdir(tmp_path)
    assert stages.read(recipe, {})[1][0].prepared.settings.data == str(tmp_path / "recipes" / "rows")


def test_a_text_too_long_for_a_path_is_left(tmp_path):
    with pytest.raises(UserError):
        prepare(["full"], given=[(str(tmp_path / "r.toml"), {"data": "x" * 5000})])


# --- what was hashed is what runs ---


def test_bytecode_beside_a_trusted_file_never_runs(code, ran, tmp_path, capsys):
    evil = tmp_path / "evil.py"
    evil.write_text(code.read_text().replace("ran ", "evil "))
    cache = importlib.util.cache_from_source(str(code))
    # this kind of bytecode is never held against its source by Python
    py_compile.compile(str(evil), cfile=cache, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert call(["config", str(code.parent / "r.toml"), "--trust-recipe"]) == 0, capsys.readouterr().err
    assert (tmp_path / "ran").read_text() == "ran "


@pytest.fixture
def after_check(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Does something between the check of what a recipe names and its run."""
    check = trust.check

    def do(change: Callable[[], Any]) -> None:
        def check_and_change(*arguments: Any) -> list[str]:
            notes = check(*arguments)
            change()
            return notes

        monkeypatch.setattr(trust, "check", check_and_change)

    return do


def test_a_file_that_is_changed_after_it_was_hashed_never_runs(code, ran, after_check, capsys):
    after_check(lambda: code.write_text(code.read_text() + "\n"))
    assert call(["config", str(code.parent / "r.toml"), "--trust-recipe"]) == 2
    assert f"{code}: the file was changed after its sha256 was taken" in capsys.readouterr().err and not ran()


def test_a_reward_that_is_changed_after_it_was_hashed_never_runs(tmp_path):
    from ftp_rlhf.reward_function import function_judge

    judge = tmp_path / "judge.py"
    judge.write_text("def short(completions): return [0.0] * len(completions)\n")
    trust.code_of({"plugins_from": [str(judge)]}, prepare_options())
    judge.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + judge.read_text())
    with pytest.raises(UserError, match="changed after its sha256 was taken"):
        function_judge(f"{judge}:short")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_comes_into_a_folder_of_plugins_after_it_was_hashed_never_runs(code, ran, after_check, capsys):
    recipe = code.parent / "folder.toml"
    recipe.write_text('plugins = ["full"]\nplugins_from = ["."]\n')
    after_check(lambda: (code.parent / "more.py").write_text(""))
    assert call(["config", str(recipe), "--trust-recipe"]) == 2
    assert "files came or went after their sha256 was taken" in capsys.readouterr().err and not ran()


def test_what_ran_is_remembered_and_not_what_the_file_became(code):
    from ftp.plugins.find import from_path

    from_path(str(code))
    code.write_text(code.read_text() + "\n")
    code_of_run = trust.code_of({"plugins_from": [str(code)]}, prepare_options())
    trust.remember(code_of_run)
    assert not trust.is_trusted(code_of_run)


def test_a_file_of_another_kind_is_no_plugin(code, capsys):
    other = code.rename(code.with_suffix(".txt"))
    assert call(["config", "--plugins", "full", "--plugins-from", str(other)]) == 2
    assert "is not a Python file" in capsys.readouterr().err


# --- the code of models ---


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with code of its own."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "modeling.py").write_text("")
    return folder


REMOTE = 'plugins = ["full", "sentiment"]\ntrust_remote_code = true\n'


def test_the_code_of_a_typed_model_is_not_allowed_by_a_recipe(model, tmp_path, capsys):
    recipe = tmp_path / "r.toml"
    recipe.write_text(REMOTE)
    assert call(["config", str(recipe), "--model", str(model)]) == 2
    assert f"the code that comes with the model {model}" in capsys.readouterr().err
    assert call(["config", str(recipe), "--model", str(model), "--trust-remote-code"]) == 0


@pytest.mark.parametrize("teacher", ["own", "someone/model"])
def test_the_code_of_a_teacher_is_asked_for_too(model, tmp_path, teacher, capsys):
    recipe = tmp_path / "r.toml"
    recipe.write_text(REMOTE.replace('"full"', '"distill", "full"') + f'[distill]\nteacher = "{teacher}"\n')
    assert call(["config", str(recipe)]) == 2
    assert f"the code that comes with the model {teacher}" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["deeper/modeling.py", "custom_generate/generate.py"])
def test_code_in_a_folder_of_a_model_is_asked_for_when_it_changes(model, file):
    named = {"model": str(model), "trust_remote_code": True}
    (model / file).parent.mkdir()
    (model / file).write_text("")
    trust.remember(trust.code_of(named, prepare_options()))
    assert trust.is_trusted(trust.code_of(named, prepare_options()))
    (model / file).write_text("# other")
    assert not trust.is_trusted(trust.code_of(named, prepare_options()))


def test_a_tokenizer_with_code_of_another_place_is_asked_for_each_time(model):
    (model / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["other/place--t.T", None]}}))
    code_of_run = trust.code_of({"model": str(model), "trust_remote_code": True}, prepare_options())
    trust.remember(code_of_run)
    assert not trust.is_trusted(code_of_run)


def test_a_model_with_a_folder_that_is_a_link_is_asked_for_each_time(model, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (model / "deeper").symlink_to(tmp_path / "elsewhere")
    code_of_run = trust.code_of({"model": str(model), "trust_remote_code": True}, prepare_options())
    trust.remember(code_of_run)
    assert not trust.is_trusted(code_of_run)
