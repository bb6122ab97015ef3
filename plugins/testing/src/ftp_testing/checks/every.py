"""Checks of every plugin: what a run reads of it before anything heavy is imported."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import subprocess
import sys

from ftp.options import Option, convert, flatten, resolve, write_recipe
from ftp.plugins.audit import absent_plugins, audit
from ftp.plugins.declare import implementations
from ftp_testing.outcome import Fault, check
from ftp_testing.subject import Subject, find

HEAVY = ("torch", "transformers", "datasets", "peft", "trl", "sklearn", "accelerate", "pandas", "bitsandbytes")
"""What must not be imported before a run needs it: `ftp --help` reads all plugins."""

IMPORT = """
import json, sys
from ftp_testing.subject import find
find(sys.argv[1])
print(json.dumps([name for name in sys.argv[2:] if name in sys.modules]))
"""


@check("every")
def imports_light(subject: Subject) -> str:
    """Importing the plugin imports none of the heavy libraries."""
    done = subprocess.run([sys.executable, "-P", "-c", IMPORT, subject.local or subject.name, *HEAVY], capture_output=True, text=True,
                          timeout=120, env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)})
    if done.returncode:
        raise Fault(f"it does not import in a fresh process:\n{done.stderr.strip()[-600:]}", "mend the import")
    heavy = json.loads(done.stdout.strip().splitlines()[-1])
    if heavy:
        raise Fault(f"importing it imports {', '.join(heavy)}, so that every `ftp --help` waits for it",
                    "import them inside the hooks, or under `if TYPE_CHECKING:`")
    return f"none of {', '.join(HEAVY)} is imported with it"


@check("every")
def class_is_sound(subject: Subject) -> str:
    """Hooks are marked, have arguments that the contract has, and wrappers yield."""
    required = [find(name).picked for name in subject.picked.declaration.requires]
    problems = audit([subject.picked, *required])
    if problems:
        raise Fault("\n".join(problem.what for problem in problems), "\n  ".join(problem.fix for problem in problems))
    hooks = implementations(subject.cls)
    if not hooks:
        raise Fault("it answers no hook, so it does nothing", "mark at least one method with @hookimpl")
    answers = f"answers {', '.join(hooks)}"
    absent = absent_plugins(subject.cls)
    if absent:
        return f"{answers}; names plugins that are not installed: {', '.join(absent)}"
    return answers


@check("every")
def hooks_are_typed(subject: Subject) -> str:
    """Each hook says the types of its arguments and of its answer."""
    missing = []
    for name, function in inspect.getmembers(subject.cls, inspect.isroutine):
        if getattr(function, "ftp_impl", None) is None:
            continue
        signature = inspect.signature(function)
        for argument in list(signature.parameters.values())[1:]:  # the first is self
            if argument.annotation is inspect.Parameter.empty:
                missing.append(f"{name}({argument.name})")
        if signature.return_annotation is inspect.Signature.empty:
            missing.append(f"what {name} gives")
    if missing:
        raise Fault(f"types are missing: {', '.join(missing)}", "annotate them as ftp.hooks has them")
    return "every hook is annotated"


@check("every")
def says_what_it_does(subject: Subject) -> str:
    """The class has a docstring (its first line is its help), and so has each option."""
    text = (inspect.getdoc(subject.cls) or "").strip()
    if not text or text.startswith(f"{subject.cls.__name__}("):  # the one that dataclasses make
        raise Fault("the class has no docstring, so `ftp plugins` has nothing to say of it", "one line that says what it does for the user")
    silent = [item.name for item in subject.picked.options if not item.help.strip()]
    if silent:
        raise Fault(f"options without a word of help: {', '.join(silent)}", "option(default, \"what it does, with its unit\")")
    return text.splitlines()[0]


@check("every")
def fields_are_options(subject: Subject) -> str:
    """Every field that a user could set is an option, in the range that it gives itself."""
    options = subject.picked.options
    names = {item.name for item in options}
    hidden = [item.name for item in dataclasses.fields(subject.cls) if item.init and item.name not in names]
    if hidden:
        raise Fault(f"fields that are no options: {', '.join(hidden)}",
                    "option(default, help), or dataclasses.field(init=False) for what the plugin keeps for itself")
    for item in options:
        if item.low is not None and item.high is not None and item.low > item.high:
            raise Fault(f"option {item.name}: nothing lies between {item.low:g} and {item.high:g}", "low is the smaller bound")
        if item.default is None:
            continue
        value, problem = convert(item, item.default)
        if problem is not None or value != item.default:
            reason = f"it becomes {value!r}" if problem is None else f"{problem.what} {problem.fix}".strip()
            raise Fault(f"option {item.name}: its default {item.default!r} is not one of its own values: {reason}",
                        "widen the range, add the word to the choices, or choose another default")
        for bound in (item.low, item.high):
            problem = None if bound is None else convert(item, _value_of_bound(item, bound))[1]
            if problem is not None:
                raise Fault(f"option {item.name}: its own bound {bound:g} is refused: {problem.what}", "give bounds of the option's type")
    return f"{len(options)} options"


@check("every")
def options_round_trip(subject: Subject) -> str:
    """Values survive a round trip through a recipe (TOML) and through flags."""
    import tomllib

    options = subject.picked.options
    defaults = {item.key: item.default for item in options}
    changed = {item.key: next(iter(other_values(item)), item.default) for item in options}
    for name, values in (("defaults", defaults), ("others", changed)):
        recipe = tomllib.loads(write_recipe([subject.name], options, values))
        recipe.pop("plugins")
        read, _ = resolve(options, [("recipe", flatten(recipe))])
        for item in options:
            value = values[item.key]
            if value is None:
                continue
            if read[item.key] != value:
                raise Fault(f"option {item.key}: {value!r} comes back from a recipe as {read[item.key]!r}", "give the option a type that TOML has")
            if value == ():
                continue
            converted, problem = convert(item, _as_word(value))
            if problem is not None or converted != value:
                raise Fault(f"option {item.name}: {_as_word(value)!r} as a flag is not {value!r} ({name})",
                            problem.what if problem else f"it becomes {converted!r}")
    return f"{len(options)} options, by recipe and by flag"


def other_values(item: Option) -> list[object]:
    """Some values of an option other than its default, all of them allowed."""
    candidates: list[object] = []
    if item.choices:
        candidates = list(item.choices)
    elif isinstance(item.default, bool):
        candidates = [not item.default]
    elif isinstance(item.default, int):
        candidates = [item.default + 1, item.default - 1, item.default * 2]
    elif isinstance(item.default, float):
        candidates = [item.default / 2, item.default * 2, 0.25, 1.0]
    values = []
    for candidate in candidates:
        value, problem = convert(item, _in_tuple(item, candidate))
        if problem is None and value != item.default:
            values.append(value)
    return values


def _value_of_bound(item: Option, bound: float) -> object:
    """A bound as a value of the option: whole numbers are no floats."""
    is_whole = float(bound).is_integer() and not isinstance(item.default, float)
    return _in_tuple(item, int(bound) if is_whole else bound)


def _in_tuple(item: Option, value: object) -> object:
    """One value as an option that takes several would have it."""
    return (value,) if isinstance(item.default, tuple) else value


def _as_word(value: object) -> str:
    """A value as a flag would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
