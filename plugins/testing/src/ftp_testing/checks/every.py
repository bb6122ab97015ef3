"""Checks of every plugin: what a run reads of it before anything heavy is imported."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import subprocess
import sys
from typing import Any

from ftp.options import Option, convert, flatten, resolve, write_recipe
from ftp.plugins.audit import audit
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
    return f"answers {', '.join(hooks)}"


@check("every")
def hooks_are_typed(subject: Subject) -> str:
    """Each hook says the types of its arguments and of its answer."""
    missing = []
    for name, function in inspect.getmembers(subject.cls, inspect.isroutine):
        if getattr(function, "ftp_impl", None) is None:
            continue
        signature = inspect.signature(function)
        missing += [f"{name}({argument.name})" for argument in list(signature.parameters.values())[1:]
                    if argument.annotation is inspect.Parameter.empty]
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
            raise Fault(f"option {item.name}: its default {item.default!r} is not one of its own values: "
                        f"{problem.what if problem else f'it becomes {value!r}'} {problem.fix if problem else ''}".strip(),
                        "widen the range, add the word to the choices, or choose another default")
        for bound in (item.low, item.high):
            if bound is not None and (found := convert(item, _numbered(item, bound))[1]) is not None:
                raise Fault(f"option {item.name}: its own bound {bound:g} is refused: {found.what}", "give bounds of the option's type")
    return f"{len(options)} options"


@check("every")
def options_round_trip(subject: Subject) -> str:
    """Values survive the way through a recipe (TOML) and through flags."""
    import tomllib

    options = subject.picked.options
    for name, values in _examples(options).items():
        recipe = tomllib.loads(write_recipe([subject.name], options, values))
        recipe.pop("plugins")
        found, _ = resolve(options, [("recipe", flatten(recipe))])
        wrong = {key: (value, found[key]) for key, value in values.items() if value is not None and found[key] != value}
        if wrong:
            key, (value, got) = next(iter(wrong.items()))
            raise Fault(f"option {key}: {value!r} comes back from a recipe as {got!r}", "give the option a type that TOML has")
        for item in options:
            value = values[item.key]
            if value is None or value == ():
                continue
            got, problem = convert(item, _word(value))
            if problem is not None or got != value:
                raise Fault(f"option {item.name}: {_word(value)!r} as a flag is not {value!r} ({name})",
                            problem.what if problem else f"it becomes {got!r}")
    return f"{len(options)} options, by recipe and by flag"


def _examples(options: list[Option]) -> dict[str, dict[str, Any]]:
    """Values to send round: the defaults, and for each option another value."""
    made = {"defaults": {item.key: item.default for item in options}}
    made["others"] = {item.key: next(iter(others(item)), item.default) for item in options}
    return made


def others(item: Option) -> list[Any]:
    """Some values of an option other than its default, all of them allowed."""
    tried: list[Any] = []
    if item.choices:
        tried = list(item.choices)
    elif isinstance(item.default, bool):
        tried = [not item.default]
    elif isinstance(item.default, int):
        tried = [item.default + 1, item.default - 1, item.default * 2]
    elif isinstance(item.default, float):
        tried = [item.default / 2, item.default * 2, 0.25, 1.0]
    found = []
    for value in tried:
        got, problem = convert(item, (value,) if isinstance(item.default, tuple) else value)
        if problem is None and got != item.default:
            found.append(got)
    return found


def _numbered(item: Option, bound: float) -> Any:
    value = int(bound) if float(bound).is_integer() and not isinstance(item.default, float) else bound
    return (value,) if isinstance(item.default, tuple) else value


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
