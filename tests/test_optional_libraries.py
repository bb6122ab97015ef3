"""Tests that need a library beside ftp's own dependencies are skipped where it is missing. Here is the list of these libraries:
development and CI install all of them (requirements.txt), so that a comparison with another library is never skipped unseen."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from ftp.plugin_info import declaration_of
from ftp.plugins.find import installed

ROOT = Path(__file__).parent.parent

LIBRARIES = {
    "bitsandbytes": "bitsandbytes",
    "optuna": "optuna",
    "peft": "peft",
    "sentence_transformers": "sentence-transformers",
    "trl": "trl",
}
"""Import name -> name in requirements.txt."""
STANDARD = {"resource"}
"""Modules of Python itself that some systems lack."""


def skipped_without() -> Iterator[tuple[Path, str]]:
    """Each test file that skips tests where a library is missing, with the library's import name."""
    for file in sorted({*ROOT.glob("tests/**/*.py"), *ROOT.glob("core/tests/**/*.py"), *ROOT.glob("plugins/*/tests/**/*.py")}):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("importorskip"):
                assert isinstance(node.args[0], ast.Constant), f"{file}: name the library in the call"
                yield file, str(node.args[0].value).partition(".")[0]


def test_the_list_names_every_library_that_tests_are_skipped_without() -> None:
    in_tests = {library for _, library in skipped_without()}
    in_plugins: set[str] = set()  # the kit and the grid leave out a plugin whose `needs` are missing
    for _, plugin in installed():
        in_plugins.update(declaration_of(plugin).needs)
    assert in_tests - STANDARD | in_plugins == set(LIBRARIES)


def test_development_installs_them() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[<>=!~;\[ ]", line)[0] for line in lines if not line.startswith("#")}
    assert set(LIBRARIES.values()) <= names


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_is_installed(library: str) -> None:
    assert find_spec(library) is not None, (
        f"{LIBRARIES[library]} is not installed, so tests are skipped: pip install -c constraints.txt -r requirements.txt"
    )
