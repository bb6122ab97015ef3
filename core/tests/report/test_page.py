"""The page holds what the run folder says, as text and nothing else, and needs nothing from
outside."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ftp import report
from ftp.errors import UserError
from ftp.folder import paths
from ftp.folder.files import Folder
from ftp.types import Risk

from .folders import EVIL, RISKS, make

VOID = {"meta", "br", "hr", "img", "input", "link", "use", "path"}


class Page(HTMLParser):
    """Tags, attributes, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.verdicts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        attributes = dict(attrs)
        if "data-risk" in attributes:
            self.verdicts.append((attributes["data-risk"] or "", attributes["data-level"] or ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open[-1] != tag:
            self.wrong.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def self_contained(text: str) -> Page:
    """Read a page and hold it to what every page must be."""
    page = Page(text)
    assert not page.wrong and not page.open
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            assert value.startswith("#"), (tag, name, value)
        assert "//" not in value or name in ("title", "aria-label", "data-run"), (tag, name, value)
    assert not re.search(
        r"@import|url\((?!#)|expression", re.sub(r"<[^s].*?>", "", text.split("</style>")[0])
    )
    assert ("meta", "name", "viewport") in page.attributes
    assert "prefers-color-scheme: dark" in text
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)
    return page


def test_everything_that_was_found_is_there(tmp_path: Path) -> None:
    page = self_contained(report.make([make(tmp_path / "run")]))
    assert page.verdicts == [
        ("leakage", "stop"),
        ("forgetting", "warn"),
        ("preflight", "not_run"),
        ("overfitting", "ok"),
    ]
    for risk in RISKS:
        assert risk.finding in page.text
        assert all(line in page.text for line in risk.advice)
    assert "Nothing was compared" in page.text and "Look for rows in two splits." in page.text
    assert "3.1 before" in page.text and "3.9 after" in page.text
    # loss, two scores, rate, norm, throughput, memory, calibration, lengths
    assert page.tags["svg"] == 9
    html = report.make([tmp_path / "run"])
    for level in ("stop", "warn", "not run", "ok"):
        assert f">{level}<" in html
    for text in (
        "accuracy",
        "majority class",
        "97 % sure",
        "ftp-leakage",
        "1.2.3",
        'plugins = ["lora", "sentiment"]',
    ):
        assert text in page.text


def test_the_terminal_says_the_same_in_the_same_order(tmp_path: Path) -> None:
    from io import StringIO

    from rich.console import Console

    from ftp.report import outcome

    outcome.verdicts(Console(file=(out := StringIO()), width=1000), RISKS)
    terminal, page = out.getvalue(), Page(report.make([make(tmp_path / "run")]))
    names = re.findall(r"^  (STOP|WARN|not run|note|ok) +(\w+):", terminal, re.MULTILINE)
    assert [(name, level.lower().replace(" ", "_")) for level, name in names] == page.verdicts
    for risk in RISKS:
        assert risk.finding in terminal and risk.finding in page.text
        assert all(line in terminal and line in page.text for line in risk.advice)


def test_text_from_rows_and_plugins_stays_text(tmp_path: Path) -> None:
    text = report.make([make(tmp_path / "run")])
    assert "<script" not in text and "onclick=\"" not in text
    page = Page(text)
    for text_before in ("a row with ", "such as ", "told ", "ftp data clean "):
        assert text_before + EVIL in page.text


def test_side_by_side(tmp_path: Path) -> None:
    less = make(tmp_path / "less", risks=RISKS[:2], accuracy=0.7)
    (less / paths.RECIPE).write_text("seed = 1\n")
    page = self_contained(text := report.make([make(tmp_path / "more"), less]))
    assert page.verdicts.count(("leakage", "stop")) == 2
    assert [check for check, _ in page.verdicts].count("leakage") == 2
    assert "This run has no such verdict." in page.text
    assert "<b>0.8</b>" in text and "<b>0.7</b>" not in text
    assert re.search(r"seed</th><td>0</td><td>1</td>", text)
    assert "Loss: validation" in page.text


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    text = report.make([make(tmp_path / "a" / "run"), make(tmp_path / "b" / "run")])
    assert str(tmp_path / "a" / "run") in text and str(tmp_path / "b" / "run") in text


def test_a_run_that_was_stopped_before_training(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    Folder(folder).write_recipe("seed = 0\n")
    Folder(folder).write_facts(status="stopped", reason="risk leakage: stop")
    Folder(folder).write_risks(RISKS[:1])
    page = self_contained(report.make([folder]))
    assert "not finished" in page.text and "risk leakage: stop" in page.text
    assert page.verdicts == [("leakage", "stop")]
    assert not page.tags["svg"]


def test_a_run_without_verdicts_says_that_nothing_is_known(tmp_path: Path) -> None:
    assert "No check has spoken" in Page(report.make([make(tmp_path / "run", risks=())])).text


def test_a_long_run_stays_small(tmp_path: Path) -> None:
    many = Risk(
        "leakage", "warn", "many", {"rows": [[number, f"row {number}"] for number in range(5000)]}
    )
    folder = make(tmp_path / "run", steps=6000, classes=77, rows=3000, risks=[many])
    text = report.make([folder])
    page = self_contained(text)
    assert len(text) < 1_000_000
    assert "(5000 in all)" in page.text
    assert "Mixed up most" in page.text  # 77 classes are no matrix that can be read


def test_the_same_folder_gives_the_same_page(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    assert report.make([folder]) == report.make([folder])


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run"):
        report.make([tmp_path])
    (make(tmp_path / "run") / paths.RISKS).write_text("{")
    with pytest.raises(UserError, match="damaged"):
        report.make([tmp_path / "run"])


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ftp.cli.main import call

    monkeypatch.chdir(tmp_path)
    first, second = make(tmp_path / "one"), make(tmp_path / "two")
    assert call(["report", "one"]) == 0 and (first / "report.html").exists()
    assert (
        call(["report", "one", "two"]) == 0
        and "2 runs side by side" in Path("beside.html").read_text()
    )
    assert call(["report", "two", "--out", "mine.html"]) == 0 and Path("mine.html").exists()
    assert not (second / "report.html").exists()
    assert call(["report", "one", "three", "four"]) == 2
    errors = capsys.readouterr().err
    assert "three: there is no such folder" in errors
    assert "four: there is no such folder" in errors


def test_training_does_not_import_what_draws() -> None:
    code = ("import sys, ftp.runs.run, ftp.cli.run, ftp.cli.report, ftp_gate.command\n"
            "print(sorted({'matplotlib', 'jinja2', 'torch'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "planted",
    [
        '<img src="x.png">',
        "<script>1</script>",
        '<a href="https://example.org">x</a>',
        '<p onclick="x">x</p>',
        "<div>",
        "</p>",
        '<p id="twice"></p><p id="twice"></p>',
        '<svg><path style="fill: url(#nowhere)"/></svg>',
    ],
)
def test_a_page_that_needs_more_is_found(tmp_path: Path, planted: str) -> None:
    text = report.make([make(tmp_path / "run")])
    with pytest.raises(AssertionError):
        self_contained(text.replace("<main>", f"<main>{planted}", 1))
