"""The command: what it says, what it refuses and with which status, and that it answers without anything heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ftp.runs.predictor
import ftp.runs.run
from ftp import PluginError, RiskStop, UserError
from ftp.cli import flags, main
from ftp.errors import VerifyError
from ftp.folder.files import Folder
from ftp.plugins.fit import core_options
from ftp.plugins.plan import Prepared, prepare
from ftp.types import Result

Plant = Callable[..., Path]
Out = pytest.CaptureFixture[str]

SOURCE = """
    from typing import Literal
    from ftp import hookimpl, option, plugin

    @plugin(gives=("labelled",), suggests={"epochs": 9})
    class Poems:
        '''Gives poems.

        Many of them.
        '''
        size: int = option(3, "lines of a poem", low=1, high=5)
        shift: float = option(0.0, "how far")
        rhyme: bool = option(False, "whether they rhyme")
        names: tuple[str, ...] = option((), "names of poets")
        mood: Literal["sad", "glad"] = option("sad", "how they sound")

        @hookimpl
        def load_data(self, run):
            return {}
"""


@pytest.fixture(autouse=True)
def poems(plant: Plant) -> None:
    plant("ftp-planted-poems", {"poems": "ftp_planted_poems:Poems"}, {"ftp_planted_poems": SOURCE}, version="2.0")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Prepared, Path | None]]:
    """Runs that were asked for, instead of doing them."""
    asked: list[tuple[Prepared, Path | None]] = []

    def execute(prepared: Prepared, resume: Path | None = None) -> Result:
        asked.append((prepared, resume))
        return Result(Path("runs/x"), (), (), (), step=3, seconds=1.0, trained=1, total=2, reason="")

    monkeypatch.setattr(ftp.runs.run, "execute", execute)
    return asked


# --- flags ---


@pytest.mark.slow
@pytest.mark.parametrize(("words", "key", "value"), [
    (["--seed", "5"], "seed", 5), (["--seed=5"], "seed", 5), (["--learning-rate", "1e-3"], "learning_rate", 1e-3),
    (["--learning_rate", "1e-3"], "learning_rate", 1e-3), (["--poems.size", "4"], "poems.size", 4),
    (["--poems.shift", "-2.5"], "poems.shift", -2.5), (["--poems.shift=-2.5"], "poems.shift", -2.5),
    (["--poems.shift", "-1e-3"], "poems.shift", -1e-3), (["--poems.rhyme"], "poems.rhyme", True),
    (["--poems.rhyme", "false"], "poems.rhyme", False), (["--poems.rhyme=true"], "poems.rhyme", True),
    (["--no-poems.rhyme"], "poems.rhyme", False), (["--no-baselines"], "baselines", False),
    (["--data", "-odd-name"], "data", "-odd-name"), (["--data=--odder"], "data", "--odder"),
    (["--poems.names", "a,b", "--poems.names", "c"], "poems.names", ("a", "b", "c")),
    (["--poems.mood", "glad"], "poems.mood", "glad"),
])
def test_flags_of_core_and_of_plugins(done: list[tuple[Prepared, Path | None]], words: list[str], key: str, value: Any) -> None:
    assert main.call(["run", "--plugins", "poems", *words]) == 0
    prepared, resume = done[0]
    assert prepared.values[key] == value and prepared.origin[key] == "flags" and resume is None
    assert prepared.settings.epochs == 9 and prepared.origin["epochs"] == "suggested by poems"


def test_a_flag_without_value_before_a_recipe_does_not_swallow_it(
    tmp_path: Path, done: list[tuple[Prepared, Path | None]]
) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('plugins = ["poems"]\nseed = 4\n[poems]\nsize = 2\n')
    file = str(recipe)
    for words in (["--poems.rhyme", file], [file, "--poems.rhyme"], ["--no-verify", file, "--poems.rhyme"]):
        assert main.call(["run", *words, "--poems.size", "5"]) == 0
        prepared = done.pop()[0]
        assert prepared.values["poems.rhyme"] is True and prepared.values["poems.size"] == 5
        assert prepared.settings.seed == 4 and prepared.origin["seed"] == str(recipe)


def test_plugins_on_the_line_replace_those_of_the_recipe(tmp_path: Path, done: list[tuple[Prepared, Path | None]]) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('plugins = ["nothing"]\n')
    assert main.call(["run", str(recipe), "--plugins", "poems,-gap"]) == 0
    assert done[0][0].plugins == ("poems", "-gap")
    assert "gap" not in [plugin.name for plugin in done[0][0].picked]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "message"), [
    (["--sed", "1"], "--sed: no such option\n  did you mean '--seed'?"),
    (["--poems.siez", "1"], "--poems.siez: no such option\n  did you mean '--poems.size'?"),
    (["--seed"], "--seed: its value is missing"), (["--seed", "--no-verify"], "--seed: its value is missing"),
    (["--seed", "many"], "--seed many: not a whole number"), (["--seed", "-1"], "--seed -1: out of range"),
    (["--poems.size", "6"], "--poems.size 6: out of range\n  a whole number from 1 to 5"),
    (["--poems.mood", "gald"], "did you mean 'glad'?"), (["--poems.rhyme", "maybe"], "--poems.rhyme maybe: not yes or no"),
    (["--seed", "1", "--seed", "2"], "--seed: given twice"), (["stray"], "stray: not understood"), (["-x"], "-x: no such option"),
    (["--no-verify=3"], "takes no value"), (["absent.toml"], "recipe absent.toml: there is no such file"),
    (["--plugins-from", "absent.py"], "absent.py: no such file"), (["--plugins", "peoms"], "did you mean 'poems'?"),
])
def test_a_mistake_is_told_with_status_2(capsys: Out, done: list[Any], words: list[str], message: str) -> None:
    assert main.call(["run", "--plugins", "poems", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and not done


def test_all_mistakes_of_a_line_at_once(capsys: Out, done: list[Any]) -> None:
    words = "--plugins poems,nix --sed 1 --poems.size 7 --batch-size --lr-scheduler-type lin --seed x"
    assert main.call(["run", *words.split()]) == 2
    error = capsys.readouterr().err
    assert "6 things are wrong" in error and not done
    for message in ("nix: no such plugin", "--sed: no such option", "--poems.size 7", "--batch-size: its value", "'linear'",
                 "--seed x"):
        assert message in error


def test_a_run_without_plugins_says_what_to_do(capsys: Out) -> None:
    assert main.call(["run"]) == 2
    assert "no plugins are named" in capsys.readouterr().err


# --- resume, processes ---


def test_a_resume_takes_the_recipe_of_its_folder_and_nothing_else(tmp_path: Path, capsys: Out, done: list[Any]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    Folder(folder).write_recipe(prepare("poems,-gap", given=[("flags", {"seed": 8, "poems.size": 2})]).recipe())
    assert main.call(["run", "--resume", str(folder)]) == 0
    prepared, resume = done.pop()
    assert (prepared.settings.seed, prepared.values["poems.size"], prepared.plugins) == (8, 2, ("poems", "-gap"))
    assert resume == folder and prepared.settings.out == folder
    assert main.call(["run", "--resume", str(folder), "--seed", "9"]) == 2
    assert "--seed cannot be given with it" in capsys.readouterr().err
    assert main.call(["run", "--resume", str(tmp_path)]) == 2
    assert "not a run's folder" in capsys.readouterr().err
    assert main.call(["run", "--resume", str(tmp_path / "absent")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_more_processes_are_launched_once(monkeypatch: pytest.MonkeyPatch, done: list[Any]) -> None:
    import ftp.train.launch

    asked: list[Any] = []
    monkeypatch.setattr(ftp.train.launch, "launch", lambda words, count: asked.append((list(words), count)) or 7)
    words = ["run", "--plugins", "poems", "--processes", "2"]
    with pytest.raises(SystemExit) as ended:
        main.main(words)
    assert ended.value.code == 7 and asked == [(words, 2)] and not done
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main.call(words) == 0 and len(done) == 1


# --- errors and statuses ---


@pytest.mark.parametrize(("error", "status", "message"), [
    (UserError("mend it", "like this", "ftp try"), 2, "ftp: mend it\n  like this\n  try: ftp try\n"),
    (RiskStop("leaking rows"), 2, "ftp: stopped by a risk check: leaking rows\n"),
    (PluginError("plugin 'x' (ftp-x 1) failed"), 1, "ftp: plugin 'x' (ftp-x 1) failed\n  the traceback is shown with --debug"),
    (VerifyError("other logits"), 1, "ftp: other logits\n  the traceback is shown with --debug"),
    (KeyboardInterrupt(), 130, "ftp: stopped\n"),
])
def test_errors_become_words_and_statuses(
    monkeypatch: pytest.MonkeyPatch, capsys: Out, error: BaseException, status: int, message: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(ftp.runs.run, "execute", fail)
    monkeypatch.setenv("FTP_DEBUG", "0")
    assert main.call(["run", "--plugins", "poems"]) == status
    error_text = capsys.readouterr().err
    assert error_text.lstrip().startswith(message) and "Traceback" not in error_text
    if not isinstance(error, KeyboardInterrupt):
        assert main.call(["run", "--plugins", "poems", "--debug"]) == status
        assert "Traceback" in capsys.readouterr().err


def test_sigterm_is_like_ctrl_c() -> None:
    program = """
        import os, signal, sys
        import ftp.runs.run
        from ftp.cli import main
        ftp.runs.run.execute = lambda *a, **k: os.kill(os.getpid(), signal.SIGTERM)
        main.main(["run", "--plugins", "poems"])
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, env=environment())
    assert ended.returncode == 130 and "stopped by SIGTERM" in ended.stderr and "Traceback" not in ended.stderr


