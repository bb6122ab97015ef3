"""The pages of docs/reference: one a public module, each name of its `__all__` with its signature and what its docstring says.

Used by docs/make.py.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from types import ModuleType

from ftp.contract import PUBLIC_MODULES

PARTS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")
"""Parts of a docstring that begin with a line of their own, `Args:`."""
NAMED_PARTS = ("Args", "Attributes", "Raises")
"""Those whose lines are `name: meaning`."""
PART = re.compile(rf"^({'|'.join(PARTS)}):[ \t]*$", re.MULTILINE)
WIDTH = 110
"""Columns above which a signature is written with one argument a line."""


@dataclass(frozen=True)
class Docstring:
    """What a docstring says: its text, and its parts."""

    text: str
    named: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    plain: Mapping[str, str] = field(default_factory=dict)


def read_docstring(value: object) -> Docstring:
    """The docstring of a function, class or module, cut into its parts."""
    # what a class inherits from a library is not ours to explain
    lines = inspect.cleandoc(value.__doc__ or "")
    text, *rest = PART.split(lines)
    named: dict[str, dict[str, str]] = {}
    plain: dict[str, str] = {}
    # re.split gives the name of a part, then its text, then the next name
    for part, content in zip(rest[::2], rest[1::2], strict=True):
        body, outside = _indented(content)
        if part in NAMED_PARTS:
            named[part] = _meanings(body)
        else:
            plain[part] = body
        # a paragraph behind the last part belongs to the text
        text = f"{text.strip()}\n\n{outside}" if outside else text
    return Docstring(text.strip(), named, plain)


def pages(hooks_page_types: frozenset[str]) -> dict[str, str]:
    """Every page by its file name: one a module, and README.md that lists them.

    Args:
        hooks_page_types: classes that docs/hooks.md explains; a page leads there.
    """
    made = {f"{name}.md": module_page(name, hooks_page_types) for name in PUBLIC_MODULES}
    made["README.md"] = index_page()
    return made


def index_page() -> str:
    """The list of modules."""
    lines = ["# Reference", "",
             "The public names of ftp: what a plugin may use, and what [stays as it is](../stability.md). Hooks, and what",
             "flows through them, are in [the hooks](../hooks.md); options in [the options](../options.md).", "",
             "| module | what it is for | names |", "| --- | --- | --- |"]
    for name in PUBLIC_MODULES:
        module = importlib.import_module(name)
        lines.append(f"| [`{name}`]({name}.md) | {_cell(_first_sentence(module))} | {len(module.__all__)} |")
    return "\n".join(lines) + "\n"


def module_page(name: str, hooks_page_types: frozenset[str]) -> str:
    """The page of a module: its docstring, then its names as `__all__` has them."""
    module = importlib.import_module(name)
    lines = [f"# `{name}`", "", read_docstring(module).text]
    for public_name in module.__all__:
        value = getattr(module, public_name)
        lines += ["", f"## {public_name}", ""]
        is_alias = getattr(value, "__module__", "") == "builtins"  # `Form = str`
        if inspect.isclass(value) and not is_alias:
            lines += class_lines(public_name, value, hooks_page_types)
        elif inspect.isroutine(value):
            lines += function_lines(public_name, value)
        else:
            lines += constant_lines(module, public_name, value)
    return "\n".join(lines).rstrip() + "\n"


def function_lines(name: str, function: object) -> list[str]:
    """Signature, text, arguments, answer and errors."""
    docstring = read_docstring(function)
    lines = ["```python", signature(name, function), "```", "", docstring.text]
    return lines + _part_lines(docstring)


def class_lines(name: str, cls: type, hooks_page_types: frozenset[str]) -> list[str]:
    """A class with its fields and methods; only where to read on, where docs/hooks.md has it."""
    if name in hooks_page_types:
        return [f"{_first_sentence(cls)} [Its fields](../hooks.md#{name.lower()})."]
    docstring = read_docstring(cls)
    lines = [docstring.text, *_part_lines(docstring)]
    if dataclasses.is_dataclass(cls):
        lines += field_lines(cls)
    for method_name, method in vars(cls).items():
        function = inspect.unwrap(method.__func__ if isinstance(method, classmethod | staticmethod) else method)
        if inspect.isfunction(function) and not method_name.startswith("_"):
            lines += ["", f"### {name}.{method_name}", "", *function_lines(method_name, function)]
    return lines


def field_lines(cls: type) -> list[str]:
    """The fields of a dataclass, each with its type and what it says of itself."""
    meanings = dict(read_docstring(cls).named.get("Attributes", {}))
    for base in reversed(cls.__mro__[:-1]):
        meanings |= strings_below(base)
    lines = ["", "| field | type | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{item.name}` | `{_cell(str(item.type))}` | {_cell(meanings.get(item.name, ''))} |"
              for item in dataclasses.fields(cls) if not item.name.startswith("_")]
    return lines if len(lines) > 3 else []


def constant_lines(module: ModuleType, name: str, value: object) -> list[str]:
    """A constant or an alias of a type, with the string below it."""
    # a set has another order in each process
    shown = f"{type(value).__name__}({sorted(value)!r})" if isinstance(value, set | frozenset) else repr(value)
    # an object without a form of its own shows the address where it lies, which is another in each process
    lines = [] if len(shown) > WIDTH or " at 0x" in shown else ["```python", f"{name} = {shown}", "```", ""]
    return [*lines, constant_meaning(module, name)]


def constant_meaning(module: ModuleType, name: str) -> str:
    """The string below a constant, in the module that defines it; "" where there is none."""
    tree = _tree(module.__name__)
    meaning = _strings_below(tree.body).get(name)
    if meaning is not None:
        return meaning
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return constant_meaning(importlib.import_module(node.module), alias.name)
    return ""


def strings_below(cls: type) -> dict[str, str]:
    """The strings that stand below the fields of a class."""
    for node in ast.walk(_tree(cls.__module__)):
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            return _strings_below(node.body)
    return {}


def signature(name: str, function: object) -> str:
    """The head of a function as Python."""
    assert callable(function)
    found = inspect.signature(function)
    arguments = _arguments(found)
    answer = "" if found.return_annotation is inspect.Signature.empty else f" -> {_annotation(found.return_annotation)}"
    line = f"def {name}({', '.join(arguments)}){answer}: ..."
    if len(line) <= WIDTH:
        return line
    inner = "".join(f"    {argument},\n" for argument in arguments)
    return f"def {name}(\n{inner}){answer}: ..."


def _arguments(found: inspect.Signature) -> list[str]:
    """Each argument as Python has it, with the marks `/` and `*` between them."""
    arguments: list[str] = []
    kinds = [parameter.kind for parameter in found.parameters.values()]
    for index, parameter in enumerate(found.parameters.values()):
        is_first_of_kind = index == 0 or kinds[index - 1] is not parameter.kind
        if is_first_of_kind and kinds[index - 1 : index] == [inspect.Parameter.POSITIONAL_ONLY]:
            arguments.append("/")
        has_star = inspect.Parameter.VAR_POSITIONAL in kinds
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and is_first_of_kind and not has_star:
            arguments.append("*")
        stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        text = f"{stars}{parameter.name}"
        is_typed = parameter.annotation is not inspect.Parameter.empty
        if is_typed:
            text += f": {_annotation(parameter.annotation)}"
        if parameter.default is not inspect.Parameter.empty:
            text += f" = {parameter.default!r}" if is_typed else f"={parameter.default!r}"
        arguments.append(text)
    if kinds[-1:] == [inspect.Parameter.POSITIONAL_ONLY]:
        arguments.append("/")
    return arguments


def _annotation(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _part_lines(docstring: Docstring) -> list[str]:
    """The parts behind the text of a docstring."""
    lines: list[str] = []
    for part, column in (("Args", "argument"), ("Attributes", "attribute")):
        if meanings := docstring.named.get(part):
            lines += ["", f"| {column} | meaning |", "| --- | --- |"]
            lines += [f"| `{name}` | {_cell(meaning)} |" for name, meaning in meanings.items()]
    for part in ("Returns", "Yields"):
        if part in docstring.plain:
            lines += ["", f"{part}: {docstring.plain[part]}"]
    for error, meaning in docstring.named.get("Raises", {}).items():
        lines += ["", f"Raises `{error}`: {meaning}"]
    if "Example" in docstring.plain:
        lines += ["", "```python", docstring.plain["Example"], "```"]
    return lines


def _indented(content: str) -> tuple[str, str]:
    """The indented lines that a part begins with, and what comes behind them."""
    body, outside = [], []
    for line in content.strip("\n").splitlines():
        is_outside = bool(outside) or (line.strip() != "" and not line.startswith(" "))
        (outside if is_outside else body).append(line)
    return inspect.cleandoc("\n".join(body)), "\n".join(outside).strip()


def _meanings(body: str) -> dict[str, str]:
    """Name -> meaning, of lines `name: meaning` with further lines indented."""
    meanings: dict[str, str] = {}
    name = ""
    for line in body.splitlines():
        if line and not line.startswith(" "):
            name, _, line = line.partition(":")
            name = name.strip("`* ")
        meanings[name] = f"{meanings.get(name, '')} {line.strip()}".strip()
    return meanings


def _strings_below(body: list[ast.stmt]) -> dict[str, str]:
    """Name -> the string in the line below what is assigned to it."""
    strings: dict[str, str] = {}
    for node, below in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        else:
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            strings[name] = inspect.cleandoc(below.value.value)
    return strings


@cache
def _tree(module_name: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module_name)))


def _first_sentence(value: object) -> str:
    """The first sentence of a docstring, on one line."""
    line = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\.) ", line)[0]


def _cell(text: str) -> str:
    """Text that neither ends a table's cell nor reads as HTML."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
