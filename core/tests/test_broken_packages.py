"""A package whose form, head, reader, export, model or command is broken is named once, and ends only what needs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftp import PluginError, UserError, forms, heads, registry
from ftp.cli.main import call
from ftp.data.read import read
from ftp.data.readers import exports, registered
from ftp.data.target_form import shape
from ftp.forms import ways
from ftp.plugins.plan import prepare

Plant = Callable[..., Path]
Out = pytest.CaptureFixture[str]

NOISE = "import sys; print('noise'); print('noise', file=sys.stderr)\n"
FAULTS = {
    "raises": (NOISE + "1 / 0", "", "does not import: ZeroDivisionError", "ftp install --upgrade ftp-planted-a"),
    "exits": (NOISE + "sys.exit(0)", "", "does not import: it called sys.exit(0)", "ftp install --upgrade ftp-planted-a"),
    "needs-a-module": ("import no_such_module", "", "module 'no_such_module' is missing",
                       "ftp install --exact no_such_module"),
    "is-of-another-core": (NOISE + "sys.exit(0)", "ftp-core>=7", "requires ftp-core >=7", "ftp install --upgrade 'ftp-core>=7'"),
    "registers-nothing": ("THING = 5", "", "ftp_planted_a:THING is a int", "ftp uninstall ftp-planted-a"),
}
NOUNS = {"ftp.forms": "form", "ftp.heads": "head", "ftp.readers": "reader", "ftp.exports": "export"}


def forget() -> None:
    for module in (ways, heads, registered, exports):
        module.forget()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    forget()
    yield
    forget()


def read_all_groups() -> None:
    for read_group in (forms.all_forms, heads.all_heads, registered.all_readers, exports.all_exports):
        read_group()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("group", NOUNS)
def test_what_is_broken_is_told_once_and_the_rest_goes_on(plant: Plant, capsys: Out, group: str, fault: str) -> None:
    source, requires, reason, command = FAULTS[fault]
    plant("ftp-planted-a", {"thing": "ftp_planted_a:THING"}, {"ftp_planted_a": source}, group=group, requires=requires)
    read_all_groups()
    read_all_groups()
    said = capsys.readouterr()
    assert said.out == "" and "noise" not in said.err
    assert said.err.count("ftp-planted-a 1.0") == 1 and reason in said.err and f"try: {command}" in said.err
    assert "ftp uninstall ftp-planted-a" in said.err
    assert [*registry.broken(group)] == ["thing"]
    assert prepare("lora,sentiment").task.form == "labelled"
    assert call(["plugins"]) == 0
    said = capsys.readouterr()
    assert "sentiment" in said.out and "broken" not in said.out
    # the list reads the groups that declarations name
    assert said.err.count("ftp-planted-a 1.0") == (1 if group in ("ftp.forms", "ftp.heads") else 0)


def test_what_needs_a_broken_form_or_head_is_an_error_that_says_why(plant: Plant, capsys: Out) -> None:
    points = {"thing": "ftp_planted_a:THING"}
    plant("ftp-planted-a", points, {"ftp_planted_a": "1 / 0"}, group="ftp.forms")
    plant("ftp-planted-c", points, {}, group="ftp.heads")
    plugin = """
        from ftp import plugin

        @plugin(kind="objective", wants=("thing",), head="thing")
        class Poems:
            "Poems."
    """
    plant("ftp-planted-b", {"poems": "ftp_planted_b:Poems"}, {"ftp_planted_b": plugin})
    forget()
    assert call(["plan", "--plugins", "lora,poems,sentiment"]) == 2
    text = capsys.readouterr().err
    for noun, package in (("form", "ftp-planted-a"), ("head", "ftp-planted-c")):
        assert f"plugin 'poems' of ftp-planted-b 1.0: {noun} 'thing' of {package} 1.0 does not import" in text
    assert call(["plan", "--plugins", "lora,sentiment", "--form", "thing"]) == 2
    with pytest.raises(UserError, match=r"form 'thing' of ftp-planted-a 1\.0 does not import: ZeroDivisionError"):
        forms.get("thing")


@pytest.mark.parametrize("name", ["text", "thing"])
def test_of_two_forms_of_a_name_neither_is_taken_unless_one_is_cores(plant: Plant, capsys: Out, name: str) -> None:
    source = f"from ftp.forms import Column, FormSpec\nTHING = FormSpec('{name}', (Column('text'), Column('mood')))"
    for letter in "ab":
        module = f"ftp_planted_{letter}"
        plant(f"ftp-planted-{letter}", {name: f"{module}:THING"}, {module: source}, group="ftp.forms")
    forget()
    if name == "text":
        assert forms.get("text").column("mood") is None
        assert "two packages register the form 'text': ftp-core and ftp-planted-" in capsys.readouterr().err
        assert prepare("clm,lora,medical").task.form == "text", "core's own form goes on working"
    else:
        with pytest.raises(UserError, match=r"two packages register the form 'thing': ftp-planted-a 1\.0 and ftp-planted-b 1\.0"):
            forms.get("thing")


def test_a_name_that_is_not_that_of_the_object_is_told(plant: Plant, capsys: Out) -> None:
    source = "from ftp.forms import Column, FormSpec\nTHING = FormSpec('mood', (Column('text'), Column('mood')))"
    plant("ftp-planted-a", {"thing": "ftp_planted_a:THING"}, {"ftp_planted_a": source}, group="ftp.forms")
    forget()
    assert "thing" not in forms.all_forms() and "mood" not in forms.all_forms()
    assert "the name of ftp_planted_a:THING is 'mood'" in capsys.readouterr().err


def test_a_list_names_a_package_once_though_all_it_brings_is_broken(plant: Plant, capsys: Out) -> None:
    points = {"poems": "ftp_planted_a:Poems", "prose": "ftp_planted_a:Prose"}
    site = plant("ftp-planted-a", points, {"ftp_planted_a": "1 / 0"})
    with (site / "ftp_planted_a-1.0.dist-info" / "entry_points.txt").open("a") as stream:
        stream.write("[ftp.forms]\nthing = ftp_planted_a:THING\n[ftp.heads]\nthing = ftp_planted_a:HEAD\n")
    forget()
    assert call(["plugins"]) == 0
    said = capsys.readouterr()
    assert said.out.count("cannot be used: see below") == 2
    assert said.err.count("does not import: ZeroDivisionError") == 1


@pytest.mark.parametrize("words", [["recite"], ["--help"], ["plugins"]])
def test_a_command_of_another_core_ends_alone(plant: Plant, capsys: Out, words: list[str]) -> None:
    plant("ftp-planted-a", {"recite": "ftp_planted_a:command"}, {"ftp_planted_a": "raise SystemExit('was imported')"},
          group="ftp.commands", requires="ftp-core>=7")
    assert call(words) == (2 if words == ["recite"] else 0)
    said = capsys.readouterr()
    assert "was imported" not in said.out + said.err
    if words == ["recite"]:
        assert "the command 'ftp recite' of ftp-planted-a 1.0 requires ftp-core >=7" in said.err


def test_a_finished_run_answers_without_defaults_that_were_installed_since(plant: Plant, tmp_path: Path) -> None:
    from ftp.folder.files import Folder
    from ftp.plugins.find import pick
    from ftp.runs.predictor import _names_of_plugins

    plant("ftp-planted-a", {"thing": "ftp_planted_a:Thing"}, {"ftp_planted_a": "1 / 0"}, group="ftp.defaults")
    lock = [{"name": "full", "distribution": "ftp-full"}]
    assert _names_of_plugins(Folder(tmp_path), "full") == ["full"]  # what it was made with is not known
    (tmp_path / "plugins.lock").write_text(json.dumps({"plugins": lock}))
    names = _names_of_plugins(Folder(tmp_path), "full")
    assert "-ftp-planted-a:thing" in names
    assert {"full", "step", "checkpoint"} <= {plugin.name for plugin in pick(names)}
    lock.append({"name": "thing", "distribution": "ftp-planted-a"})
    (tmp_path / "plugins.lock").write_text(json.dumps({"plugins": lock}))
    with pytest.raises(UserError, match=r"plugin 'thing' of ftp-planted-a 1\.0 does not import: ZeroDivisionError"):
        pick(_names_of_plugins(Folder(tmp_path), "full"))


# --- functions that fail when they are called ---

FAILING = """
    from ftp.data.readers import Reader
    from ftp.data.turns import Unfit
    from ftp.errors import UserError
    from ftp.forms import Column, FormSpec, Way

    def plain(row, labels):
        if row["mood"] == "angry":
            raise Unfit("is angry")
        if row["mood"] == "lost":
            raise KeyError("lost")
        if row["mood"] == "wrong":
            return {"txt": row["text"]}
        return {"text": row["text"]}

    def is_moody(path):
        return path.suffix == ".mood" or 1 / 0

    MOODY = FormSpec("moody", (Column("text"), Column("mood")), ways=(Way("text", plain),))
    READER = Reader("moods", is_moody, lambda path: [])
