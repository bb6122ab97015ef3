"""What the pages say is held to the code: commands run, Python runs, links lead somewhere, names exist, made pages are fresh.

How a page is read:

- A code block whose first line names a file (three backticks, `csv reviews.csv`) is written to that file before all else; the
  tests of a `test_*.py` are run.
- Commands are the lines of `bash` blocks, and those after `$ ` in `console` blocks, that begin with `ftp` (after
  `NAME=value`). They run in order in a folder of the page's own, made small: a tiny model, two updates. Under an HTML comment
  that begins with `parse only` they are read with the real parser and not run.
- Other `python` blocks run, in order, in one name space a page.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import json
import os
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUN_PAGES = ["README.md", "docs/start.md", "docs/data.md", "docs/writing-a-plugin.md", "docs/conformance.md", "docs/risks.md",
             "docs/advice.md", "examples/sst2/README.md", "examples/inhouse/README.md", "examples/forgetting-tradeoff/README.md",
             "docs/results.md"]
PAGES = sorted({*RUN_PAGES, "CONTRIBUTING.md", "core/README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))})
FIRST = ["run", "--plugins", "lora,sentiment"]
SMALL = {"--max-steps": "2", "--max-train-rows": "24", "--max-eval-rows": "8"}
SMALL_ADVICE = {"--budget": "0", "--max-train-rows": "90", "--max-eval-rows": "30"}
OFF = {"--no-verify": "--verify", "--no-baselines": "--baselines", "--no-report": "--report"}
TEXTS = "Not bad at all.\nThey never called back.\n"
BLOCK = re.compile(r"(?P<before>[^\n]*)\n```(?P<language>\w+)(?: (?P<file>\S+))?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block: its language, the file that it is (or nothing), and whether its commands are only parsed."""

    language: str
    file: str
    text: str
    parse_only: bool

    @property
    def commands(self) -> list[str]:
        if self.language == "bash":
            lines = self.text.splitlines()
        elif self.language == "console":
            lines = [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]
        else:
            return []
        return [line for line in lines if re.match(r"(?:\w+=\S* )*ftp ", line)]


def blocks(page: str) -> list[Block]:
    return [Block(found["language"], found["file"] or "", found["text"], found["before"].startswith("<!-- parse only"))
            for found in BLOCK.finditer(read(page))]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)


# --- commands and Python ---


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ftp_testing.models import tiny

    return tiny("bert", tmp_path_factory.mktemp("docs") / "tiny")


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The run of the README's command, made once for all pages."""
    out = tmp_path_factory.mktemp("first") / "run"
    whole = [*FIRST, "--baselines", "--report"]
    call([*FIRST, "--out", str(out), "--logging-steps", "1", "--eval-steps", "1", *small(whole, model)])
    return out


@pytest.mark.parametrize("page", RUN_PAGES)
def test_page_does_what_it_says(
    page: str, tmp_path: Path, model: Path, first_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("ftp.run", made_small(model))
    prepare_folder(page, tmp_path, first_run)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        if block.file.startswith("test_"):
            run_tests(tmp_path / block.file, tmp_path)
        elif not block.file and block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, page, "exec"), names)
        for command in block.commands:
            do(command, block.parse_only, model, first_run)


def prepare_folder(page: str, folder: Path, first_run: Path) -> None:
    """What a reader has when he comes to the page: the repository's examples, a first run, some texts and data."""
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "texts.txt").write_text(TEXTS)
    (folder / "DIR").mkdir()
    for block in blocks("docs/start.md") if page == "README.md" else blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")


def do(command: str, parse_only: bool, model: Path, first_run: Path) -> None:
    """One line of a page. `> FILE` and `< FILE` are understood."""
    words = shlex.split(command, comments=True)
    environment = {}
    while words[0] != "ftp":
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    arguments, target, source = words[1:], "", ""
    for sign in ("<", ">"):
        if sign in arguments:
            place = arguments.index(sign)
            file, arguments = arguments[place + 1], arguments[:place] + arguments[place + 2 :]
            target, source = (file, source) if sign == ">" else (target, file)
    if parse_only:
        parse(arguments)
        return
    if arguments == FIRST and not environment:
        runs = Path("runs")
        shutil.copytree(first_run, runs / f"lora-sentiment-{len(list(runs.glob('lora-sentiment-*'))) + 1}")
        return
    if arguments[0] == "run" and "--help" not in arguments:
        arguments = [*arguments, *small(arguments, model)]
    if arguments[0] == "advise" and "--help" not in arguments:
        pairs = {"--model": str(model), **SMALL_ADVICE}
        arguments = [*arguments, *(word for flag, value in pairs.items() if flag not in arguments for word in (flag, value))]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        if source:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(source).read_bytes())))
        printed = call(arguments)
    if target:
        Path(target).write_text(printed, encoding="utf-8")


