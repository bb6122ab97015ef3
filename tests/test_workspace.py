"""Every package of the workspace is one that can be published, found and installed by itself, with pip and with uv."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOUND_BY = ("ftp", "ftp.models", "ftp.commands", "ftp.readers", "ftp.exports")
"""Groups of entry points; a package needs one of them, as nothing would find it without."""
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
        assert any(points.get(group) for group in FOUND_BY), "an entry point by which it is found"
        for targets in points.values():
            for target in targets.values():
                module = target.partition(":")[0].replace(".", "/")
                assert list((folder / "src").glob(f"{module}.py")) or (folder / "src" / module).is_dir(), target
    else:
        assert project["scripts"]["ftp"] == "ftp_command:main"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_dependencies_are_ranges_and_those_of_the_workspace_are_known_to_uv(folder: Path) -> None:
    project, sources = read(folder / "pyproject.toml")["project"], read(ROOT / "pyproject.toml")["tool"]["uv"]["sources"]
    for line in dependencies(project):
        assert "==" not in line and ">" in line, line
        name = re.match(r"[\w.-]+", line)
        assert name is not None
        if name[0].startswith("ftp-"):
            assert sources.get(name[0]) == {"workspace": True}, f"tool.uv.sources in pyproject.toml lacks {name[0]}"


def dependencies(project: dict[str, Any], *, of_tests: bool = True) -> list[str]:
    """What a package depends on, optional parts included; what its tests alone need only if `of_tests`."""
    lines = list(project["dependencies"])
    for part, more in project.get("optional-dependencies", {}).items():
        if of_tests or part != "test":
            lines += more
    return lines


def modules_of(folder: Path) -> list[str]:
    """The top-level modules that a package installs."""
    return [path.stem for path in (folder / "src").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]


def imports_of(text: str) -> Iterator[tuple[int, str]]:
    """Line and top-level module of each import of a file; those inside functions and for types alone count."""
    for node in ast.walk(ast.parse(text)):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        for module in modules:
            yield node.lineno, module.partition(".")[0]


def undeclared_imports(folder: Path, package_of: dict[str, str]) -> list[str]:
    """Imports of other packages of the workspace that a package does not depend on.

    Args:
        package_of: top-level module -> name of the package that installs it.
    """
    project = read(folder / "pyproject.toml")["project"]
    allowed = {project["name"], *(re.split(r"[^\w.-]", line)[0] for line in dependencies(project, of_tests=False))}
    foreign = {module: package for module, package in package_of.items() if package not in allowed}
    undeclared = []
    for file in sorted((folder / "src").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if not any(module in text for module in foreign):  # parsing every file would take seconds
            continue
        for line, module in imports_of(text):
            if module in foreign:
                where = f"{file.relative_to(folder)}:{line}"
                undeclared.append(f"{where}: {module} is of {foreign[module]}, not a dependency of {project['name']}")
    return undeclared


def packages() -> dict[str, str]:
    """Top-level module -> name of the package of the workspace that installs it."""
    package_of = {}
    for folder in FOLDERS:
        name = read(folder / "pyproject.toml")["project"]["name"]
        package_of.update(dict.fromkeys(modules_of(folder), name))
    return package_of


def test_packages_import_no_other_package_but_a_declared_dependency() -> None:
    """Core depends on no plugin; a plugin on core, and on another plugin only where its pyproject.toml says so."""
    package_of = packages()
    assert {*package_of.values()} == {read(folder / "pyproject.toml")["project"]["name"] for folder in FOLDERS}
    undeclared = []
    for folder in FOLDERS:
        undeclared += undeclared_imports(folder, package_of)
    assert not undeclared, "\n".join(undeclared)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_tests_that_use_the_kit_say_so(folder: Path) -> None:
    """The extra `test` of a package names ftp-testing where its tests import it."""
    uses_kit = any("ftp_testing" in file.read_text(encoding="utf-8") for file in (folder / "tests").rglob("*.py"))
    extras = read(folder / "pyproject.toml")["project"].get("optional-dependencies", {})
    names_kit = any(line.startswith("ftp-testing") for line in extras.get("test", []))
    assert names_kit == (uses_kit and folder.name != "testing")


def test_every_package_says_which_versions_of_core_it_runs_with() -> None:
    for folder in FOLDERS[1:]:
        lines = [line for line in read(folder / "pyproject.toml")["project"]["dependencies"] if line.startswith("ftp-core")]
        assert len(lines) == 1 and ">=" in lines[0] and "<" in lines[0].replace("<=", ""), folder.name


LATE = "def late():\n    from ftp_lora import Lora"


@pytest.mark.parametrize("line", ["import ftp_lora", "from ftp_lora.plugin import Lora", LATE])
def test_an_undeclared_import_of_a_plugin_is_found(tmp_path: Path, line: str) -> None:
    module = tmp_path / "src" / "ftp_other" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text(f"import json\nfrom ftp import plugin\nfrom . import near\n{line}\n", encoding="utf-8")
    project = tmp_path / "pyproject.toml"
    head = '[project]\nname = "ftp-other"\n'
    project.write_text(head + 'dependencies = ["ftp-core>=0.1"]\n', encoding="utf-8")
    undeclared = undeclared_imports(tmp_path, packages())
    assert len(undeclared) == 1 and "ftp_lora is of ftp-lora" in undeclared[0]

    project.write_text(head + 'dependencies = ["ftp-core>=0.1", "ftp-lora>=0.1"]\n', encoding="utf-8")
    assert not undeclared_imports(tmp_path, packages())


def canonical_name(requirement: str) -> str:
    """The name in a line of requirements."""
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")


def test_tested_versions_are_written_down() -> None:
    """constraints.txt pins what the packages depend on; the root pins nothing of its own."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonical_name(line) for line in lines if "==" in line}
    for folder in FOLDERS:
        dependencies = map(canonical_name, read(folder / "pyproject.toml")["project"]["dependencies"])
        assert not {name for name in dependencies if not name.startswith("ftp-")} - pinned, folder
    assert "constraint-dependencies" not in read(ROOT / "pyproject.toml")["tool"]["uv"]


