"""Write the pages that are made from the code: docs/hooks.md, docs/options.md, docs/grid.md and docs/reference, the table of
plugins in README.md and that of checks in docs/conformance.md.

    python docs/make.py            write them (run it after a change to hooks, types, options, checks, or the list of plugins)
    python docs/make.py --release  write the public names of a release down, with which tests/test_public.py compares
    python docs/make.py --check    exit with 1 where one of them is stale (tests/test_docs.py does the same)
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from ftp import hooks, plugin, types
from ftp.cli.help import bounds, show
from ftp.contract import PUBLIC_MODULES
from ftp.options import Option
from ftp.plugin_info import Picked
from ftp.plugins.find import discover
from ftp.plugins.fit import core_options
from ftp_testing import grid
from ftp_testing.kit import PARTS
from ftp_testing.outcome import CHECKS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))  # tests load this file by its path

import reference  # noqa: E402

DOCS = ROOT / "docs"
PUBLIC_NAMES = ROOT / "core" / "tests" / "public_names.json"
MADE = "<!-- Made by docs/make.py from the code: do not edit. -->"
BEGIN, END = "<!-- {}: made by docs/make.py -->", "<!-- end of {} -->"
ASKED = {"every": "all", "objective": "objectives", "parameterisation": "parameterisations", "run": "all but risks",
         "events": "all with `on_event`", "domain": "domains", "risk": "risks"}
ARITIES = {"one": "one answer; a second one is an error", "collected": "every answer is collected",
           "pipeline": "each plugin gets what the one before it left"}


def hooks_page() -> str:
    """docs/hooks.md: what a plugin declares, its hooks with signature, arity and docstring, and the types that flow through."""
    lines = ["# The hooks", MADE, "",
             "A plugin is a class marked `@ftp.plugin`; its methods marked `@ftp.hookimpl` answer hooks. A method takes only",
             "the arguments that it wants, by name. Every hook runs on every rank, and all ranks take the same path. Arguments",
             "may be added to a hook, never removed, within a major version. [Writing a plugin](writing-a-plugin.md) has",
             "examples; the contract itself is `core/src/ftp/hooks.py`.", "", "| hook | answers |", "| --- | --- |"]
    lines += [f"| [`{name}`](#{name}) | {ARITIES[arity]} |" for name, arity in hooks.ARITY.items()]
    lines += ["", "## What a plugin declares", "",
              'In the brackets of the decorator, for example `@plugin(wants=("preference",), head="tokens")`; `@plugin` alone',
              "will do. An argument that is not in this table, or a declaration in the body of the class, is an error before",
              "a run.",
              "",
              "| argument | meaning |", "| --- | --- |"]
    lines += [f"| `{word}` | {cell(meaning)} |" for word, meaning in arguments(plugin).items()]
    for name, arity in hooks.ARITY.items():
        lines += ["", f"## {name}", "", f"{ARITIES[arity].capitalize()}.", "", "```python", signature(name), "```", "",
                  document(getattr(hooks, name))]
    lines += ["", "## What flows through them", "",
              "Frozen dataclasses of `ftp.types`, and the base class `Loss` (a protocol with defaults: inherit from it), in the",
              "order in which a run uses them."]
    for cls in classes():
        text, _, _ = document(cls).partition("\n\nAttributes:\n")
        lines += ["", f"### {cls.__name__}", "", text, ""]
        meanings = arguments(cls, "Attributes")
        if cls is types.Loss:
            lines += ["| attribute | meaning |", "| --- | --- |"]
            lines += [f"| `{name}` | {cell(meaning)} |" for name, meaning in meanings.items()]
            lines += ["", *methods(cls)]
            continue
        lines += ["| field | meaning | type | default |", "| --- | --- | --- | --- |"]
        for field in dataclasses.fields(cls):
            meaning = cell(meanings.get(field.name, ""))
            lines.append(f"| `{field.name}` | {meaning} | `{field_type(field)}` | {default(field)} |")
    return "\n".join(lines) + "\n"


def arguments(documented: Callable[..., object], heading: str = "Args") -> dict[str, str]:
    """The arguments of a function (or the attributes of a class) and what they mean, from that part of its docstring."""
    part = (inspect.getdoc(documented) or "").partition(f"\n{heading}:\n")[2].partition("\n\n")[0]
    meanings: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(part).splitlines():
        if not line.startswith(" "):
            name, _, line = line.partition(": ")
        meanings[name] = f"{meanings.get(name, '')} {line.strip()}".strip()
    return meanings


def options_page() -> str:
    """docs/options.md: every option of core, and of the plugins that come with it."""
    lines = ["# Options of every run", MADE, "",
             "Flags of `ftp run`, `ftp plan` and `ftp config`; in a recipe and in Python the same names with underscores",
             "(`--learning-rate 1e-4`, `learning_rate = 1e-4`). A yes-or-no option is `--verify` or `--no-verify`. What a plugin",
             "suggests replaces a default, a recipe replaces that, and flags replace all. Options of plugins:",
             "`ftp plugins show NAME`, or `ftp run --plugins A,B --help`."]
    for group in dict.fromkeys(item.group for item in core_options()):
        lines += ["", f"## {group}", "", *table(item for item in core_options() if item.group == group)]
    lines += ["", "## plugins of core", "",
              "Parts of every run that have options; `--plugins ...,-NAME` leaves one out.", ""]
    found = [one for many in discover().values() for one in many if one.distribution == "ftp-core"]
    lines += table(item for one in found for item in Picked(one, one.load()).options)
    return "\n".join(lines) + "\n"


def readme_page() -> str:
    """README.md with the table of plugins made anew; the rest of it is written by hand."""
    listed = json.loads(subprocess.run([sys.executable, "-m", "ftp", "plugins", "--json"], check=True, capture_output=True,
                                       text=True).stdout)
    ours = workspace()
    kinds = ["objective", "parameterisation", "domain", "risk"]
    rows = sorted((one for one in listed if one["distribution"] in ours),
                  key=lambda one: (kinds.index(one["kind"]) if one["kind"] in kinds else len(kinds), one["name"]))
    lines = ["| plugin | kind | what it does | package |", "| --- | --- | --- | --- |"]
    lines += [f"| `{one['name']}` | {one['kind']} | {cell(one['summary'])} | {one['distribution']} |" for one in rows]
    return between(ROOT / "README.md", "plugins", lines)


def grid_page() -> str:
    """docs/grid.md: which objectives go with which domains, as tests/test_grid.py runs them."""
    ours = workspace()
    installed = {name for name, found in discover().items() if found[0].distribution in ours}
    objectives, domains, methods = ([name for name in grid.names(kind) if name in installed]
                                    for kind in ("objective", "domain", "parameterisation"))
    found = {(one.objective, one.domain): one for one in grid.cells(objectives, domains)}
    lines = ["# What goes with what", MADE, "",
             "A run has a domain, an objective (what is minimised; none: core's own loss for the domain's rows) and a",
             "parameterisation (which weights are trained; none: all of them). Their authors need not know",
             "each other. Any parameterisation goes with the rest: "
             f"{', '.join(f'`{name}`' for name in methods)}. Whether an objective",
             "goes with a domain depends on nothing but the [form](writing-a-plugin.md#forms) of its rows; the table says as",
             "which form they are read then. `tests/test_grid.py` works the same table out for whatever is installed, runs what",
             "fits, so that each pair of plugins meets, and checks the error message of what does not fit.", "",
             f"| objective | head | {' | '.join(f'`{name}`' for name in domains)} |", f"| --- | --- |{' --- |' * len(domains)}"]
    for objective in ("", *objectives):
        cells = [found[objective, domain] for domain in domains]
        heads = dict.fromkeys(one.task.head for one in cells if one.task)
        shown = [one.task.form if one.task else "" for one in cells]
        lines.append(f"| {f'`{objective}`' if objective else '(none)'} | {', '.join(heads)} | {' | '.join(shown)} |")
    lines += ["", "| domain | gives |", "| --- | --- |"]
    for name in domains:
        one = discover()[name][0]
        lines.append(f"| `{name}` | {', '.join(Picked(one, one.load()).declaration.gives)} |")
    own = ", ".join(f"`{name}`" for name in grid.with_own_rows() if name in installed)
    lines += ["", f"These objectives read rows of a form of their own from `--data`, or their sample, and need no domain: {own}."]
    misfit = next((one for one in found.values() if one.task is None and one.objective), None)
    if misfit is not None:
        lines += ["", "What does not fit is an error before anything is loaded, which names what would fit:", "", "```text",
                  f"ftp: {misfit.why}", "```"]
    return "\n".join(lines) + "\n"


def conformance_page() -> str:
    """docs/conformance.md with the table of checks made anew; the rest of it is written by hand."""
    for part in PARTS:
        importlib.import_module(f"ftp_testing.checks.{part}")
    lines = ["| check | of | asks |", "| --- | --- | --- |"]
    # a check of objectives that needs a whole run stands among the checks of runs, and comes last here
    ordered = sorted(CHECKS.values(), key=lambda one: (PARTS.index(one.part), one.look.__module__.endswith(".run")))
    lines += [f"| `{one.name}` | {ASKED[one.part]} | {cell(one.summary)} |" for one in ordered]
    return between(DOCS / "conformance.md", "checks", lines)


def workspace() -> set[str]:
    """Names of the distributions under plugins/."""
    return {tomllib.loads(file.read_text())["project"]["name"] for file in sorted(ROOT.glob("plugins/*/pyproject.toml"))}


def between(path: Path, name: str, lines: Iterable[str]) -> str:
    """The text of a page with the lines between its marks replaced."""
    begin, end = BEGIN.format(name), END.format(name)
    text = path.read_text(encoding="utf-8")
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: "\n".join([begin, *lines, end]), text, flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Every page that is made, and what it should be."""
    return {DOCS / "hooks.md": hooks_page(), DOCS / "options.md": options_page(), DOCS / "grid.md": grid_page(),
            DOCS / "conformance.md": conformance_page(), ROOT / "README.md": readme_page(), **reference_pages()}


