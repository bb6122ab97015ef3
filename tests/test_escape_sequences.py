"""What data, packages and paths hold never reaches the terminal as a control sequence."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftp.cli.main import call

EVIL = "\x1b]0;owned\x07\x1b[31mred\x9b2J"
SHOWN = r"\x1b]0;owned\x07\x1b[31mred\x9b2J"
DOMAIN = f"""
from ftp import plugin

@plugin(gives=("text",))
class Poems:
    {f"Poems {EVIL}."!r}
"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows whose texts, class and column hold control sequences."""
    path = tmp_path / "rows.csv"
    text = "".join(f"room {number % 5} {EVIL},{EVIL if number % 2 else 'good'},1\n" for number in range(40))
    path.write_text(f"text,label,extra {EVIL}\n{text}", encoding="utf-8")
    return path


@pytest.mark.parametrize("words", [
    ["data", "check", "--train", "{rows}"],
    ["data", "preview", "--plugins", "full,classify", "--data", "{rows}", "--model", "{model}"],
    ["plugins", "--plugins-from", "{folder}/poems.py"],
    ["new", f"bad{EVIL}", "--kind", "risk"],
    ["new", "fine", "--kind", "risk", "--out", f"{{folder}}/out{EVIL}"],
], ids=lambda words: " ".join(words[:2]))
def test_control_sequences_are_shown_and_not_sent(rows, tiny_bert, tmp_path, capfd, words):
    (tmp_path / "poems.py").write_text(DOMAIN, encoding="utf-8")
    places = {"{rows}": rows, "{folder}": tmp_path, "{model}": tiny_bert}
    for name, path in places.items():
        words = [word.replace(name, str(path)) for word in words]
    call(words)
    output = "".join(capfd.readouterr())
    assert not {"\x1b", "\x07", "\x9b"} & set(output)
    assert SHOWN[:12] in output  # it was there to be shown