SPECS = ("core/src/ftp/heads/", "core/src/ftp/data/core_forms.py")
"""Where core's forms and heads are spelt out."""
DECLARED = {"wants", "gives", "head", "form", "default_for", "column_sets"}
"""Arguments by which a plugin, a model or a spec says the names that are its own."""
SPEC_CLASSES = {"FormSpec", "HeadSpec", "Column", "Way"}
OTHER_MEANINGS = {"labels", "span", "mask", "score"}
"""Names that are also columns of Transformers, parts of annotations and what a run is judged by."""
ABOUT_NAMES = re.compile(r"(^|_)(form|head|wants|gives|required)s?($|_)", re.IGNORECASE)
COLUMNS_OF_OTHERS = {("core/src/ftp/data/suggest.py", "conversation")}
"""Files with a word that is the name of a column there, as people call theirs."""


@dataclass(frozen=True)
class Names:
    """The registered names. `columns`: those of the columns of each form, as a row may have them."""

    forms: frozenset[str]
    heads: frozenset[str]
    columns: tuple[frozenset[str], ...]

    @property
    def all(self) -> frozenset[str]:
        return self.forms | self.heads

    @property
    def unmistakable(self) -> frozenset[str]:
        """Names that mean a form or a head wherever they stand."""
        return self.all - OTHER_MEANINGS - frozenset[str]().union(*self.columns)

    def are_listed(self, words: Sequence[str | None]) -> bool:
        """Whether a list of words, or the keys of a table, is one of forms or of heads."""
        listed = {word for word in words if word is not None}
        if listed & self.unmistakable:
            return True
        is_of_names = len(listed) > 1 and len(listed) == len(words) and (listed <= self.forms or listed <= self.heads)
        return is_of_names and not any(listed <= columns for columns in self.columns)


def word_of(node: ast.AST | None) -> str | None:
    """The text of a constant; None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def words_in(node: ast.expr) -> list[str | None]:
    """The text of a constant, or the texts of a list that is written out."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return [word_of(element) for element in node.elts]
    return [word_of(node)]


