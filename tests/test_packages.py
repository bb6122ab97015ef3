"""Packages of others: what `ftp new` writes, and the example of a third party. Each is built into a wheel and installed into
an environment that has core, the kit and the libraries, and no other plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ftp.errors import UserError
from ftp_testing import new
from ftp_testing.kit import fitting
from ftp_testing.subject import find

ROOT = Path(__file__).resolve().parents[1]
KINDS = tuple(new.EXAMPLES)
EXTRA = f"{new.TEMPLATE / 'extra.py'}:PluginName"

SEVERAL = """
import json, sys
from ftp.cli.main import call

sys.exit(max(call(words) for words in json.loads(sys.argv[1])))
"""
"""Several `ftp` commands of one process, which imports torch once."""


def pip(command: str, *words: str) -> None:
    """Offline, and the package alone."""
    done = subprocess.run([sys.executable, "-m", "pip", command, "-q", "--no-deps", "--no-index", *words], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr


def build(folder: Path, *sources: Path) -> list[Path]:
    """Wheels, offline, with the build backend that is installed."""
    for source in sources:
        pip("wheel", "--no-build-isolation", "-w", str(folder), str(source))
    return sorted(folder.glob("*.whl"))


class House:
    """An environment of its own: the libraries of this one, without any package of ftp but those that are put in."""

    def __init__(self, folder: Path, wheels: list[Path]) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        self.site = next(folder.glob("lib/python*/site-packages"))
        for library in {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}:
            for entry in library.iterdir():
                if not entry.name.lstrip("_").startswith(("ftp", "editable___ftp")) and entry.suffix != ".pth":
                    (self.site / entry.name).symlink_to(entry)
        self.install(*wheels)

    def install(self, *wheels: Path) -> None:
        pip("install", "--target", str(self.site), *map(str, wheels))

    def do(self, *words: str, folder: Path) -> str:
        """`python WORDS` in there; what it said. Fails where it did not end with 0."""
        done = self.run(words, folder)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def fail(self, *words: str, folder: Path) -> str:
        """What `python WORDS` said on standard error, where it ended with the status of a user's mistake."""
        done = self.run(words, folder)
        assert done.returncode == 2, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stderr

    def run(self, words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run `python WORDS` in there, without what this process has set for itself."""
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
        environment = {**clean, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return subprocess.run([str(self.python), *words], cwd=folder, env=environment, capture_output=True, text=True,
                              timeout=600)

    def plugins(self, folder: Path) -> set[str]:
        """Names of the plugins that are known there, those of core aside."""
        listed = json.loads(self.do("-m", "ftp", "plugins", "--json", folder=folder))
        return {one["name"] for one in listed if one["distribution"] != "ftp-core"}


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Core and the kit."""
    return build(tmp_path_factory.mktemp("core"), ROOT / "core", ROOT / "plugins" / "testing")


# --- what `ftp new` writes ---


GIT = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": 'Ann "Q" Author',
       "GIT_CONFIG_KEY_1": "github.user", "GIT_CONFIG_VALUE_1": "an-account"}
"""What git has been told in the tests."""


def write(folder: Path, name: str, kind: str) -> Path:
    words = [name, "--kind", kind, "--out", str(folder / f"ftp-{name}")]
    done = CliRunner(env=GIT).invoke(new.command, words, standalone_mode=False)
    assert done.exception is None, done.exception
    assert f"ftp check {name}" in done.output
    return folder / f"ftp-{name}"


@dataclass(frozen=True)
class Written:
    """What `ftp new` wrote of each kind, and the environment in which all of it is installed."""

    folders: dict[str, Path]
    house: House