def test_an_unknown_command_gets_the_nearest(capsys: Out) -> None:
    assert main.call(["rnu"]) == 2
    assert "did you mean 'run'?" in capsys.readouterr().err


# --- help, config, plugins, plan ---


def test_help_is_grouped_and_has_the_options_of_the_plugins(capsys: Out) -> None:
    for word in ("--help", "-h"):
        assert main.call(["run", "--plugins", "poems", word]) == 0
        text = " ".join(capsys.readouterr().out.split())
        for words in ("optimisation:", "poems (domain): Gives poems.", "--poems.size WHOLE NUMBER lines of a poem (1 to 5) [3]",
                      "--[no-]poems.rhyme", "--poems.mood sad|glad", "default: follows from the data (at least 0) [9]"):
            assert words in text
    assert main.call(["run", "--help"]) == 0
    assert "--poems.size" not in capsys.readouterr().out


def test_every_option_of_core_is_in_the_help(capsys: Out) -> None:
    assert main.call(["run", "--help"]) == 0
    text = capsys.readouterr().out
    for item in core_options():
        assert (f"--[no-]{item.flag[2:]}" if item.is_flag else item.flag) in text


def test_config_prints_a_recipe_that_run_takes(tmp_path: Path, capsys: Out, done: list[Any]) -> None:
    assert main.call(["config", "--plugins", "poems,-gap", "--poems.size", "5"]) == 0
    text = capsys.readouterr().out
    assert "# lines of a poem (a whole number from 1 to 5)" in text and "size = 5" in text
    recipe = tmp_path / "r.toml"
    recipe.write_text(text)
    assert main.call(["run", str(recipe)]) == 0
    direct = prepare("poems,-gap", given=[("flags", {"poems.size": 5})])
    assert done[0][0].values == direct.values and done[0][0].plugins == direct.plugins
    assert done[0][0].recipe() == direct.recipe()


