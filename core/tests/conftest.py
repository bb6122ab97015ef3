"""What several tests of core need: distributions planted on a path, without installing anything."""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ["FTP_STATE"] = tempfile.mkdtemp(prefix="ftp-tests-")  # not the file of whoever runs the tests

Plant = Callable[..., Path]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """`plant("ftp-x", {"x": "ftp_x:X"}, {"ftp_x": source})` makes a distribution that Python finds; gives its folder."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def make(
        distribution: str, points: dict[str, str], modules: dict[str, str], *, version: str = "1.0", group: str = "ftp",
        requires: str = "",
    ) -> Path:
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        requirement = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{requirement}")
        (info / "entry_points.txt").write_text(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items()))
        for name, source in modules.items():
            (site / f"{name}.py").write_text(textwrap.dedent(source))
        return site

    yield make
    for name in set(sys.modules) - before:
        if name.startswith(("ftp_planted", "ftp_plugins_from")):
            del sys.modules[name]