def reference_pages() -> dict[Path, str]:
    """docs/reference: a page for each public module."""
    made = reference.pages(frozenset(cls.__name__ for cls in classes()))
    with_mark = {name: text.replace("\n", f"\n{MADE}\n", 1) for name, text in made.items()}
    return {DOCS / "reference" / name: text for name, text in with_mark.items()}


def table(options: Iterable[Option]) -> list[str]:
    """Options as rows: flag, type and limits, default, help."""
    lines = ["| option | type | default | what it does |", "| --- | --- | --- | --- |"]
    for item in options:
        limits = f"one of {', '.join(map(str, item.choices))}" if item.choices else item.type_name
        limits += f", {bounds(item.low, item.high)}" if bounds(item.low, item.high) else ""
        value = "" if item.default is None or item.default == () else f"`{show(item.default)}`"
        lines.append(f"| `{item.flag}` | {limits} | {value} | {cell(item.help)} |")
    return lines


def signature(name: str) -> str:
    """The head of a hook as Python, one argument a line where it is long."""
    found = inspect.signature(getattr(hooks, name))
    arguments = [f"{one.name}: {one.annotation}" for one in found.parameters.values()]
    line = f"def {name}({', '.join(arguments)}) -> {found.return_annotation}: ..."
    if len(line) <= 110:
        return line
    inner = "".join(f"    {argument},\n" for argument in arguments)
    return f"def {name}(\n{inner}) -> {found.return_annotation}: ..."