@pytest.fixture(scope="module")
def written(core: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("new")
    folders = {kind: write(folder, f"my-{kind}", kind) for kind in KINDS}
    house = House(folder / "house", core + build(folder / "wheels", *folders.values()))
    return Written(folders, house)


@pytest.fixture(scope="module")
def checked(written: Written, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Kind -> check -> how it ended, in one process. Of the extra, a schedule, without the checks that start processes."""
    folder = tmp_path_factory.mktemp("checked")
    assert written.house.plugins(folder) == {f"my-{kind}" for kind in KINDS}
    own_processes = {"survives-kill", "two-processes-are-one"}
    in_process = [check.name for check in fitting(find(EXTRA)) if check.name not in own_processes]
    commands = [["check", *(f"my-{kind}" for kind in KINDS if kind != "extra"), "--json"],
                ["check", "my-extra", "--json", *(word for name in in_process for word in ("--only", name))]]
    said = written.house.do("-c", SEVERAL, json.dumps(commands), folder=folder)
    reports = json.loads(said.replace("\n]\n[\n", ",\n"))  # of two commands
    return {report["kind"]: {one["check"]: one["status"] for one in report["outcomes"]} for report in reports}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_passes_the_kit(kind: str, checked: dict[str, dict[str, str]]) -> None:
    own = {"objective": "totals-are-sums", "parameterisation": "only-trained-weights-move", "domain": "right-answers-score-best",
           "risk": "nothing-compared-is-not-ok", "extra": "same-seed-same-run"}
    assert checked[kind][own[kind]] == "ok" and "failed" not in checked[kind].values()


def test_the_quick_tests_that_are_written_pass(written: Written, tmp_path: Path) -> None:
    """Those that `pytest -m "not slow and not gpu"` takes; the others are the kit, which is asked above."""
    tests = [str(folder / "tests") for folder in written.folders.values()]
    config = written.folders["extra"] / "pyproject.toml"
    said = written.house.do("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(config), "--rootdir", str(tmp_path),
                            "--import-mode=importlib", "-m", "not slow and not gpu", *tests, folder=tmp_path)
    assert "10 passed" in said and "deselected" in said


def test_what_is_written_has_style_and_types(written: Written) -> None:
    """By the settings that are written with it, as its CI does."""
    for folder in written.folders.values():
        checked = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "."], cwd=folder, capture_output=True,
                                 text=True)
        assert checked.returncode == 0, checked.stdout
    config = written.folders["extra"] / "pyproject.toml"
    sources = [str(folder / "src") for folder in written.folders.values()]
    typed = subprocess.run([sys.executable, "-m", "mypy", "--config-file", str(config), *sources], cwd=config.parents[1],
                           capture_output=True, text=True)
    assert typed.returncode == 0, typed.stdout + typed.stderr


def test_a_wheel_of_it_has_licence_types_and_addresses(written: Written) -> None:
    from importlib.metadata import Distribution

    info = next(written.house.site.glob("ftp_my_domain-*.dist-info"))
    about = Distribution.at(info).metadata
    assert about["License-Expression"] == "MIT" and (info / "licenses" / "LICENSE").is_file()
    assert about.get_all("Project-URL") == [
        "Homepage, https://github.com/an-account/ftp-my-domain", "Issues, https://github.com/an-account/ftp-my-domain/issues"]
    assert about["Author"] == 'Ann "Q" Author'
    assert (written.house.site / "ftp_my_domain" / "py.typed").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_complete(kind: str) -> None:
    files = new.files("my-own", kind)
    assert {"pyproject.toml", "README.md", "LICENSE", ".gitignore", ".github/workflows/ci.yml", "src/ftp_my_own/__init__.py",
            "src/ftp_my_own/py.typed", "tests/test_my_own.py", "tests/test_contract.py"} <= set(files)
    assert 'my-own = "ftp_my_own:MyOwn"' in files["pyproject.toml"]
    assert "conformance(\"my-own\")" in files["tests/test_contract.py"]
    words = [*new._words("my-own", kind, new.Author()), "PLUGIN"]
    assert not [word for text in files.values() for word in words if word in text]
    assert max(len(line) for path, text in files.items() if path.endswith(".py") for line in text.splitlines()) <= 110


def test_ci_does_what_the_settings_are_for() -> None:
    files = new.files("my-own", "extra")
    settings = tomllib.loads(files["pyproject.toml"])
    job = yaml.safe_load(files[".github/workflows/ci.yml"])["jobs"]["test"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands[-4:] == ["ruff check .", "mypy", 'pytest -m "not gpu" --ignore tests/test_contract.py', "ftp check my-own"]
    assert {"ruff", "mypy", "pytest"} <= settings["tool"].keys() and "dev" in settings["project"]["optional-dependencies"]
    markers = [line.partition(":")[0] for line in settings["tool"]["pytest"]["ini_options"]["markers"]]
    assert markers == ["slow", "gpu"]


@pytest.mark.usefixtures("nobody")
def test_where_git_knows_nobody_the_placeholders_are_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(new.command, ["mine", "--kind", "extra", "--out", str(tmp_path / "mine")])
    assert f"fill in:     {new.AUTHOR} and {new.ACCOUNT}" in done.output
    for file in ("README.md", "LICENSE", "pyproject.toml"):
        assert new.AUTHOR in (tmp_path / "mine" / file).read_text(encoding="utf-8")
    assert new.ACCOUNT in (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user who has told git nothing."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "says"), [
    ("My Loss", "as in 'my-loss'"), ("2nd", "as in 'nd'"), ("loss_x", "as in 'loss-x'"), ("-", "a letter first"),
    ("a--b", "as in 'a-b'"), ("lora", "offers a plugin of this name"), ("step", "ftp-core .* offers a plugin"),
    ("data", "core has an option of this name"), ("batch-size", "core has an option"), ("plugins", "core has an option"),
    ("preference", "there is a package ftp_preference"),
])
def test_a_name_that_cannot_be_is_told(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        CliRunner().invoke(new.command, ["--kind", "risk", "--out", str(tmp_path / "x"), "--", name], standalone_mode=False,
                           catch_exceptions=False)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["none", "data-x", "loss", "any", "a"])
def test_the_class_has_a_name_of_its_own(name: str) -> None:
    for kind in KINDS:
        text = new.files(name, kind)[f"src/ftp_{name.replace('-', '_')}/__init__.py"]
        compile(text, name, "exec")
        (defined,) = [line.split()[1].rstrip(":") for line in text.splitlines() if line.startswith("class ")]
        assert f"import {defined}\n" not in text and f", {defined}," not in text


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError) as told:
        CliRunner().invoke(new.command, ["Not So", "--kind", "risk", "--out", str(tmp_path)], standalone_mode=False,
                           catch_exceptions=False)
    assert len(told.value.problems) == 2 and "is there already" in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# --- `ftp install` and `ftp uninstall` ---

LIBRARY = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"
dependencies = [{depends}]

[project.entry-points.ftp]
{points}

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
"""
VERSE = """
from ftp import option, plugin

@plugin(kind="extra")
class Verse:
    "Counts feet."
    feet: int = option(5, "feet in a line", low=1)
"""


def wheel(folder: Path, name: str, version: str, depends: str = "", *, code: str = "", points: str = "") -> None:
    """A small package, built into `folder`."""
    source = folder / f"{name}-{version}"
    source.mkdir(parents=True)
    module = name.replace("-", "_")
    (source / f"{module}.py").write_text(code)
    words = {"name": name, "version": version, "depends": depends, "module": module, "points": points}
    (source / "pyproject.toml").write_text(LIBRARY.format(**words))
    build(folder, source)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels: a plugin, what it needs, and one that does not go with this core."""
    folder = tmp_path_factory.mktemp("shelf")
    wheel(folder, "feet-count", "1.0")
    wheel(folder, "ftp-verse", "0.3", '"ftp-core>=0.1,<1", "feet-count"', code=VERSE, points='verse = "ftp_verse:Verse"')
    wheel(folder, "ftp-late", "0.1", '"ftp-core>=7"')
    return folder


def test_a_plugin_comes_and_goes(core: list[Path], shelf: Path, tmp_path: Path) -> None:
    """With pip itself, and no index: installed by its name with what it needs, shown, removed."""
    house = House(tmp_path / "house", [wheel for wheel in core if wheel.name.startswith("ftp_core-")])
    source = ["--no-index", "--find-links", str(shelf)]
    commands = [["install", "verse", "--dry-run", *source], ["install", "verse", *source], ["install", "verse", *source]]
    said = house.do("-c", SEVERAL, json.dumps(commands), folder=tmp_path)
    lines = said.splitlines()
    told = sorted(line.partition("  from file://")[0] for line in lines[:4])
    assert told == ["installed  feet-count 1.0", "installed  ftp-verse 0.3",
                    "would be installed  feet-count 1.0", "would be installed  ftp-verse 0.3"]
    assert "verse (extra), from ftp-verse 0.3" in said and "--verse.feet" in said
    assert lines[-1].startswith("everything is installed already") and house.plugins(tmp_path) == {"verse"}

    failed = json.dumps([["install", "late", *source], ["install", "nowhere", *source]])
    told = house.fail("-c", SEVERAL, failed, folder=tmp_path)
    assert "does not go with what is installed" in told and "ftp-late 0.1 depends on ftp-core>=7" in told
    assert "installed is ftp-core==0.1.0" in told and "there is no package ftp-nowhere" in told and "Traceback" not in told

    assert "removed    ftp-verse 0.3  with verse" in house.do("-m", "ftp", "uninstall", "verse", folder=tmp_path)
    assert house.plugins(tmp_path) == set()


# --- core alone ---


def test_core_with_one_method_and_one_domain_is_enough(core: list[Path], tiny_bert: Path, tmp_path: Path) -> None:
    """Without the kit and every other package of this repository."""
    core_alone = [wheel for wheel in core if wheel.name.startswith("ftp_core-")]
    others = build(tmp_path / "wheels", ROOT / "plugins" / "full", ROOT / "plugins" / "sentiment")
    house = House(tmp_path / "house", core_alone + others)
    out = tmp_path / "run"
    house.do("-m", "ftp", "run", "--plugins", "full,sentiment", "--model", str(tiny_bert), "--max-steps", "2",
             "--max-train-rows", "24", "--max-eval-rows", "8", "--no-verify", "--no-baselines", "--device", "cpu",
             "--cache-dir", str(tmp_path / "cache"), "--out", str(out), folder=tmp_path)
    assert (out / "model" / "config.json").exists() and (out / "report.html").exists()
    locked = (out / "plugins.lock").read_text()
    assert "ftp-full" in locked and "ftp-cpu" not in locked and "ftp-testing" not in locked


# --- the example of a third party ---


@pytest.fixture(scope="module")
def neftune(core: list[Path], tmp_path_factory: pytest.TempPathFactory) -> House:
    folder = tmp_path_factory.mktemp("neftune")
    return House(folder / "house", core + build(folder / "wheels", ROOT / "examples" / "neftune"))


def test_the_example_is_no_part_of_this_workspace() -> None:
    from ftp.plugins.find import discover

    assert "neftune" not in discover()


def test_the_example_passes_the_kit_with_core_alone(neftune: House, tmp_path: Path) -> None:
    assert neftune.plugins(tmp_path) == {"neftune"}
    said = neftune.do("-m", "ftp", "check", "neftune", folder=tmp_path)
    assert said.splitlines()[-1].endswith("checks, 0 failed") and "saves-what-it-trained" in said


def test_the_examples_own_tests_pass(neftune: House, tmp_path: Path) -> None:
    said = neftune.do("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path), "-k",
                      "not test_contract", str(ROOT / "examples" / "neftune" / "tests"), folder=tmp_path)
    assert "passed" in said


def test_the_example_goes_with_plugins_of_others(neftune: House, core: list[Path], tiny_bert: Path, tmp_path: Path) -> None:
    neftune.install(*build(tmp_path / "wheels", ROOT / "plugins" / "full", ROOT / "plugins" / "sentiment"))
    small = ["--model", str(tiny_bert), "--max-steps", "2", "--logging-steps", "1", "--max-train-rows", "24",
             "--max-eval-rows", "8", "--no-verify", "--no-baselines", "--cache-dir", str(tmp_path / "cache"), "--device", "cpu"]
    outs = {alpha: tmp_path / f"run-{alpha}" for alpha in ("0", "5")}
    runs = [["run", "--plugins", "neftune,full,sentiment", "--neftune.noise_alpha", alpha, "--out", str(out), *small]
            for alpha, out in outs.items()]
    neftune.do("-c", SEVERAL, json.dumps(runs), folder=tmp_path)
    losses = {}
    for alpha, out in outs.items():
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        losses[alpha] = [line["loss"] for line in lines if line["event"] == "step"]
        assert 'neftune' in (out / "plugins.lock").read_text()
    assert len(losses["5"]) == 2 and losses["0"][0] != losses["5"][0]


