"""What plugins may use of ftp: the names in `__all__` of its public modules, and nothing else but what is listed here."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from ftp.contract import PUBLIC_MODULES
from ftp.deprecation import FtpDeprecationWarning

ROOT = Path(__file__).parents[1]

COMMANDS = "adds a command of its own, and reads flags, folders and recipes as core's commands do"
EXCEPTIONS: dict[str, tuple[str, set[str]]] = {
    "export": (COMMANDS, {"ftp.cli.merge", "ftp.cli.trust", "ftp.host.quiet", "ftp.host.terminal"}),
    "forgetting": ("reads the recipe of a former run to compare with it",
                   {"ftp.options", "ftp.plugins.declare", "ftp.plugins.plan"}),
    "gate": (COMMANDS, {"ftp.folder", "ftp.folder.files", "ftp.host.terminal", "ftp.plugins.declare", "ftp.plugins.find"}),
    "leakage": (COMMANDS, {
        "ftp.cli", "ftp.data", "ftp.data.collect", "ftp.data.loading", "ftp.data.split_files",
        "ftp.folder.log", "ftp.folder.writing", "ftp.host.faults", "ftp.host.quiet", "ftp.host.terminal", "ftp.plugins",
        "ftp.plugins.call",
    }),
    "preflight": (COMMANDS, {
        "ftp.cli", "ftp.cli.run", "ftp.data", "ftp.data.chat_rows", "ftp.data.collect", "ftp.data.encode", "ftp.folder.log",
        "ftp.host", "ftp.host.quiet", "ftp.host.terminal", "ftp.losses", "ftp.plugins.call", "ftp.plugins.plan",
        "ftp.runs.build", "ftp.train.device",
    }),
    "quantize": ("finds the methods that go with it among the installed plugins",
                 {"ftp.plugin_info", "ftp.plugins.declare", "ftp.plugins.find"}),
    "rlhf": ("a reward is a function in a file, or the model of another run",
             {"ftp.errors", "ftp.folder", "ftp.folder.files", "ftp.host"}),
    "terminal-chat": (COMMANDS, {"ftp.cli.trust", "ftp.host.terminal", "ftp.runs.predictor"}),
    "underfitting": ("says which learning rates the plugins of a run suggest", {"ftp.plugins.fit"}),
}
"""Plugin -> why it reaches behind the public names, and the modules that it reaches into. Nothing is added here: what an
outsider needs as well becomes public. (`ftp-testing` is not listed: the kit looks into everything.)"""


def names_of(module: str) -> frozenset[str]:
    """The public names of a module."""
    return frozenset(importlib.import_module(module).__all__)


def is_module(path: str) -> bool:
    """Whether a dotted path under `ftp` is a module, read from the folders alone."""
    file = ROOT / "core" / "src" / path.replace(".", "/")
    return file.is_dir() or file.with_suffix(".py").is_file()


def uses_of(text: str) -> list[tuple[str, str]]:
    """What a file uses of ftp: (module, name) for each imported name, and for each name that is asked of a module."""
    uses: list[tuple[str, str]] = []
    module_of: dict[str, str] = {}
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "ftp":
                    module_of[alias.asname or "ftp"] = alias.name if alias.asname else "ftp"
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] == "ftp":
            for alias in node.names:
                path = f"{node.module}.{alias.name}"
                # a name of a public module may be a public module itself
                if path in PUBLIC_MODULES:
                    module_of[alias.asname or alias.name] = path
                else:
                    uses.append((str(node.module), alias.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in module_of:
            uses.append((module_of[node.value.id], node.attr))
    return uses


def internal_uses(folder: Path) -> dict[str, list[str]]:
    """What the sources of a package use of ftp that is not public: module -> `file: name`."""
    uses: dict[str, list[str]] = {}
    for file in sorted(folder.glob("src/**/*.py")):
        for module, name in uses_of(file.read_text(encoding="utf-8")):
            if module not in PUBLIC_MODULES or name not in names_of(module):
                uses.setdefault(module, []).append(f"{file.relative_to(folder)}: {module}.{name}")
    return uses


FOLDERS = sorted(file.parent for file in [*ROOT.glob("plugins/*/pyproject.toml"), *ROOT.glob("examples/*/pyproject.toml")])


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder.name != "testing"], ids=lambda folder: folder.name)
def test_plugins_use_public_names_alone(folder: Path) -> None:
    internal = internal_uses(folder)
    _, allowed = EXCEPTIONS.get(folder.name, ("", set()))
    for module, uses in internal.items():
        assert module in allowed, f"not public (see PUBLIC_MODULES and __all__): {', '.join(uses)}"
    assert allowed <= internal.keys(), f"no longer used, take it off EXCEPTIONS: {allowed - internal.keys()}"


def test_templates_use_public_names_alone() -> None:
    for file in ROOT.glob("plugins/testing/src/ftp_testing/template/*.py"):
        for module, name in uses_of(file.read_text(encoding="utf-8")):
            assert module in PUBLIC_MODULES and name in names_of(module), f"{file.name}: {module}.{name}"


@pytest.mark.parametrize("line", [
    "from ftp.host.terminal import say", "from ftp.losses import tokens\ntokens.secret()", "from ftp.data import labels",
    "import ftp\nftp.hooks", "def late():\n    from ftp.losses.common import lay",
])
def test_a_use_of_what_is_not_public_is_found(tmp_path: Path, line: str) -> None:
    file = tmp_path / "src" / "ftp_other" / "__init__.py"
    file.parent.mkdir(parents=True)
    public = "from ftp import plugin\nfrom ftp.losses import generation, row_limit\ngeneration.prompts\n"
    file.write_text(public, encoding="utf-8")
    assert not internal_uses(tmp_path)
    file.write_text(public + line, encoding="utf-8")
    assert len(internal_uses(tmp_path)) == 1


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_is_there_and_says_what_it_is(module: str) -> None:
    imported = importlib.import_module(module)
    assert (imported.__doc__ or "").strip() and len(set(imported.__all__)) == len(imported.__all__)
    for name in imported.__all__:
        value = getattr(imported, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert (value.__doc__ or "").strip(), f"{module}.{name} has no docstring"


def broken_promises(names_of_module: dict[str, list[str]]) -> list[str]:
    """Public names of a release that are gone, or that moved without a warning.

    Args:
        names_of_module: the names of the release, by module.
    """
    broken = []
    for module, names in names_of_module.items():
        try:
            imported = importlib.import_module(module)
        except ModuleNotFoundError:
            broken.append(module)
            continue
        for name in set(names) - set(imported.__all__):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                is_there = hasattr(imported, name)
            has_warned = any(issubclass(warning.category, FtpDeprecationWarning) for warning in caught)
            if not (is_there and has_warned):
                broken.append(f"{module}.{name}")
    return sorted(broken)


def test_public_names_of_the_last_release_are_there_or_warn() -> None:
    stored = json.loads((ROOT / "core" / "tests" / "public_names.json").read_text(encoding="utf-8"))
    assert not broken_promises(stored), "docs/stability.md says what to do with a name that moves"


def test_a_name_that_is_taken_away_is_found() -> None:
    names = {"ftp": ["plugin", "once_here"], "ftp.losses": ["wrapped", "for_head", "common"], "ftp.gone": ["x"]}
    # `ftp.losses.common` is still there, but no longer public and without a warning
    assert broken_promises(names) == ["ftp.gone", "ftp.losses.common", "ftp.once_here"]


def undocumented(module: str) -> list[str]:
    """The parameters of a module's public functions of which the docstring does not say what they are."""
    reference = docs_module("reference")
    missing = []
    for name in importlib.import_module(module).__all__:
        value = getattr(importlib.import_module(module), name)
        if not inspect.isroutine(value):
            continue
        explained = reference.read_docstring(value).named.get("Args", {})
        for parameter in inspect.signature(value).parameters.values():
            # a decorator's class needs no word, and keywords that are passed on are explained one by one
            is_plain = parameter.name != "cls" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
            if is_plain and parameter.name not in explained:
                missing.append(f"{name}({parameter.name})")
    return missing


def docs_module(name: str) -> Any:
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_public_functions_say_what_each_argument_is(module: str) -> None:
    assert not undocumented(module), "docs/reference is made of the part `Args:` of each docstring"


def test_an_argument_without_a_word_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import ftp

    def nearest(word: str, known: list[str]) -> str:
        """The known word that is nearest.

        Args:
            word: what was written.
        """
        return word + known[0]

    monkeypatch.setattr(ftp, "nearest", nearest)
    assert "nearest(known)" in undocumented("ftp")