def is_about_names(node: ast.AST) -> bool:
    """Whether an expression reads a form or a head: `data.form`, `head`, `facts["head"]`, `facts.get("head")`."""
    words = []
    for part in ast.walk(node):
        words += [getattr(part, "id", ""), getattr(part, "attr", ""), word_of(part) or ""]
    return any(ABOUT_NAMES.search(word) for word in words)


def named_forms_and_heads(tree: ast.AST, names: Names) -> Iterator[ast.expr]:
    """Comparisons with a name of a form or a head, lists of them and tables by them; not what a plugin declares."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in SPEC_CLASSES:
            continue
        if isinstance(node, ast.keyword) and node.arg in DECLARED:
            continue
        todo += ast.iter_child_nodes(node)
        words: list[str | None] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            compared = {*chain.from_iterable(map(words_in, sides))} & names.all
            if compared & names.unmistakable or (compared and any(map(is_about_names, sides))):
                yield node
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            words = [word_of(element) for element in node.elts]
        elif isinstance(node, ast.Dict):
            words = [word_of(key) for key in node.keys]
        elif isinstance(node, ast.Match):
            values = [pattern.value for pattern in ast.walk(node) if isinstance(pattern, ast.MatchValue)]
            if is_about_names(node.subject) and {word_of(value) for value in values} & names.all:
                yield node.subject
        if isinstance(node, ast.expr) and names.are_listed(words):
            yield node


def registered_names() -> Names:
    from ftp.forms import all_forms
    from ftp.heads import all_heads

    columns = []
    for spec in all_forms().values():
        columns.append(frozenset({*spec.required, *spec.optional, *chain.from_iterable(spec.column_sets)}))
    return Names(frozenset(all_forms()), frozenset(all_heads()), tuple(columns))


def test_forms_and_heads_are_asked_and_not_named() -> None:
    """No comparison with the name of a form or a head, no list and no table of them: the spec is asked."""
    names = registered_names()
    anywhere = re.compile("|".join(f"[\"']{name}[\"']" for name in names.all))
    comparisons = []
    for file in (*ROOT.glob("core/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")):
        path = file.relative_to(ROOT).as_posix()
        text = file.read_text(encoding="utf-8")
        if path.startswith(SPECS) or not anywhere.search(text):  # parsing every file would take seconds
            continue
        allowed = {word for known, word in COLUMNS_OF_OTHERS if known == path}
        for node in named_forms_and_heads(ast.parse(text), names):
            if allowed and allowed & {word_of(part) for part in ast.walk(node)}:
                continue
            comparisons.append(f"{path}:{node.lineno}: {ast.unparse(node)[:100]}")
    assert not comparisons, "\n".join(comparisons)


@pytest.mark.parametrize(
    "line",
    [
        'if run.task.head == "labels": pass',
        'x = facts.get("head") != "score"',
        'x = form in ("text", "prompt")',
        'x = data.form in {"tokens", *MORE}',
        'x = spec.required == ("text",)',
        'TALKS = ["conversation", "messages"]',
        'MODELS = {"tokens": "gpt2", "score": "gpt2"}',
        'x = kind == "labelled"',
        'match model.head:\n    case "span" | "mask": pass',
    ],
)
def test_a_name_that_is_compared_or_listed_is_found(line: str) -> None:
    assert list(named_forms_and_heads(ast.parse(line), registered_names()))


@pytest.mark.parametrize(
    "line",
    [
        '@plugin(wants=("preference",), head="tokens", gives=("text", "prompt"))\nclass Mine: pass',
        'SPEC = FormSpec("mine", (Column("text"),), default_head="labels")',
        'task = Task("labelled", "labels")',
        'row = {"tokens": [], "tags": []}',
        'if "text" in columns and name == "labels": pass',
        'x = getattr(head, "weight", None) == "x"',
    ],
)
def test_what_a_plugin_declares_and_columns_are_no_such_names(line: str) -> None:
    assert not list(named_forms_and_heads(ast.parse(line), registered_names()))
