"""A plugin that calls sys.exit is an error of that plugin, and named; one that nobody named harms nobody."""

from __future__ import annotations

import textwrap

import pytest

from ftp.cli.main import call
from ftp.plugins.call import failures_named

EXIT = "import sys; print('noise'); print('noise', file=sys.stderr); sys.exit(0)"
DOMAIN = """
    import sys
    from ftp import hookimpl, plugin
    @plugin(gives=("text",))
    class Poems:
        "Poems."
        {body}
        @hookimpl
        def load_data(self, run): {load}
"""


@pytest.fixture
def exiting(plant) -> None:
    """An installed package whose modules, of a plugin, a model and a command, end the process when they are imported."""
    plant("ftp-planted-exit", {"poems": "ftp_planted_exit:Poems"}, {"ftp_planted_exit": EXIT})
    plant("ftp-planted-command", {"recite": "ftp_planted_exit:command"}, {}, group="ftp.commands")


def test_plugins_shows_who_is_broken_and_all_others(exiting, capsys):
    assert call(["plugins"]) == 0
    output = capsys.readouterr()
    assert "poems" in output.out and "broken" in output.out and "sentiment" in output.out
    assert "noise" not in output.out + output.err
    assert "plugin 'poems' of ftp-planted-exit 1.0 does not import: it called sys.exit(0)" in output.err


def test_help_shows_the_other_commands(exiting, capsys):
    assert call(["--help"]) == 0
    output = capsys.readouterr()
    assert "recite" in output.out and "ftp-planted-command 1.0" in output.out and "predict" in output.out
    assert "noise" not in output.out + output.err


def test_a_run_that_does_not_name_it_hears_nothing_of_it(exiting, capsys):
    assert call(["run", "--plugins", "lora"]) == 2
    output = capsys.readouterr()
    assert "no plugin of this run gives data" in output.err and "sentiment" in output.err
    assert "noise" not in output.out + output.err


@pytest.mark.parametrize(("words", "named"), [
    (["run", "--plugins", "lora,poems"], "plugin 'poems' of ftp-planted-exit 1.0"),
    (["recite"], "the command 'ftp recite' of ftp-planted-command 1.0"),
])
def test_who_names_it_is_told_with_status_2(exiting, capsys, words, named):
    assert call(words) == 2
    assert f"{named} does not import: it called sys.exit(0)" in capsys.readouterr().err


def test_a_default_plugin_that_exits_says_how_to_go_on_without_it(exiting, plant, capsys):
    plant("ftp-planted-default", {"poems": "ftp_planted_exit:Poems"}, {}, group="ftp.defaults")
    assert call(["run", "--plugins", "lora,sentiment"]) == 2
    assert "--plugins ...,-poems" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["run", "--help"], ["plan", "--plugins", "lora", "--help"], ["config", "--help"]])
def test_help_does_without_a_default_plugin_that_exits(exiting, plant, capsys, words):
    plant("ftp-planted-default", {"poems": "ftp_planted_exit:Poems"}, {}, group="ftp.defaults")
    assert call(words) == 0
    output = capsys.readouterr()
    assert "--learning-rate" in output.out and "noise" not in output.out + output.err
    assert "plugin 'poems' of ftp-planted-default 1.0 does not import" in output.err


def test_a_model_that_exits_ends_only_what_needs_it(exiting, plant, capsys):
    plant("ftp-planted-model", {"poet": "ftp_planted_exit:offer"}, {}, group="ftp.models")
    broken = "model 'poet' of ftp-planted-model 1.0 does not import: it called sys.exit(0)"
    # another package offers a default, which is taken
    assert call(["plan", "--plugins", "lora,sentiment"]) == 0
    said = capsys.readouterr()
    assert said.err.count(broken) == 1 and "ftp uninstall ftp-planted-model" in said.err and "noise" not in said.out + said.err
    assert call(["plan", "--plugins", "lora,sentiment", "--model", "poet"]) == 2
    assert broken in capsys.readouterr().err


