"""Public names that come late, and names that have moved: an old one works, and warns with the line of who uses it."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from ftp import FtpDeprecationWarning
from ftp.deprecation import Moved, late_names


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with a late name and a moved one, which Python can import."""
    module = ModuleType("ftp_planted_public")
    moved = {"old_nearest": Moved("ftp.errors:nearest", "0.4")}
    module.__getattr__ = late_names("ftp_planted_public", {"join": "os.path:join"}, moved)  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "ftp_planted_public", module)
    return module


def test_a_moved_name_works_and_warns_at_the_line_of_its_user(module: ModuleType) -> None:
    from ftp.errors import nearest

    with pytest.warns(FtpDeprecationWarning) as caught:
        from ftp_planted_public import old_nearest
    assert old_nearest is nearest
    assert str(caught[0].message) == (
        "ftp_planted_public.old_nearest is ftp.errors.nearest now; the old name goes in ftp-core 0.4")
    assert caught[0].filename == __file__


def test_a_late_name_does_not_warn(module: ModuleType, recwarn: pytest.WarningsRecorder) -> None:
    import os.path

    assert module.join is os.path.join and not recwarn.list


def test_a_name_that_never_was_is_an_attribute_error(module: ModuleType) -> None:
    with pytest.raises(AttributeError, match="'ftp_planted_public' has no attribute 'jion'"):
        _ = module.jion


def test_public_modules_that_are_light_import_no_torch() -> None:
    modules = "ftp, ftp.types, ftp.forms, ftp.heads, ftp.data, ftp.losses, ftp.metrics, ftp.risks, ftp.train, ftp.net"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
