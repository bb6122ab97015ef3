"""The source of what a loss is made of, for the key of encoded rows: an edited loss never gets those of another version."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import FunctionType

DIGITS = 16
"""Hex digits of a digest."""


def digest_of(functions: Iterable[object]) -> str:
    """A hash of the source of functions: of the files beside each of their modules, and of those of the functions that they hold.

    Args:
        functions: functions, methods, or objects with methods.
    """
    modules: set[str] = set()
    seen: set[int] = set()
    for function in functions:
        _collect_modules(function, modules, seen)
    digest = hashlib.sha256()
    for path in sorted(_files_of(modules)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:DIGITS]


def _collect_modules(value: object, modules: set[str], seen: set[int]) -> None:
    """Add the modules in which a function is written, and those that stand in its closure, or in the fields of its object."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if inspect.ismethod(value):
        modules.add(value.__func__.__module__)
        for cls in type(value.__self__).__mro__:
            modules.add(cls.__module__)
    elif isinstance(value, FunctionType):
        modules.add(value.__module__)
        for cell in value.__closure__ or ():
            _collect_modules(_content_of(cell), modules, seen)
    elif isinstance(value, partial):
        _collect_modules(value.func, modules, seen)
    # a loss that another one is made of, or what checks a function of one
    elif hasattr(value, "encode_to_score") or hasattr(value, "function"):
        for name in ("encode", "encode_to_score", "ask", "function"):
            _collect_modules(getattr(value, name, None), modules, seen)


def _content_of(cell: object) -> object:
    try:
        return cell.cell_contents  # type: ignore[attr-defined]
    except ValueError:  # a name that is not bound yet
        return None


def _files_of(modules: Iterable[str]) -> Iterator[Path]:
    """The Python files beside these modules, each in its package; of a module in none, its own file."""
    for name in modules:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if file is None or not Path(file).is_file():
            continue
        if getattr(module, "__package__", ""):
            yield from Path(file).parent.glob("*.py")
        else:
            yield Path(file)
