"""`ftp install` and `ftp uninstall`: what a name means, what must stay, and every way to fail in words. Nothing is installed
here; tests/test_packages.py does that."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftp import UserError
from ftp.cli.main import call
from ftp.contract import install_command
from ftp.host import installer
from ftp.host.installer import Change, Tool
from ftp.plugins import packages

Plant = Callable[..., Path]
Out = pytest.CaptureFixture[str]

PLUGIN = """
    from ftp import plugin

    @plugin(kind="extra", {more})
    class {name}:
        "Does nothing."
"""
WITH_POEMS = {"poems": "ftp_planted_poems:Poems"}


@pytest.fixture
def poems(plant: Plant) -> Path:
    """An installed package, whose name does not say the plugin's."""
    return plant("ftp-verses", WITH_POEMS, {"ftp_planted_poems": PLUGIN.format(name="Poems", more="")}, requires="ftp-core>=0.1")


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been run: a tool that does nothing, well."""
    commands: list[list[str]] = []

    def run(words: list[str], show: object) -> tuple[int, str]:
        commands.append(list(words))
        if "--report" in words:
            Path(words[words.index("--report") + 1]).write_text(json.dumps({"install": []}))
        return 0, ""

    monkeypatch.setattr(installer, "_run", run)
    monkeypatch.setattr(installer, "tool", lambda: Tool("pip", ("python", "-m", "pip")))
    return commands


# --- names ---


@pytest.mark.parametrize(("name", "requirement"), [
    ("no-such", "ftp-no-such"),
    ("no_such", "ftp-no-such"),
    ("ftp-no-such", "ftp-no-such"),
    ("no-such>=0.2", "ftp-no-such>=0.2"),
    ("no-such[test]==1", "ftp-no-such[test]==1"),
    ("ftp-a:no-such", "ftp-a"),
    ("poems", "ftp-verses"),
    ("poems<3", "ftp-verses<3"),
    ("git+https://host/x.git@v1", "git+https://host/x.git@v1"),
    ("ftp-x @ https://host/x.whl", "ftp-x @ https://host/x.whl"),
    (".", "."),
])
def test_what_a_name_means(name: str, requirement: str, poems: Path) -> None:
    assert packages.requirement_of(name) == requirement


def test_a_package_by_its_own_name() -> None:
    assert packages.requirement_of("acme-suite>=2", exact=True) == "acme-suite>=2"


def test_every_wrong_name_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lora").mkdir()  # a bare word is no path, also where a folder is called so
    assert packages.requirement_of("lora") == "ftp-lora"
    assert call(["install", "a b", "./none", "x.whl", "-e", "lora", "-e", "./gone"]) == 2
    message = capsys.readouterr().err
    for words in ("5 things are wrong", "--editable ./gone: no such folder",
                  "a b: this is no name of a plugin", "./none: no such file", "x.whl: no such file",
                  "write ./lora"):
        assert words in message
    assert call(["install"]) == 2
    assert "nothing to install" in capsys.readouterr().err


# --- what the tool is asked ---


def test_core_and_its_libraries_keep_their_versions(tool: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import transformers

    kept = packages.kept_versions()
    assert {f"transformers=={transformers.__version__}", "ftp-core==0.1.0"} <= set(kept)
    assert any(line.startswith(f"torch=={torch.__version__}") for line in kept)
    asked: list[Any] = []
    monkeypatch.setattr(installer, "install", lambda *_, constraints, **__: asked.append(constraints) or [])
    assert call(["install", "lora"]) == 0 and call(["install", "lora", "--upgrade"]) == 0
    assert asked == [kept, []]


def test_where_packages_come_from_is_passed_on(
    tool: list[list[str]], capsys: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c").mkdir()
    flags = ["--no-index", "--find-links", "wheels", "--find-links", "more"]
    assert call(["install", "a", "b", "-e", "./c", "--dry-run", *flags]) == 0
    [words] = tool
    assert words[3] == "install" and words[4 : 4 + len(flags)] == flags and words[-4:] == ["--editable", "./c", "ftp-a", "ftp-b"]
    assert "--dry-run" in words and "--upgrade" not in words and "everything is installed already" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["pip", "uv"])
def test_damaged_files_are_installed_again_and_nothing_else(
    tool: list[list[str]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(installer, "tool", lambda: Tool(name, (name,)))
    assert call(["install", "lora", "--reinstall"]) == 0
    [words] = tool
    again = "--force-reinstall" if name == "pip" else "--reinstall"
    assert words[-3:] == [again, "--no-deps", "ftp-lora"]


@pytest.mark.parametrize(("requirement", "command"), [
    ("ftp-lora", "ftp install --upgrade ftp-lora"),
    ("Ftp.Lora", "ftp install --upgrade Ftp.Lora"),
    ("acme-suite", "ftp install --exact --upgrade acme-suite"),
    ("ftp-core<3,>=2", "ftp install --upgrade 'ftp-core<3,>=2'"),
])
def test_an_advised_command_asks_for_the_package_that_is_meant(requirement: str, command: str) -> None:
    assert install_command(requirement, "--upgrade") == command
    words = shlex.split(command)
    assert packages.requirement_of(words[-1], "--exact" in words).lower() == requirement.lower().replace(".", "-")


def test_no_message_advises_pip_where_ftp_install_does_it() -> None:
    """The environments of others (Optimum's, one without ftp in it) and what is no plugin's are left to pip."""
    root = Path(__file__).parents[2]
    allowed = {"installer.py", "install.py", "packages.py", "converters.py", "risk.py"}
    advising = []
    for folder in (root / "core" / "src", *root.glob("plugins/*/src")):
        for file in folder.rglob("*.py"):
            if file.name not in allowed and re.search("pip (un)?install", file.read_text(encoding="utf-8")):
                advising.append(file.name)
    assert advising == []


def test_lines_of_uv_are_read() -> None:
    output = "Resolved 2 packages\n + ftp-bb==0.1 (from file:///w/ftp_bb-0.1.whl)\n - libx==1.0\n + libx==2.0\n ~ Ftp_C==1\n"
    assert installer._changes_of_uv(output, {"libx": "1.0", "ftp-c": "1"}) == [
        Change("ftp-bb", "", "0.1", "file:///w/ftp_bb-0.1.whl"), Change("libx", "1.0", "2.0"), Change("ftp-c", "1", "1")]


def test_what_comes_without_a_plugin_is_told(
    plant: Plant, tool: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    plant("ftp-verses", {"verse": "x:X"}, {}, group="ftp.readers")
    plant("plain", {}, {}, group="console_scripts")
    changes = [Change("ftp-verses", "", "1.0"), Change("plain", "0.9", "1.0")]
    monkeypatch.setattr(installer, "install", lambda *_, **__: changes)
    assert call(["install", "verses"]) == 0
    output = capsys.readouterr().out
    assert "ftp-verses brings file formats: verse" in output and "changed    plain 0.9 -> 1.0" in output
    monkeypatch.setattr(installer, "install", lambda *_, **__: changes[1:])
    assert call(["install", "--exact", "plain>=1"]) == 0  # libraries are asked for by their own names
    message = capsys.readouterr().err
    assert "plain brings nothing that ftp looks for" in message and "pip uninstall plain" in message


# --- where nothing can be installed ---


def test_a_python_of_the_system_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert call(["install", "lion"]) == 2
    message = capsys.readouterr().err
    assert "is managed by the system" in message and "try: python3 -m venv .venv" in message


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert call(["uninstall", "lion"]) == 2
    assert "there is no right to write in" in capsys.readouterr().err


@pytest.mark.parametrize(("uv", "has_pip", "is_of_uv", "name"), [
    ("/bin/uv", True, True, "uv"), ("/bin/uv", True, False, "pip"), ("/bin/uv", False, False, "uv"), (None, True, True, "pip"),
    (None, False, True, ""),
])
def test_what_installs_is_what_made_the_environment(
    uv: str | None, has_pip: bool, is_of_uv: bool, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\n" + ("uv = 0.9\n" if is_of_uv else ""))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: uv)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if has_pip else None)
    if name:
        assert installer.tool().name == name
        assert name == "pip" or sys.executable in installer.tool().environment
    else:
        with pytest.raises(UserError, match="has no pip, and the command uv is not found"):
            installer.tool()


# --- what the tools say, as they say it ---

PIP_CONFLICT = """ERROR: Cannot install ftp-bb==0.1 because these package versions have conflicting dependencies.

The conflict is caused by:
    ftp-bb 0.1 depends on libx>=2
    The user requested (constraint) libx==1.0

ERROR: ResolutionImpossible: for help visit https://pip.pypa.io
"""
PIP_UNKNOWN = """ERROR: Could not find a version that satisfies the requirement ftp-zz (from versions: none)
ERROR: No matching distribution found for ftp-zz
"""
PIP_LACKS = "ERROR: Could not find a version that satisfies the requirement libx (from ftp-zz) (from versions: none)\n"
PIP_NO_NETWORK = """WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)': /simple/ftp-zz/
ERROR: Could not find a version that satisfies the requirement ftp-zz (from versions: none)
"""
PIP_VERSION = "ERROR: Could not find a version that satisfies the requirement ftp-aa>=5 (from versions: 0.1, 0.2)\n"
PIP_PYTHON = "ERROR: Package 'ftp-zz' requires a different Python: 3.11.7 not in '>=3.99'\n"
UV_CONFLICT = """error: No solution found when resolving dependencies
  cause: Because all versions of ftp-bb depend on libx>=2 and libx==1.0, we can conclude that ftp-bb cannot be used.
         And because you require ftp-bb, we can conclude that your requirements are unsatisfiable.