def small(arguments: list[str], model: Path) -> list[str]:
    """Flags that make a run take a second, less those that the line has."""
    given = {word.partition("=")[0] for word in arguments}
    pairs = {"--model": str(model), **SMALL}
    return [*(word for flag, value in pairs.items() if flag not in given for word in (flag, value)),
            *(flag for flag, positive in OFF.items() if flag not in given and positive not in given)]


def made_small(model: Path) -> Any:
    import ftp

    real = ftp.run

    def run(plugins: Any, **options: Any) -> Any:
        few = {flag.lstrip("-").replace("-", "_"): int(value) for flag, value in SMALL.items()}
        return real(plugins, **{"model": str(model), **few, "verify": False, "baselines": False, "report": False, **options,
                                "max_steps": min(2, options.get("max_steps", 2))})

    return run


def call(arguments: list[str]) -> str:
    """`ftp ARGUMENTS` in this process; what it printed. Fails where it did not end with 0."""
    from ftp.cli.main import call as main

    out, wrong = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(wrong):
        try:
            status: Any = main(arguments)
        except SystemExit as ended:
            status = ended.code or 0
    assert status == 0, f"ftp {shlex.join(arguments)} ended with {status}\n{wrong.getvalue()}{out.getvalue()[-2000:]}"
    return out.getvalue()


def parse(arguments: list[str]) -> None:
    """Read a line as the command would, and stop there. Raises for options and plugins that there are not."""
    from ftp.cli import flags
    from ftp.cli.advise import read_question
    from ftp.cli.main import cli

    name, *rest = arguments
    if name in ("run", "plan", "config"):
        if "--resume" in rest:
            assert flags.read(rest, []).resume
            return
        rest = [str(ROOT / word) if word.startswith("examples/") else word for word in rest]
        flags.assemble(rest, switches=("--json",))
        return
    if name == "advise":
        read_question(rest)
        return
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    command.make_context(name, rest)


