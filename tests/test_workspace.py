"""Every package of the workspace is one that can be published, found and installed by itself, with pip and with uv."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT / "core", *sorted(file.parent for file in (ROOT / "plugins").glob("*/pyproject.toml"))]


def read(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_package_has_what_it_needs(folder: Path) -> None:
    project = read(folder / "pyproject.toml")["project"]
    assert project["requires-python"] == ">=3.11" and "Apache-2.0" in str(project["license"])
    assert (folder / "README.md").read_text(encoding="utf-8").strip() and list((folder / "tests").rglob("test_*.py"))
    if folder.name != "core":
        points = project["entry-points"]
        assert points.get("ftp") or points.get("ftp.models"), "an entry point by which it is found"
        for targets in points.values():
            for target in targets.values():
                module = target.partition(":")[0].replace(".", "/")
                assert list((folder / "src").glob(f"{module}.py")) or (folder / "src" / module).is_dir(), target
    else:
        assert project["scripts"]["ftp"] == "ftp_command:main"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_dependencies_are_ranges_and_those_of_the_workspace_are_known_to_uv(folder: Path) -> None:
    project, sources = read(folder / "pyproject.toml")["project"], read(ROOT / "pyproject.toml")["tool"]["uv"]["sources"]
    for line in [*project["dependencies"], *(one for more in project.get("optional-dependencies", {}).values() for one in more)]:
        assert "==" not in line and ">" in line, line
        name = re.match(r"[\w.-]+", line)
        assert name is not None
        if name[0].startswith("ftp-"):
            assert sources.get(name[0]) == {"workspace": True}, f"tool.uv.sources in pyproject.toml lacks {name[0]}"


def test_tested_versions_are_written_down() -> None:
    """constraints.txt pins what the packages depend on; the root pins nothing of its own."""
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
              if "==" in line}
    wanted = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-")
              for folder in FOLDERS for line in read(folder / "pyproject.toml")["project"]["dependencies"]}
    assert not {name for name in wanted if not name.startswith("ftp-")} - pinned
    assert "constraint-dependencies" not in read(ROOT / "pyproject.toml")["tool"]["uv"]
