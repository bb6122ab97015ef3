"""The key of encoded rows holds the source of the loss: rows of an earlier version of it are never taken for its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftp.answers.carried_functions import with_checked_functions
from ftp.answers.origin import Source
from ftp.answers.source_code import digest_of

ONE_CLASS = """
from ftp.types import Loss

class Mine(Loss):
    key = "mine"

    def encode(self, rows):
        return [{{"input_ids": [{token}]}} for row in rows]

def make():
    return Mine()
"""
CLOSURES = """
from ftp.losses import wrapped
from ftp_made.inner import Inner

def make():
    inner = Inner()

    def encode(rows):
        return inner.encode(rows)

    return wrapped(inner, encode=encode, ask=encode)
"""
INNER = """
from ftp.types import Loss
from ftp_made.tokens import token

class Inner(Loss):
    key = "mine"

    def encode(self, rows):
        return [{"input_ids": [token()]} for row in rows]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("ftp_made")]:
        del sys.modules[name]


def key_of(module: str) -> str:
    """The key of the loss that a module makes, as a run has it."""
    forget()
    importlib.invalidate_caches()
    loss: Any = with_checked_functions(importlib.import_module(module).make(), Source("mine", "ftp-made"))
    return str(loss.key)


def test_an_edited_loss_has_another_key(site: Path) -> None:
    file = site / "ftp_made.py"
    file.write_text(ONE_CLASS.format(token=1))
    (site / "beside.py").write_text("a = 1\n")
    first = key_of("ftp_made")
    assert first.startswith("mine-") and key_of("ftp_made") == first
    (site / "beside.py").write_text("a = 2\n")  # no part of any package
    assert key_of("ftp_made") == first
    file.write_text(ONE_CLASS.format(token=2))
    assert key_of("ftp_made") != first


@pytest.mark.parametrize("edited", ["__init__.py", "inner.py", "tokens.py"])
def test_every_module_beside_a_loss_made_of_functions_counts(site: Path, edited: str) -> None:
    package = site / "ftp_made"
    package.mkdir()
    files = {"__init__.py": "", "losses.py": CLOSURES, "inner.py": INNER, "tokens.py": "def token():\n    return 1\n"}
    for name, text in files.items():
        (package / name).write_text(text)
    first = key_of("ftp_made.losses")
    (package / edited).write_text(files[edited] + "\n# another version\n")
    assert key_of("ftp_made.losses") not in ("mine", first)


def test_a_loss_that_is_passed_on_keeps_its_key(site: Path) -> None:
    (site / "ftp_made.py").write_text(ONE_CLASS.format(token=1))
    loss: Any = with_checked_functions(importlib.import_module("ftp_made").make(), Source("mine", "ftp-made"))
    again: Any = with_checked_functions(loss, Source("other", "ftp-other"))
    assert again.key == loss.key


def test_what_a_function_holds_of_another_package_counts(site: Path) -> None:
    """As `choice` is made of core's loss of labels."""
    for name, token in (("ftp_made_a", 1), ("ftp_made_b", 2)):
        (site / f"{name}.py").write_text(ONE_CLASS.format(token=token))
    first, second = (importlib.import_module(name).make() for name in ("ftp_made_a", "ftp_made_b"))

    def around(inner: Any) -> Any:
        def encode(rows: Any) -> Any:
            return inner.encode(rows)

        return encode

    assert digest_of([around(first)]) == digest_of([around(first)]) != digest_of([around(second)])
