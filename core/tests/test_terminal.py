"""What is shown is shown visibly, whatever the terminal is; nobody's output goes round it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ftp.errors import UserError
from ftp.host import terminal

ROOT = Path(__file__).parents[2]
EVIL = "\x1b]0;owned\x07 red\x1b[31m \x9b2J back\r \x00 \u202eflip caf\udce9 ok\ttab"
SHOWN = r"\x1b]0;owned\x07 red\x1b[31m \x9b2J back\x0d \x00 \u202eflip caf\xe9 ok" + "\ttab"


def test_control_characters_are_shown() -> None:
    assert terminal.visible(EVIL) == SHOWN
    assert terminal.visible(SHOWN) == SHOWN
    assert terminal.visible("größe 中文 👍🏽 \u200f שלום\nline") == "größe 中文 👍🏽 \u200f שלום\nline"


@pytest.mark.parametrize(("encoding", "text"), [
    ("utf-8", "größe 中"), ("latin-1", "größe \\u4e2d"),
    ("ascii", "gr\\u00f6\\u00dfe \\u4e2d"), ("no such", "gr\\u00f6\\u00dfe \\u4e2d"),
])
def test_letters_that_an_encoding_has_not(encoding: str, text: str) -> None:
    assert terminal.fitting("größe 中", encoding) == text


def run(code: str, **streams: object) -> subprocess.CompletedProcess[str]:
    """Some lines of Python between `guarded`, in a process of their own."""
    program = "from ftp.host.terminal import *\nwith guarded():\n" + textwrap.indent(textwrap.dedent(code), "    ")
    environment = {**os.environ, **streams.pop("environment", {})}  # type: ignore[dict-item]
    return subprocess.run([sys.executable, "-c", program], text=True, timeout=60, env=environment,
                          **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams})  # type: ignore[call-overload,no-any-return]


def test_json_stays_json() -> None:
    code = f"say_json({{{'größe'!r}: {EVIL!r}}})"
    for encoding in ("utf-8", "ascii"):
        done = run(code, environment={"PYTHONIOENCODING": encoding})
        assert json.loads(done.stdout) == {"größe": EVIL} and "\x1b" not in done.stdout and "\x9b" not in done.stdout


def test_a_console_shows_text_as_it_is() -> None:
    from rich.table import Table

    stream = io.StringIO()
    table = Table()
    table.add_column("[red]head")
    table.add_row(f"f1 [/x] {EVIL} :bug:")
    console = terminal.console(stream)
    console.print(table)
    console.print("runs/[lr=1e-3] exp[/bold]x")
    text = stream.getvalue()
    for expected in ("[red]head", "f1 [/x]", r"\x1b]0;owned", ":bug:", "runs/[lr=1e-3] exp[/bold]x"):
        assert expected in text
    assert "\x1b" not in text and "\r" not in text


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_a_reader_that_went_away_ends_a_command_and_not_a_run() -> None:
    code = "try:\n    say('a')\nexcept ReaderGone:\n    warn('gone')\nsay('b')"
    done = run(code, stdout=closed_pipe())
    assert done.returncode == 0 and done.stderr == "gone\n"
    done = run("persistent()\nsay('a')\nsay('b')\nwarn('went on')", stdout=closed_pipe())
    assert done.returncode == 0 and done.stderr == "went on\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_output_that_is_full_is_told() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = run("try:\n    say('a')\nexcept Exception as error:\n    warn(str(error))", stdout=full)
        assert done.returncode == 0 and done.stderr.startswith("standard output cannot be written (No space left on device)")
        done = run("persistent()\nsay('a')\nsay('b')", stdout=full)
        assert done.returncode == 0
        assert done.stderr == "ftp: standard output cannot be written (No space left on device); going on without it\n"
        assert run("warn('a')", stderr=full).returncode == 0


def test_streams_that_are_closed_become_the_null_device(tmp_path: Path) -> None:
    """A file that takes their number would get what libraries print."""
    code = f"""
    import os, sys
    file = open({str(tmp_path / 'file')!r}, "w")
    os.write(1, b"a library prints")
    say("x"); warn("y"); sys.stdout.flush(); print(sys.stdin.read())
    file.close()
    """
    program = "from ftp.host.terminal import *\nwith guarded():\n" + textwrap.indent(textwrap.dedent(code), "    ")
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, program], timeout=60)
    assert done.returncode == 0 and (tmp_path / "file").read_text() == ""


def test_from_python_a_closed_output_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.say("x")
    monkeypatch.setattr(sys, "stdout", None)
    terminal.say("x")
    terminal.say_json({})


def test_a_full_output_of_a_command_is_a_mistake_that_can_be_mended() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="standard output"):
        terminal.Stream(Full(), "standard output").write("x")


BYPASS = re.compile(r"(?<![.\w])print\(|click\.(?:s?echo|echo_via_pager)\(|rich\.print|\bConsole\(|sys\.std(?:out|err)\.write")
OWN = {"core/src/ftp/host/terminal.py", "plugins/testing/src/ftp_testing/forks.py"}
"""The module itself; and a process of the kit that speaks with its parent in JSON."""


def test_nothing_is_printed_past_it() -> None:
    sources = [*ROOT.glob("core/src/ftp/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    assert len(sources) > 150
    escapes = []
    for path in sources:
        name = str(path.relative_to(ROOT))
        if name in OWN:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = line.lstrip()
            is_text = code.startswith(('"', "'", "#")) or code.startswith("print(json.dumps([name for")  # programs that we write
            if BYPASS.search(line) and not is_text:
                escapes.append(f"{name}:{number}: {code}")
    assert not escapes


# --- data that reaches people: answers, labels, names ---


def test_answers_and_texts_of_predict(capsys: pytest.CaptureFixture[str]) -> None:
    from ftp.cli.predict import _line, _shown_as_json

    answer = {"answer": EVIL, "scores": {EVIL: 0.75, "other\x1b[31m": 0.25}}
    _line({"text": EVIL}, answer)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and shown.count(SHOWN) == 2 and r"other\x1b[31m" in shown
    _shown_as_json({"text": EVIL}, answer)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and json.loads(shown) == {"text": EVIL, **answer}


def test_an_answer_of_several_classes(capsys: pytest.CaptureFixture[str]) -> None:
    from ftp.cli.predict import _line

    _line({"text": "the bins"}, {"answer": ["waste", "noise"], "scores": {"waste": 0.75, "noise": 0.5, "parks": 0.25}})
    assert capsys.readouterr().out == "['waste', 'noise']  (waste 75.0%, noise 50.0%, parks 25.0%)  the bins\n"


def test_words_of_a_chat(capsys: pytest.CaptureFixture[str]) -> None:
    from ftp_terminal_chat.command import talk

    def respond(messages: object, show: object) -> str:
        show("\x1b")  # type: ignore[operator]
        show("]0;owned\x07")  # type: ignore[operator]
        return ""

    talk(iter(["hello\n"]), respond)
    assert capsys.readouterr().out == "\\x1b]0;owned\\x07\n"


def test_the_end_of_a_run(tmp_path: Path) -> None:
    from ftp.report import outcome
    from ftp.types import Baseline, Risk, Score

    stream = io.StringIO()
    outcome.summary(terminal.console(stream), out=tmp_path / "exp[/bold]x", seconds=1.0, trained=1, total=2, steps=1,
                     scores=[Score("f1 [/x]\x1b[31m", 0.75, "max", "test", 8)],
                     baselines=[Baseline("[red]\x1b[31m", "f1 [/x]\x1b[31m", 0.5, "test", 8)],
                     risks=[Risk("gap", "warn", "[/] \x1b[31m", {"[b]": "\x1b[31m"}, ("\x1b[31m",))])
    text = stream.getvalue()
    assert "\x1b" not in text and r"f1 [/x]\x1b[31m" in text and r"[red]\x1b[31m" in text and "exp[/bold]x/model" in text
    assert text.count(r"\x1b[31m") == 5


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"COLUMNS": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}, {"LC_ALL": "C"}])
def test_a_table_on_any_terminal(environment: dict[str, str]) -> None:
    """On a real pseudo-terminal: every name whole, and no colour where none is wanted."""
    import pty

    code = """
    from rich.table import Table
    from rich.text import Text
    table = Table()
    table.add_column("a-column")
    table.add_row(Text("a-long-name-of-a-run", style="bold"))
    console().print(table)
    """
    program = "from ftp.host.terminal import *\nwith guarded():\n" + textwrap.indent(textwrap.dedent(code), "    ")
    leading, following = pty.openpty()
    done = subprocess.run([sys.executable, "-c", program], stdout=following, timeout=60, env={**os.environ, **environment})
    os.close(following)
    text = os.read(leading, 100_000).decode()
    os.close(leading)
    assert done.returncode == 0 and "a-long-name-of-a-run" in text
    assert ("\x1b[3" in text) is False