"""
UV_UNKNOWN = """error: No solution found when resolving dependencies
  cause: Because ftp-zz was not found in the package registry and you require ftp-zz, we can conclude that ...
"""
UV_LACKS = """error: No solution found when resolving dependencies
  cause: Because libx was not found in the provided package locations and ftp-zz==0.1 depends on libx, we can conclude that ...
"""
UV_VERSION = """error: No solution found when resolving dependencies
  cause: Because only ftp-aa<=0.2 is available and you require ftp-aa>=5, we can conclude that ...
"""
UV_NO_NETWORK = "error: Request failed after 3 retries in 5.7s\n  cause: Failed to fetch: http://host/simple/ftp-zz/\n"
BUILD = "Building wheel for ftp-zz\nerror: subprocess-exited-with-error\nERROR: Failed to build 'ftp-zz'\n"


@pytest.mark.parametrize(("output", "words"), [
    (PIP_CONFLICT, ["ftp-bb 0.1 depends on libx>=2", "installed is libx==1.0", "ftp install ftp-zz --upgrade --dry-run"]),
    (UV_CONFLICT, ["does not go with what is installed", "depend on libx>=2 and libx==1.0", "ftp-zz --upgrade --dry-run"]),
    (PIP_UNKNOWN, ["there is no package ftp-zz", "ftp install --exact PACKAGE"]),
    (UV_UNKNOWN, ["there is no package ftp-zz", "ftp install --exact PACKAGE"]),
    (PIP_LACKS, ["it needs libx, which is not to be had there", "ftp install ftp-zz --extra-index-url URL"]),
    (UV_LACKS, ["it needs libx, which is not to be had there", "ftp install ftp-zz --extra-index-url URL"]),
    (PIP_VERSION, ["there is no such version; there are: 0.1, 0.2"]),
    (UV_VERSION, ["there is no such version; there are: ftp-aa<=0.2"]),
    (PIP_NO_NETWORK, ["cannot be reached", "ftp install ftp-zz --no-index --find-links FOLDER"]),
    (UV_NO_NETWORK, ["cannot be reached", "ftp install ftp-zz --no-index --find-links FOLDER"]),
    (PIP_PYTHON, ["it needs another Python than", "not in '>=3.99'"]),
    (BUILD, ["Failed to build 'ftp-zz'", "python -m pip install ftp-zz"]),
    ("OSError: [Errno 28] No space left on device", ["the disk is full"]),
    ("ERROR: [Errno 13] Permission denied: '/usr/x'", ["Permission denied: '/usr/x'", "python3 -m venv .venv"]),
    ("", ["it said nothing"]),
])
def test_why_it_failed_is_told_in_words(output: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "_run", lambda *_: (1, output))
    with pytest.raises(UserError) as failure:
        installer.install(Tool("pip", ("python", "-m", "pip")), ["ftp-zz"])
    for part in words:
        assert part in str(failure.value)


def test_with_upgrade_a_conflict_is_one_of_the_packages() -> None:
    problem = installer._why(PIP_CONFLICT, ["x"], True, Tool("pip", ("pip",)))
    assert "--upgrade" not in problem.command and "an environment of its own" in problem.fix


# --- removing ---


def test_what_cannot_be_removed_is_told_at_once(tool: list[list[str]], capsys: Out, plant: Plant, poems: Path) -> None:
    plant("ftp-prose", {"prose": "x:X"}, {}, requires="ftp-verses>=1")
    assert call(["uninstall", "poems", "ftp-core", "step", "torch", "peoms"]) == 2
    message = capsys.readouterr().err
    for words in ("5 things are wrong", "uninstall ftp-core: ftp-core is ftp itself", "uninstall step: ftp-core is ftp itself",
                  "the package torch brings nothing", "did you mean 'poems'?", "ftp-prose depends on ftp-verses"):
        assert words in message
    assert not tool


def test_a_package_goes_with_those_that_depend_on_it(
    tool: list[list[str]], capsys: Out, plant: Plant, poems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("ftp-prose", {"prose": "ftp_planted_prose:Prose"},
          {"ftp_planted_prose": PLUGIN.format(name="Prose", more='requires="poems"')})
    assert call(["uninstall", "poems", "--dry-run"]) == 0 and not tool
    output = capsys.readouterr()
    assert "would be removed    ftp-verses 1.0  with poems" in output.out
    assert "plugin 'prose' requires poems" in output.err
    assert call(["uninstall", "poems", "ftp-prose", "--dry-run"]) == 0
    assert not capsys.readouterr().err


def test_what_the_tool_leaves_behind_is_no_success(tool: list[list[str]], capsys: Out, poems: Path) -> None:
    """pip ends well where it may not remove a package."""
    assert call(["uninstall", "poems"]) == 2
    assert "could not remove ftp-verses" in capsys.readouterr().err
    assert tool == [["python", "-m", "pip", "uninstall", "--yes", "--disable-pip-version-check", "ftp-verses"]]