def run_tests(file: Path, folder: Path) -> None:
    """Run the tests of a page's test file, each with a folder of its own where it asks for one."""
    spec = importlib.util.spec_from_file_location(f"docs_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = {name: test for name, test in vars(module).items() if name.startswith("test_")}
    assert tests
    for name, test in tests.items():
        own = folder / f"for_{name}"
        own.mkdir()
        with contextlib.redirect_stdout(io.StringIO()):
            test(*([own] if "tmp_path" in inspect.signature(test).parameters else []))


def test_every_command_is_looked_at() -> None:
    """A command on a page that is not run, or in a block of another kind, would be held to nothing."""
    for page in PAGES:
        found = [command for block in blocks(page) for command in block.commands]
        assert page in RUN_PAGES or not found, f"{page}: add it to RUN_PAGES"
        for block in blocks(page):
            read_as = {"bash": 0, "console": r"^ftp "}.get(block.language, r"^(\$ )?ftp ")
            assert not read_as or not re.search(str(read_as), block.text, re.MULTILINE), f"{page}: a command that is not run"


def test_a_wrong_command_is_found() -> None:
    """The parser that looks at `parse only` commands does refuse."""
    from ftp.errors import UserError

    with pytest.raises(UserError, match="did you mean '--learning-rate'"):
        parse(["run", "--plugins", "lora,sentiment", "--learing-rate", "1"])
    with pytest.raises(Exception, match="--jsno"):
        parse(["evaluate", "runs/x", "--data", "y", "--jsno"])


# --- pages made from the code ---


def make() -> Any:
    spec = importlib.util.spec_from_file_location("docs_make", ROOT / "docs" / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_made_pages_are_fresh() -> None:
    stale = [str(path.relative_to(ROOT)) for path, text in make().pages().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"stale: {', '.join(stale)}; run python docs/make.py"


def test_tables_of_results_are_those_of_the_json() -> None:
    spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    assert spec is not None and spec.loader is not None
    sys.modules["results"] = module = importlib.util.module_from_spec(spec)  # a dataclass looks its module up
    spec.loader.exec_module(module)
    found = module.page(json.loads(module.RESULTS.read_text(encoding="utf-8")))
    assert found == read("docs/results.md"), "stale: run python benchmarks/results.py"


def test_made_pages_have_it_all() -> None:
    from ftp import hooks
    from ftp.plugins.fit import core_options

    page, options = read("docs/hooks.md"), read("docs/options.md")
    for name in hooks.ARITY:
        assert f"\n## {name}\n" in page
        assert inspect.cleandoc(getattr(hooks, name).__doc__ or "").splitlines()[0] in page
    for item in core_options():
        assert f"| `{item.flag}` |" in options


def test_forms_are_those_of_the_code() -> None:
    """The page has core's forms; those of packages are in their own READMEs."""
    from ftp.forms.catalogue import OWN, all_forms

    rows = dict(re.findall(r"^\| (\w+) \| ([^|]*) \|$", read("docs/writing-a-plugin.md"), re.MULTILINE))
    rows.pop("form")
    columns_of = {form: set(re.findall(r"\w+", re.sub(r"\[.*?\]|\(.*?\)", "", columns))) for form, columns in rows.items()}
    own_names = [path.rpartition(":")[2].lower() for path in OWN]
    assert columns_of == {name: set(all_forms()[name].required) for name in own_names}


def test_formats_of_the_run_folder(first_run: Path) -> None:
    """The fields that docs/tour.md shows are those that a run writes."""
    shown = {one.file: one.text for one in blocks("docs/tour.md") if one.file}
    for name in ("scores.json", "risks.json", "run.json"):
        page, real = json.loads(shown[name]), json.loads((first_run / name).read_text())
        assert fields_of(page) <= fields_of(real), name
    lines = [json.loads(line) for line in (first_run / "log.jsonl").read_text().splitlines()]
    real_lines = {line["event"]: line.keys() for line in lines}
    for line in map(json.loads, shown["log.jsonl"].splitlines()):
        assert line.keys() <= real_lines[line["event"]], line["event"]
    table = re.findall(r"^\| `([\w./]+)` \|", read("docs/tour.md"), re.MULTILINE)
    assert {one.rstrip("/") for one in table} == {path.name for path in first_run.iterdir() if not path.name.startswith(".")}


def test_what_may_be_given_with_resume_is_what_the_code_takes() -> None:
    from ftp.runs.recipes import HARMLESS

    table = read("docs/start.md").partition("| may be given with `--resume` |")[2].partition("\n\n")[0]
    named = [key for line in table.splitlines() if line.startswith("| `") for key in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(named) == sorted(HARMLESS)


def fields_of(value: Any) -> set[str]:
    """Names of fields: of an object, or of the objects in a list; of lists inside an object too. Evidence is free."""
    if isinstance(value, list):
        return {name for one in value if isinstance(one, dict) for name in fields_of(one)}
    nested = {f"{key}.{name}" for key, inner in value.items() if isinstance(inner, list) for name in fields_of(inner)}
    return set(value) | nested


def groups() -> set[str]:
    """The groups of entry points that core looks at."""
    from ftp import heads
    from ftp.cli import main
    from ftp.data.readers import exports, registered
    from ftp.forms import catalogue
    from ftp.model.saving import LAYOUTS
    from ftp.plugins.find import DEFAULTS, GROUP, MODELS

    registries = {catalogue.GROUP, heads.GROUP, registered.GROUP, exports.GROUP}
    return {DEFAULTS, GROUP, MODELS, LAYOUTS, main.COMMANDS_OF_PACKAGES, *registries}


def test_tutorial_names_the_groups() -> None:
    text = read("docs/writing-a-plugin.md")
    found = tomllib.loads(next(one.text for one in blocks("docs/writing-a-plugin.md") if one.file == "pyproject.toml"))
    assert set(found["project"]["entry-points"]) <= groups()
    assert all(f"`{group}`" in text for group in groups() - {"ftp"})


# --- links and names ---


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+://", target):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_names_exist(page: str, first_run: Path) -> None:
    """Names in backticks: `module.function`, `Class.field`, files, and flags."""
    here = {block.file for one in PAGES for block in blocks(one)}
    wrong = [name for name in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page)) if not known(name, first_run, here)]
    assert not wrong, f"{page}: {wrong}"


def known(name: str, first_run: Path, here: set[str]) -> bool:
    """Whether what stands in backticks exists. What is no name of a thing in the code counts as known."""
    from ftp.advise import write
    from ftp.folder.checkpoints import step_of

    if re.fullmatch(r"--[a-z][\w.-]*( .*)?", name):
        return name.split()[0] in spellings()
    if re.fullmatch(r"[\w./-]+(\.(py|md|toml|jsonl?|txt|csv|lock|html)|/)", name):
        places = (ROOT, ROOT / "core" / "src" / "ftp", ROOT / "docs", first_run, first_run / "checkpoints",
                  first_run / "predictions", *(ROOT / "examples").iterdir())
        is_checkpoint = step_of(Path(name)) is not None
        of_advice = (write.JSON, write.PAGE, write.RECIPE)
        if name in here or name in of_advice or name == "runs/" or is_checkpoint:
            return True
        return any((place / name).exists() for place in places)
    if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        return resolves(name.split("."))
    return True


def spellings() -> set[str]:
    """Every flag of every command, of every installed plugin, and of the example that is not installed."""
    from ftp.cli import advise, config, plan
    from ftp.cli import run as run_command
    from ftp.cli.main import cli
    from ftp.options import options_of
    from ftp.plugins.find import from_path, installed
    from ftp.plugins.fit import core_options

    options = [*core_options(), *(item for name, cls in installed() for item in options_of(cls, name))]
    found = {spelling for item in options for spelling in item.flags}
    found |= {"--no-" + spelling[2:] for item in options if item.is_flag for spelling in item.flags}
    found |= set(re.findall(r"--[\w-]+", str([command.FIXED for command in (run_command, plan, config, advise)])))
    found |= set(flags_of(cli))
    for one in from_path(str(ROOT / "examples" / "inhouse" / "tickets.py"))[0]:
        found |= {spelling for item in options_of(one.load(), one.name) for spelling in item.flags}
    return found


def flags_of(command: Any) -> Iterator[str]:
    """The flags of a click command and of those below it."""
    for one in command.params:
        yield from one.opts
    for name in command.list_commands(None) if hasattr(command, "list_commands") else []:
        yield from flags_of(command.get_command(None, name))


def resolves(parts: list[str]) -> bool:
    """Whether a dotted name leads to a module, class, function or field: from ftp, one of its modules, or a type."""
    from ftp import types
    from ftp.settings import Settings

    if ".".join(parts) in groups():
        return True
    parts = ["numpy" if part == "np" else part for part in parts]

    instances = {"settings": Settings, **{name.lower(): cls for name, cls in vars(types).items() if inspect.isclass(cls)}}
    starts: list[Any] = [found for found in (module("ftp." + parts[0]), module(parts[0])) if found is not None]
    starts += [getattr(types, parts[0])] if hasattr(types, parts[0]) else []
    starts += [instances[parts[0]]] if parts[0] in instances else []
    if parts[0][0].isupper():  # a class of core that has one name
        homes = ("train.micro_batches", "data.updates", "runs.result", "plugins.plan", "folder.files")
        classes = [getattr(module(f"ftp.{home}"), parts[0], None) for home in homes]
        starts += [cls for cls in classes if cls is not None]
    return any(leads(start, parts[1:]) for start in starts)


def leads(start: Any, parts: list[str]) -> bool:
    from ftp import types
    from ftp.settings import Settings

    for part in parts:
        names = {field.name: field for field in fields(start)} if is_dataclass(start) else {}
        if part in names:
            kind = {"task": types.Task, "settings": Settings}.get(part)
            start = kind if kind is not None else names[part]
        elif inspect.ismodule(start) and (deeper := module(f"{start.__name__}.{part}")) is not None and not callable(
                getattr(start, part, None)):
            start = deeper
        elif hasattr(start, part):
            start = getattr(start, part)
        elif part in getattr(start, "__annotations__", {}):  # a key of a TypedDict, an attribute of a Protocol
            start = start.__annotations__[part]
        else:
            return False
    return True


def module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Each test leaves the environment as it was."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