"""


@pytest.fixture
def moody(plant: Plant) -> None:
    site = plant("ftp-planted-a", {"moody": "ftp_planted_a:MOODY"}, {"ftp_planted_a": FAILING}, group="ftp.forms")
    with (site / "ftp_planted_a-1.0.dist-info" / "entry_points.txt").open("a") as stream:
        stream.write("[ftp.readers]\nmoods = ftp_planted_a:READER\n")
    forget()


def moods(*values: str) -> dict[str, object]:
    from datasets import Dataset

    return {"train": Dataset.from_list([{"text": "film", "mood": value} for value in values])}


@pytest.mark.parametrize(("mood", "reason"), [
    ("lost", "form 'moody' of ftp-planted-a 1.0 failed in change: KeyError: 'lost'"),
    ("wrong", "the way of the form 'moody' of ftp-planted-a to 'text' gave txt, which lacks text"),
])
def test_a_way_that_fails_names_its_package_and_the_row(moody: None, mood: str, reason: str) -> None:
    with pytest.raises(PluginError) as caught:
        shape(moods("calm", mood), "text")
    assert "row 1" in str(caught.value) and reason in str(caught.value)


def test_a_way_says_that_a_row_cannot_be_read(moody: None) -> None:
    with pytest.raises(UserError, match="row 1 is angry"):
        shape(moods("calm", "angry"), "text")


def test_a_reader_that_cannot_tell_its_files_is_named(moody: None, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "film"}) + "\n")
    with pytest.raises(PluginError, match=r"reader 'moods' of ftp-planted-a 1\.0 failed in matches: ZeroDivisionError"):
        read(tmp_path / "a.jsonl")