def test_options_in_a_recipe_of_plugins_that_the_line_leaves_out_are_told_and_not_read(
    tmp_path: Path, capsys: Out, done: list[Any]
) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('plugins = ["poems", "gap"]\n[poems]\nsize = 5\n[gap]\nrise = 0.2\n')
    assert main.call(["run", str(recipe)]) == 0
    assert main.call(["run", str(recipe), "--plugins", "poems,-gap"]) == 0
    assert [calls[0].notes for calls in done] == [(), (f"{recipe}: [gap] is not read, as --plugins leaves gap out",)]
    assert all(calls[0].values["poems.size"] == 5 for calls in done)
    for line in (["--plugins", "poems,-gap", "--gap.rise", "0.3"], ["--plugins", "poems", "--peoms.size", "1"]):
        assert main.call(["run", str(recipe), *line]) == 2
    recipe.write_text('plugins = ["poems", "-gap"]\n[gap]\nrise = 0.2\n')
    assert main.call(["run", str(recipe)]) == 2
    recipe.write_text('plugins = ["poems"]\n[peoms]\nsize = 2\n')
    assert main.call(["run", str(recipe), "--plugins", "poems"]) == 2
    assert "plugin 'gap' is not in this run" in (told := capsys.readouterr().err) and "peoms.size: no such option" in told