def classes() -> list[type]:
    """The dataclasses of ftp.types and the protocol of a loss, in their order there."""
    return [one for one in vars(types).values()
            if inspect.isclass(one) and (dataclasses.is_dataclass(one) or one is types.Loss)]


def methods(cls: type) -> list[str]:
    """The methods of a class with what they say of themselves."""
    lines = []
    for name, method in vars(cls).items():
        if not name.startswith("_") and inspect.isfunction(method):
            arguments = str(inspect.signature(method)).replace("(self, ", "(").replace(", /)", ")")
            lines += [f"`{name}{arguments}`", "", document(method), ""]
    return lines[:-1]


def document(thing: object) -> str:
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")


def field_type(field: dataclasses.Field[object]) -> str:
    return str(field.type).replace("|", "\\|")


def default(field: dataclasses.Field[object]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    return "empty" if field.default_factory is not dataclasses.MISSING else "must be given"


def cell(text: str) -> str:
    """Text that neither ends a table's cell nor reads as HTML."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def public_names() -> dict[str, list[str]]:
    """The public names of today, by module."""
    return {module: sorted(importlib.import_module(module).__all__) for module in PUBLIC_MODULES}


def main() -> int:
    if "--release" in sys.argv[1:]:
        PUBLIC_NAMES.write_text(json.dumps(public_names(), indent=1) + "\n", encoding="utf-8")
        print(f"wrote {PUBLIC_NAMES.relative_to(ROOT)}")
        return 0
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run python docs/make.py")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(pages()[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