@pytest.mark.parametrize(("body", "load", "where"), [
    ("", "sys.exit(0)", "load_data"), ("", "sys.exit()", "load_data"),
    ("def __post_init__(self): sys.exit(0)", "pass", "its options"),
    ("hook = hookimpl(specname='check_risks')(lambda self: sys.exit('bye'))", "return {}", "check_risks"),
])
def test_a_hook_that_exits_is_named_with_its_plugin_and_package(plant, body, load, where):
    from ftp import PluginError
    from ftp.plugins.call import Hooks
    from ftp.plugins.find import pick

    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": DOMAIN.format(body=body, load=load)})
    with pytest.raises(PluginError, match=rf"'poems' \(ftp-planted-a 1.0\) failed in {where}: it called sys.exit\("):
        ask = Hooks(pick(["poems"])).each
        names = () if where == "load_data" else (
            "stage", "data", "model", "loss", "predictions", "history", "log", "baselines", "comparisons")
        ask(where, run=None, on_error=lambda plugin, error: [], **dict.fromkeys(names))


def test_code_of_a_plugin_outside_hooks_is_named_by_its_frame(plant):
    from ftp import PluginError
    from ftp.plugins.find import pick

    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {
        "ftp_planted_a": DOMAIN.format(body="compute = staticmethod(lambda: sys.exit(3))", load="pass")})
    cls = pick(["poems"])[0].cls
    with pytest.raises(PluginError, match=r"plugin 'poems' \(ftp-planted-a 1.0\).*sys.exit\(3\)"), failures_named():
        cls.compute()


def test_a_file_that_exits_is_named(tmp_path, capsys):
    (tmp_path / "bad.py").write_text("raise SystemExit(0)")
    assert call(["run", "--plugins", "lora", "--plugins-from", str(tmp_path / "bad.py")]) == 2
    assert "bad.py does not import: it called sys.exit(0)" in capsys.readouterr().err


def test_the_status_of_ranks_is_that_of_the_command(monkeypatch):
    from ftp.cli import run
    from ftp.errors import ExitStatus

    monkeypatch.setattr(run, "_do_run", lambda words: (_ for _ in ()).throw(ExitStatus(130)))
    assert call(["run", "--plugins", "lora,sentiment"]) == 130


def test_plugins_names_whose_import_is_slow(plant, monkeypatch, capsys):
    from ftp.cli import plugins

    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"},
          {"ftp_planted_a": "import time; time.sleep(0.3)\n" + textwrap.dedent(DOMAIN.format(body="", load="pass"))})
    monkeypatch.setattr(plugins, "SLOW", 0.25)
    assert call(["plugins"]) == 0
    assert "plugin 'poems' of ftp-planted-a 1.0 takes 0." in capsys.readouterr().err


COMMAND = """
    import click
    @click.command()
    def {name}():
        "Say {name}."
        click.echo("{name}")
"""


@pytest.fixture
def doubled(plant) -> None:
    """Two packages that offer the same commands, one of them under `data`."""
    for name in ("alpha", "beta"):
        module = f"ftp_planted_{name}"
        commands = {"recite": f"{module}:{name}", "data.count": f"{module}:{name}"}
        plant(f"ftp-planted-{name}", commands, {module: textwrap.dedent(COMMAND.format(name=name))}, group="ftp.commands")


@pytest.mark.parametrize("words", [["recite"], ["data", "count"]])
def test_a_command_of_two_packages_is_named_with_its_package(doubled, capsys, words):
    assert call(words) == 2
    text = capsys.readouterr().err
    assert f"ftp-planted-alpha:{words[-1]} or ftp-planted-beta:{words[-1]}" in text and "uninstall" not in text
    assert call([*words[:-1], f"ftp-planted-beta:{words[-1]}"]) == 0
    assert "beta" in capsys.readouterr().out


def test_help_and_the_other_commands_go_on_where_two_packages_offer_one(doubled, capsys):
    for words in (["--help"], ["data", "--help"], ["data", "check", "--help"]):
        assert call(words) == 0, words
        assert "Usage" in capsys.readouterr().out