def test_the_recipe_of_a_run_has_whole_paths_and_leaves_names_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: list[Any]
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "rows.csv").touch()
    monkeypatch.chdir(tmp_path / "here")
    for data, kept in (("rows.csv", str(tmp_path / "here" / "rows.csv")), ("someone/rows", "someone/rows")):
        flags = {"data": data, "model": "starter", "cache_dir": "kept", "group_column": "rows.csv"}
        prepared = prepare("poems", given=[("flags", flags)])
        assert prepared.settings.data == data
        values = prepared.anywhere().values
        assert values["data"] == kept and values["model"] == "starter" and values["cache_dir"] == tmp_path / "here" / "kept"
        assert values["group_column"] == "rows.csv"


def test_the_list_of_plugins(capsys: Out, plant: Plant) -> None:
    plant("ftp-planted-bad", {"bad": "ftp_planted_bad:Bad"}, {"ftp_planted_bad": "import no_such_module"})
    assert main.call(["plugins", "--json"]) == 0
    listed = {plugin["name"]: plugin for plugin in json.loads(capsys.readouterr().out)}
    assert listed["poems"] == {"name": "poems", "kind": "domain", "distribution": "ftp-planted-poems", "version": "2.0",
                               "summary": "Gives poems.", "default": False}
    assert listed["bad"]["kind"] == "broken" and listed["checkpoint"]["kind"] == "core"
    assert main.call(["plugins"]) == 0
    output = capsys.readouterr()
    assert "poems" in output.out and "checkpoint" not in output.out
    assert "module 'no_such_module' is missing" in output.err
    assert main.call(["plugins", "--all"]) == 0
    assert "checkpoint" in capsys.readouterr().out


