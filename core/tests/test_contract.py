"""A plugin runs with the versions of core that its own package admits, and with no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ftp import UserError, contract
from ftp.cli.main import call
from ftp.contract import refusal, required_core
from ftp.plugins.find import discover, pick

Plant = Callable[..., Path]
SOURCE = """
    from ftp import plugin

    @plugin(kind="extra")
    class Poems:
        "Likes poems."
"""


@pytest.mark.parametrize(("lines", "versions"), [
    ("Requires-Dist: ftp-core<1,>=0.1", "<1,>=0.1"),
    ("Requires-Dist: ftp_core (>=0.1)", ">=0.1"),
    ('Requires-Dist: FTP.Core>=0.1 ; python_version >= "3.11"', ">=0.1"),
    ("Requires-Dist: ftp-core", ""),
    ("Requires-Dist: ftp-core-extras<1", ""),
    ('Requires-Dist: ftp-core<0.1; extra == "old"', ""),
    ("Requires-Dist: peft>=0.17\nRequires-Dist: ftp-core~=0.1", "~=0.1"),
])
def test_the_versions_of_core_are_read_from_the_head_of_metadata(lines: str, versions: str) -> None:
    assert required_core(f"Metadata-Version: 2.1\nName: ftp-x\n{lines}\n") == versions


@pytest.mark.parametrize("versions", ["", ">=0.1,<1", "~=0.1", "==0.*", ">=0.0.1"])
def test_a_range_that_holds_the_installed_core_is_fine(versions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal("ftp-x 1.0", "ftp-x", versions) is None
    monkeypatch.setattr(contract, "VERSION", "0.2.0.dev3")  # what is being worked on counts too
    assert refusal("ftp-x 1.0", "ftp-x", versions) is None


@pytest.mark.parametrize(("requires", "why", "command"), [
    ("ftp-core<0.1", "made for an older ftp", "ftp install --upgrade ftp-planted-a"),
    ("ftp-core==0.0.*", "made for an older ftp", "ftp install --upgrade ftp-planted-a"),
    ("ftp-core>=2,<3", "this ftp is too old", "ftp install --upgrade 'ftp-core>=2,<3'"),
    ("ftp-core==3.*", "this ftp is too old", "ftp install --upgrade 'ftp-core==3.*'"),
    ("ftp-core>=two", "no range of versions", "ftp install --upgrade ftp-planted-a"),
])
def test_a_plugin_for_another_core_is_refused_before_it_is_imported(
    plant: Plant, requires: str, why: str, command: str
) -> None:
    source = "raise SystemExit('was imported')"
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": source}, requires=requires)
    with pytest.raises(UserError) as caught:
        pick(["poems"])
    (problem,) = caught.value.problems
    assert problem.what.startswith(f"plugin 'poems' of ftp-planted-a 1.0 requires {requires.replace('core', 'core ', 1)}")
    assert why in f"{problem.what} {problem.fix}" and problem.command == command


def test_a_plugin_for_this_core_is_taken(plant: Plant) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": SOURCE}, requires="ftp-core>=0.1,<1")
    assert discover()["poems"][0].core_versions == ">=0.1,<1"
    assert "poems" in [plugin.name for plugin in pick(["poems"])]


def test_the_list_of_plugins_says_what_is_refused_and_goes_on(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    plant("ftp-planted-a", {"poems": "ftp_planted_a:Poems"}, {"ftp_planted_a": SOURCE}, requires="ftp-core>=2")
    assert call(["plugins"]) == 0
    printed = capsys.readouterr()
    assert "poems" in printed.out and "lora" in printed.out
    assert "requires ftp-core >=2, but 0.1.0 is installed (contract 2.0)" in printed.err