# --- what is no Exception, as test and task runners raise it ---


@pytest.mark.parametrize("words", [["plugins"], ["--help"], ["recite"], ["run", "--plugins", "lora"]])
def test_a_package_that_raises_what_is_no_exception_is_broken_like_any_other(plant, capsys, words):
    source = "class Stop(BaseException): pass\nraise Stop('now')"
    plant("ftp-planted-stop", {"poems": "ftp_planted_stop:Poems"}, {"ftp_planted_stop": source})
    plant("ftp-planted-command", {"recite": "ftp_planted_stop:command"}, {}, group="ftp.commands")
    status = {"plugins": 0, "--help": 0, "recite": 2, "run": 2}[words[0]]
    assert call(words) == status
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    if words[0] != "run":  # which needs neither
        assert "Stop: now" in output.out + output.err


def test_a_hook_that_raises_what_is_no_exception_is_named(plant):
    from ftp import PluginError
    from ftp.plugins.call import Hooks
    from ftp.plugins.find import pick

    source = DOMAIN.format(body="", load="raise GeneratorExit('now')")
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": source})
    with pytest.raises(PluginError, match=r"'poems' \(ftp-planted-a 1.0\) failed in load_data: GeneratorExit: now"):
        Hooks(pick(["poems"])).each("load_data", run=None, on_error=lambda plugin, error: [])


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "ReaderGone"])
def test_what_the_user_means_passes_through_a_hook(plant, name):
    from ftp.plugins.call import Hooks
    from ftp.plugins.find import pick

    source = DOMAIN.format(body="", load=f"from ftp.host.terminal import ReaderGone; raise {name}")
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": source})
    with pytest.raises(BaseException) as raised:
        Hooks(pick(["poems"])).each("load_data", run=None)
    assert type(raised.value).__name__ == name


LATE = """
    from ftp import hookimpl, plugin
    def rows():
        yield {"text": "a"}
        raise LookupError("no more rows")
    @plugin(gives=("text",))
    class Poems:
        "Poems."
        @hookimpl
        def load_data(self, run):
            from datasets import IterableDataset
            return {"train": IterableDataset.from_generator(rows)}
"""


def test_rows_that_are_read_late_and_fail_are_named_with_their_plugin(plant):
    from ftp import PluginError
    from ftp.plugins.call import Hooks
    from ftp.plugins.find import pick

    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": LATE})
    (answer,) = Hooks(pick(["poems"])).each("load_data", run=None)
    named = r"plugin 'poems' \(ftp-planted-a 1.0\), in rows \(ftp_planted_a.py, line 5\), failed: LookupError: no more rows"
    with pytest.raises(PluginError, match=named), failures_named():
        list(answer.value["train"])


def test_an_exception_of_our_own_travels_as_it_is(plant):
    from ftp import UserError

    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {
        "ftp_planted_a": LATE + "    def refuse():\n        raise __import__('ftp').UserError('mend it')\n"})
    with pytest.raises(ZeroDivisionError), failures_named():
        1 / 0  # noqa: B018
    from ftp.plugins.find import pick

    refuse = __import__(pick(["poems"])[0].cls.__module__).refuse
    with pytest.raises(UserError, match="mend it"), failures_named():
        refuse()


FAILING = """
    import click
    @click.command()
    @click.argument("topic")
    def command(topic):
        if topic == "usage":
            raise click.UsageError("say poem")
        {}[topic]
"""


@pytest.mark.parametrize(("topic", "status", "expected"), [
    ("poem", 1, "plugin 'poems' (ftp-planted-a 1.0), in command (ftp_planted_a.py, line 8), failed: KeyError: 'poem'"),
    ("usage", 2, "say poem"),
])
def test_a_command_of_a_package_that_fails_is_named(plant, capsys, topic, status, expected):
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": FAILING})
    plant("ftp-planted-b", {"recite": "ftp_planted_a:command"}, {}, group="ftp.commands")
    assert call(["recite", topic]) == status
    message = capsys.readouterr().err
    assert expected in message and "Traceback" not in message