def test_one_plugin_is_shown(capsys: Out) -> None:
    assert main.call(["plugins", "show", "poems"]) == 0
    text = capsys.readouterr().out
    for words in ("poems (domain), from ftp-planted-poems 2.0", "Many of them.", "gives rows of the form: labelled",
                  "suggests: epochs = 9", "load_data  answers", "--poems.size  (whole number, 1 to 5) [3]", "lines of a poem"):
        assert words in text
    assert main.call(["plugins", "show", "poems", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["hooks"] == {"load_data": {"how": "answers", "takes": "collected"}}
    assert page["declares"] == {"gives": ["labelled"], "suggests": {"epochs": 9}} and not page["problems"]
    assert main.call(["plugins", "show", "peoms"]) == 2
    assert "did you mean 'poems'?" in capsys.readouterr().err


DECLARING = """
    from ftp import Candidate, hookimpl, option, plugin
    from ftp.data.readers import Reader

    @plugin(kind="extra", requires="poems", before=("gap", "duplicates"), after="poems", main_only=True, detaches="rhymes",
            decides="the metre", candidates=[{"rate": 1, "on": True}, Candidate({"rate": 2}, cost=0.3)],
            splits=(), adds_weights=False)
    class Metre:
        "Counts feet."

        rate: float = option(1.0, "feet a line")
        on: bool = option(False, "count at all")

        @hookimpl
        def on_event(self, event): ...

        def state(self): ...

        def restore(self, state): ...

    VERSES = Reader("verses", lambda path: path.suffix == ".verse", lambda path: [])
"""


def test_a_page_has_every_word_that_a_plugin_declares(capsys: Out, plant: Plant) -> None:
    points = {"metre": "ftp_planted_metre:Metre"}
    site = plant("ftp-planted-metre", points, {"ftp_planted_metre": DECLARING}, requires="ftp-core>=0.1,<1")
    with (site / "ftp_planted_metre-1.0.dist-info" / "entry_points.txt").open("a") as stream:
        stream.write("[ftp.readers]\nverses = ftp_planted_metre:VERSES\n")
    assert main.call(["plugins", "show", "metre"]) == 0
    text = capsys.readouterr().out
    for words in ("requires in the same run: poems", "acts before: gap, duplicates", "acts after: poems",
                  "alone in a run decides: the metre", "settings worth a try: rate = 1, on = yes; or rate = 2 (cost = 0.3)",
                  "hears events on the main process alone", "leaves out of the gradient: rhymes", "adds no weights",
                  "keeps a state in checkpoints", "file formats: verses", "runs with ftp-core >=0.1,<1; 0.1.0 is installed"):
        assert words in text, words
    assert "gives the splits" not in text and "problems:" not in text


def test_a_page_knows_every_word_of_a_declaration() -> None:
    """A word that is added to `@plugin(...)` is shown too."""
    from ftp.cli.plugin_page import DECLARED
    from ftp.plugins.declare import VALUES

    assert {*DECLARED, "kind"} == {*VALUES}


def test_a_page_knows_every_group_of_entry_points() -> None:
    from ftp import heads
    from ftp.cli.plugin_page import REGISTERED
    from ftp.data.readers import exports, registered
    from ftp.forms import catalogue
    from ftp.model.saving import LAYOUTS
    from ftp.plugins.find import MODELS

    assert {*REGISTERED} == {catalogue.GROUP, heads.GROUP, registered.GROUP, exports.GROUP, MODELS, LAYOUTS, "ftp.commands"}


def test_a_plan_names_who_acts(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    import ftp.runs.dry_run
    from ftp.types import Data

    monkeypatch.setattr("ftp.data.collect.collect", lambda run: Data({}, "labelled", ("a", "b")))
    shape = ftp.runs.dry_run.Shape("tiny", "Net", 10, 100, (("w", (10,)),), 2, 8, 2, 50, 64)
    monkeypatch.setattr(ftp.runs.dry_run, "_shape", lambda *_: shape)
    assert main.call(["plan", "--plugins", "poems", "--max-steps", "7", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["hooks"]["load_data"] == [{"plugin": "poems", "how": "answers"}]
    assert plan["hooks"]["build_model"][0] == {"plugin": "checkpoint", "how": "default"}
    assert all(who["how"] == "wraps" for who in plan["hooks"]["build_model"][1:])
    assert (plan["form"], plan["head"], plan["labels"], plan["updates"]) == ("labelled", "labels", ["a", "b"], 7)
    assert plan["memory"]["weights"] == 400 and plan["memory"]["gradients"] == 40 and plan["memory"]["optimizer"] == 80
    assert main.call(["plan", "--plugins", "poems"]) == 0
    text = capsys.readouterr().out
    assert "trains 10 of 100 parameters (10.00%)" in text and "an estimate" in text and "not known" in text


@pytest.mark.parametrize(("words", "rows", "wanted"), [
    (["--batch-size", "32"], 100, 36), (["--batch-size", "32", "--epochs", "1.5"], 65, 5), (["--max-steps", "4"], None, 4),
    (["--batch-size", "32"], None, None), (["--batch-tokens", "64"], 100, None), ([], 100, None),
])
def test_updates_are_counted_as_the_loop_counts_them(words: list[str], rows: int | None, wanted: int | None) -> None:
    from ftp.runs.dry_run import updates

    assert updates(flags.assemble(["--plugins", "poems", *words])[1], rows) == wanted


# --- predict, evaluate, runs ---


class FakePredictor:
    """Says how long a text is."""

    def __init__(self) -> None:
        from ftp.types import Data

        settings = SimpleNamespace(columns=("text=sentence",), max_decompressed=None, join_labels=False)
        hooks = SimpleNamespace(picked=(), seen_by=lambda domain, run: run)
        self.run = SimpleNamespace(settings=settings, hooks=hooks)
        self.data = Data({}, "labelled", ("short", "long"))
        self.model = SimpleNamespace(head="labels")
        self.asked: list[Any] = []

    def predict(self, rows: list[Any], start: int = 0) -> list[dict[str, Any]]:
        self.asked += rows
        texts = [row if isinstance(row, str) else row["text"] for row in rows]
        return [{"answer": "long" if len(text) > 5 else "short", "scores": {"short": 0.25, "long": 0.75}} for text in texts]


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> FakePredictor:
    predictor = FakePredictor()
    monkeypatch.setattr(ftp.runs.predictor, "load", lambda run, *allowed: predictor)
    return predictor


def test_texts_are_answered(tmp_path: Path, capsys: Out, predictor: FakePredictor) -> None:
    assert main.call(["predict", str(tmp_path), "a text", "b"]) == 0
    assert capsys.readouterr().out == "long  75.0%  (short 25.0%)  a text\nshort  25.0%  (long 75.0%)  b\n"
    assert main.call(["predict", str(tmp_path), "a text", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "a text", "answer": "long", "scores": {"short": 0.25, "long": 0.75}}


def test_lines_of_standard_input_keep_step(
    tmp_path: Path, capsys: Out, predictor: FakePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é\n\nlonger text\n".encode())))
    assert main.call(["predict", str(tmp_path), "--json"]) == 0
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["é", "", "longer text"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"fine\n\xff\xfe\n")))
    assert main.call(["predict", str(tmp_path)]) == 2
    assert "standard input, line 2: not UTF-8" in capsys.readouterr().err


def test_a_file_of_rows_in_more_than_one_batch(
    tmp_path: Path, predictor: FakePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import csv

    from ftp.cli import predict

    monkeypatch.setattr(predict, "ROWS", 2)
    source = tmp_path / "in.csv"
    source.write_text('sentence,label\n"a, text",x\nb,y\nc,z\n')
    assert main.call(["predict", str(tmp_path), "--input", str(source), "--output", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"text": "a, text", "label": "x", "answer": "long", "score_short": "0.25", "score_long": "0.75"}
    assert len(rows) == 3 and all("label" not in asked for asked in predictor.asked)
    assert main.call(["predict", str(tmp_path), "--input", str(source), "--output", str(tmp_path / "out.jsonl")]) == 0
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])["answer"] == "short"
    assert not list(tmp_path.glob(".*part"))


@pytest.mark.parametrize(("name", "text"), [
    ("in.csv", "sentence,id\n1.50,1\n2.0,2\n"), ("in.tsv", "text\tid\n1.50\t1\n2.0\t2\n")])
def test_texts_of_digits_are_asked_as_they_are_written(tmp_path: Path, predictor: FakePredictor, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    target = tmp_path / "out.jsonl"
    assert main.call(["predict", str(tmp_path), "--input", str(tmp_path / name), "--output", str(target)]) == 0
    assert predictor.asked == [{"text": "1.50", "id": 1}, {"text": "2.0", "id": 2}]
    assert json.loads(target.read_text().splitlines()[0])["text"] == "1.50"


def test_predictions_that_cannot_be_made(tmp_path: Path, capsys: Out, predictor: FakePredictor) -> None:
    source = tmp_path / "in.csv"
    source.write_text("txt\na\n")
    for words, message in (
        (["--input", str(source)], "no column 'text'; its columns: txt"), (["a", "--input", str(source)], "not both"),
        (["--input", str(tmp_path / "no.csv")], "no file or folder"), (["a", "--output", "x.doc"], "written as .csv or .jsonl"),
        (["--input", str(source), "--output", str(source)], "is the file that --input names"),
        (["--input", str(source), "--columns", "text=tex"], "no column 'tex'"),
    ):
        assert main.call(["predict", str(tmp_path), *words]) == 2
        assert message in capsys.readouterr().err
    assert main.call(["predict", str(tmp_path / "absent"), "a"]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_evaluation_takes_a_file_as_test_rows_with_the_classes_of_the_run(
    tmp_path: Path, capsys: Out, predictor: FakePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftp.types import Score

    def evaluate(data: Any) -> Any:
        assert data.labels == ("short", "long") and set(data.splits) == {"test"} and data.splits["test"]["label"][:] == [1, 0]
        return [Score("accuracy", 0.5, "max", "test", len(data.splits["test"]))], {}

    monkeypatch.setattr(predictor, "evaluate", evaluate, raising=False)
    source = tmp_path / "new.csv"
    source.write_text("sentence,label\naaaaaaaa,long\nb,short\n")
    assert main.call(["evaluate", str(tmp_path), "--data", str(source), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == [
        {"name": "accuracy", "value": 0.5, "goal": "max", "split": "test", "n": 2}]
    assert main.call(["evaluate", str(tmp_path), "--data", str(source)]) == 0
    assert "0.5000" in capsys.readouterr().out
    assert main.call(["evaluate", str(tmp_path), "--data", str(source), "--split", "dev"]) == 2


def test_runs_are_listed(tmp_path: Path, capsys: Out) -> None:
    from ftp.types import Score

    for name, value in (("a", 0.5), ("b", 0.75)):
        (tmp_path / name).mkdir()
        folder = Folder(tmp_path / name)
        folder.write_recipe('plugins = ["poems"]\n')
        folder.write_facts(status="finished", seconds=5.0, trained=1234)
        folder.write_scores([Score("accuracy", value, "max", "test", 4)], [])
    assert main.call(["runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "0.5000" in text and "0.7500" in text and "poems" in text and "1,234" in text
    assert main.call(["runs", str(tmp_path), "--json"]) == 0
    assert [answer["scores"][0]["value"] for answer in json.loads(capsys.readouterr().out)] == [0.5, 0.75]
    assert main.call(["runs", str(tmp_path / "absent")]) == 2


# --- lightness ---

HEAVY = ("torch", "transformers", "datasets", "numpy", "accelerate", "peft", "trl", "pandas", "pyarrow", "sklearn", "rich",
         "tomlkit")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["--help"], ["plugins"], ["run", "--plugins", "poems", "--help"], ["run", "--plugins", "peoms"],
    ["plugins", "show", "poems"], ["install", "poems", "--no-index", "--dry-run"], ["uninstall", "poems", "--dry-run"]])
def test_answers_import_nothing_heavy(words: list[str]) -> None:
    program = f"""
        import sys
        from ftp.cli import main
        main.call({words!r})
        print("heavy:", [name for name in {HEAVY!r} if name in sys.modules])
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, env=environment())
    assert ended.stdout.splitlines()[-1] == "heavy: []", ended.stderr


@pytest.mark.slow
def test_answers_come_soon() -> None:
    """A generous bound, as tests share their machine; benchmarks/startup.py measures it well."""
    script = Path(__file__).parents[2] / "benchmarks" / "startup.py"
    ended = subprocess.run([sys.executable, str(script), "--repeat", "3", "--bound", "30"], capture_output=True, text=True,
                           env=environment())
    assert ended.returncode == 0, ended.stdout + ended.stderr
