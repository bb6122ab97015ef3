"""Find plugins (entry points), pick those of a run, audit them before anything heavy, and call their hooks.

pluggy does the calling; this module says what pluggy keeps silent about: a second answer to a one-answer hook, two
packages that offer one name, a method whose `@hookimpl` was forgotten, an argument that a hook does not have. And it
knows who answered, so that an error inside a hook names plugin, distribution, version and hook.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import os
import re
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform, get_args

import pluggy

from ftp import answers, hooks
from ftp.errors import ExitStatus, PluginError, Problem, UserError, describe, nearest
from ftp.host import faults, python_files
from ftp.host.terminal import OF_THE_USER, warn
from ftp.options import Option, options_of
from ftp.plugin_info import Answer, Found, Picked
from ftp.plugins import names
from ftp.types import Form, Head, Task

T = TypeVar("T")
GROUP = "ftp"
DEFAULTS = "ftp.defaults"
MODELS = "ftp.models"
FROM_PATH = "ftp_plugins_from_"
"""How names of modules begin that were read from a file."""
SPLITS = ("train", "validation", "test")
"""The splits that a domain is taken to give; one that gives others says so in its class attribute `splits`."""
DEFAULT_HEADS: Mapping[str, Head] = {"labelled": "labels", "tagged": "tags", "question": "span"}
"""The head that core trains for a form when no objective is named."""
STRENGTH = ("parameterisation", "objective", "domain")
"""Whose suggestions count more, strongest first."""
KINDS = ("objective", "parameterisation", "domain", "risk", "core", "extra")
ATTRIBUTES: Mapping[str, answers.Kind] = {
    "wants": answers.words_of(get_args(Form)),
    "gives": answers.words_of(get_args(Form)),
    "head": answers.words_of(get_args(Head)),
    "kind": answers.one_of(KINDS),
    "suggests": answers.OPTIONS,
    "tried_with": answers.OPTIONS,
    "detaches": answers.TEXT,
    **dict.fromkeys(("splits", "goes_with", "needs", "replaces", "builds_with", "decides"), answers.words_of()),
}
"""The class attributes of a plugin that are read, and what they hold."""


# `option` is no field specifier: it takes its default by position, which only a plain call is read to have.
@dataclass_transform(kw_only_default=True, field_specifiers=(dataclasses.field,))
def plugin(cls: type[T]) -> type[T]:
    """Make a class a plugin: a dataclass whose fields are options, whose methods marked `@hookimpl` are hooks, and
    whose docstring is its help. Class attributes say how it fits: `wants` (forms an objective reads, best first),
    `head`, `gives` (forms a domain has), `splits` (those it gives, where not train, validation and test), `suggests` (core
    options it would rather have by default), `goes_with` and `tried_with` (plugins and options that `ftp check` tries it with,
    where it does nothing alone), `needs` (optional libraries without which it cannot be tried), `replaces` (default
    plugins that it makes needless), `builds_with` (its options without which core builds the network), `decides` (what only one
    plugin of a run may decide), `kind`. A method `hide(text)` gives a text of a row as it may be shown or kept (`Run.hidden`)."""
    made: type[T] = dataclass(eq=False, kw_only=True)(cls)
    made.__ftp_plugin__ = True  # type: ignore[attr-defined]
    return made


def discover() -> dict[str, list[Found]]:
    """Every installed plugin by name, without importing any. More than one under a name: two packages offer it."""
    points = metadata.entry_points()  # looks at the disk once, for both groups
    defaults = {(point.name, point.value) for point in points.select(group=DEFAULTS)}
    packages: dict[int, tuple[str, str]] = {}
    found: dict[str, list[Found]] = {}
    # a package may name a plugin of every run in the group of defaults alone
    for point in (*points.select(group=GROUP), *points.select(group=DEFAULTS)):
        if id(point.dist) not in packages:
            packages[id(point.dist)] = _package(point.dist) if point.dist else ("?", "")
        name, version = packages[id(point.dist)]
        one = Found(point.name, point.value, name, version, (point.name, point.value) in defaults)
        if one not in found.setdefault(point.name, []):
            found[point.name].append(one)
    return dict(sorted(found.items()))


def _package(distribution: metadata.Distribution) -> tuple[str, str]:
    """Name and version of a distribution, from the head of its metadata alone (parsing all of it is slow)."""
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    fields = dict(re.findall(r"^(Name|Version): *(.*?) *$", text.split("\n\n", 1)[0], re.MULTILINE))
    return fields.get("Name", "?"), fields.get("Version", "")


def from_path(where: str) -> tuple[list[Found], bool]:
    """Plugins of a file or folder that is not installed: `path.py`, `path.py:Class` or a folder of such files.
    The second value says whether they join the run at once (a class was named)."""
    import hashlib  # slow to import, and rarely needed

    _, wanted = python_files.split(where)
    files = python_files.files_to_run(where)
    if not files:
        raise UserError(f"--plugins-from {where}: no such file or folder with .py files")
    found = []
    for file in files:
        digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]
        name = f"{FROM_PATH}{file.stem}_{digest}"
        module = sys.modules.get(name)
        if module is None:
            module = python_files.load_module(name, file)
            sys.modules[name] = module
            try:
                python_files.run_module(module)
            except BaseException as error:
                del sys.modules[name]
                if isinstance(error, OF_THE_USER):
                    raise
                message = f"--plugins-from {where}: {file} does not import: {describe(error)}"
                raise (UserError if isinstance(error, Exception) else PluginError)(message) from error
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__dict__.get("__ftp_plugin__") and cls.__module__ == name:
                label = str(getattr(cls, "name", "") or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower())
                if not wanted or wanted == cls.__name__:
                    found.append(Found(label, f"{file}:{cls.__name__}", str(file), "", False, cls))
    if not found:
        names = f"class {wanted} marked with @ftp.plugin" if wanted else "class marked with @ftp.plugin"
        raise UserError(f"--plugins-from {where}: no {names} in it")
    return found, bool(wanted)


def meant(name: str, known: Mapping[str, Sequence[Found]]) -> list[Found]:
    """The plugins that `name` or `package:name` means: none, one, or several that share the name."""
    return names.lookup(name, known, lambda found: found.distribution)


def clash(what: str, found: Sequence[Found]) -> Problem:
    """The mistake of a name that several packages offer."""
    return names.clash(what, found[0].name, [one.distribution for one in found], [one.package for one in found])


def _unknown(name: str, known: Mapping[str, Sequence[Found]]) -> str:
    """What an unknown name could mean."""
    package, plain = names.split(name)
    if package and plain in known:
        return f"'{plain}' is offered by {' and '.join(found.package for found in known[plain])}"
    return nearest(plain, known)


def pick(wanted: Sequence[str], plugins_from: Sequence[str] = (), problems: list[Problem] | None = None) -> list[Picked]:
    """The plugins of a run in the order named, defaults last. `-name` leaves a default out; `package:name` is
    the plugin of that package, where several offer the name.

    Raises `UserError` with every unknown name (and the nearest known), every name that two packages offer, and every
    plugin that fails to import; or adds them to `problems` where a list is given.
    """
    mine: list[Problem] = [] if problems is None else problems
    known = discover()
    wanted = [name.strip() for name in wanted if name.strip()]
    for where in plugins_from:
        try:
            local, joins = from_path(where)
        except UserError as error:
            mine.extend(error.problems)
            continue
        for one in local:
            known[one.name] = [*known.get(one.name, []), one]
            if joins and one.name not in {names.split(name)[1] for name in wanted}:
                wanted.append(one.name)
    removed: list[Found] = []
    for name in wanted:
        if name.startswith("-"):
            removed += meant(name[1:], known)
    chosen: dict[str, Found] = {}
    for name in dict.fromkeys(wanted):
        bare = name.removeprefix("-")
        candidates = meant(bare, known)
        plain = names.split(bare)[1]
        if not candidates:
            what, command = ("no such plugin", "") if bare != name else ("no such plugin is installed", "ftp plugins")
            mine.append(Problem(f"--plugins {name}: {what}", _unknown(bare, known), command))
        elif bare != name:
            continue
        elif any(candidate in removed for candidate in candidates):
            mine.append(Problem(f"--plugins: '{name}' is both named and removed", "keep one of the two"))
        elif len(candidates) > 1:
            mine.append(clash(f"--plugins {name}", candidates))
        elif chosen.setdefault(plain, candidates[0]) != candidates[0]:
            packages = f"{chosen[plain].package} and {candidates[0].package}"
            mine.append(Problem(f"--plugins: two plugins of this run are called '{plain}': {packages}", "keep one of the two"))
    named = {names.split(name)[1] for name in wanted if not name.startswith("-")}
    for name, offered in known.items():
        # a package that merely uses the name of a default plugin takes no part; of two defaults one has to be left out
        defaults = [candidate for candidate in offered if candidate.default and candidate not in removed]
        if not defaults or name in named:
            continue
        if len(defaults) > 1:
            packages = " and ".join(candidate.package for candidate in defaults)
            either = " or ".join(f"--plugins ...,-{candidate.distribution}:{name}" for candidate in defaults)
            mine.append(Problem(f"two packages put '{name}' into every run: {packages}", f"leave one out: {either}"))
        chosen[name] = defaults[0]
    picked = []
    for name, one in chosen.items():
        try:
            picked.append(Picked(one, load(one)))
        except PluginError as error:
            hint = "" if name in wanted else f"\n  it is part of every run unless left out: --plugins ...,-{name}"
            raise PluginError(f"{error}{hint}") from error
        except UserError as error:
            hint = "" if name in wanted else f"; it is part of every run unless left out: --plugins ...,-{name}"
            mine.extend(dataclasses.replace(problem, fix=problem.fix + hint) for problem in error.problems)
    if mine and problems is None:
        raise UserError(mine)
    replaced = {name for one in picked for name in one.attribute("replaces")} - set(wanted)
    return [one for one in picked if one.name not in replaced or not one.found.default]


def implementations(cls: type) -> dict[str, dict[str, Any]]:
    """Marked hook methods of a plugin class -> pluggy's options of each (`wrapper`, `trylast`, ...)."""
    found = {}
    for name, function in inspect.getmembers(cls, inspect.isroutine):
        options = getattr(function, "ftp_impl", None)
        if options is not None:
            found[options.get("specname") or name] = options
    return found


def kind_of(cls: type) -> str:
    """What a plugin is, from its `kind` or from the hooks it answers."""
    if getattr(cls, "kind", None):
        return str(cls.kind)  # type: ignore[attr-defined]
    answers = implementations(cls)
    if "make_loss" in answers and not answers["make_loss"].get("wrapper"):
        return "objective"
    if "load_data" in answers and not answers["load_data"].get("wrapper"):
        return "domain"
    if "build_model" in answers:
        return "parameterisation"
    return "risk" if set(answers) == {"check_risks"} else "extra"


def summary_of(cls: type) -> str:
    """The first line of a plugin's docstring."""
    return (inspect.getdoc(cls) or "").strip().split("\n")[0]


def audit(picked: Sequence[Picked]) -> list[Problem]:
    """Everything wrong with a set of plugins that can be known without running them."""
    problems = [problem for one in picked for problem in audit_class(one.cls, f"plugin '{one.name}' of {one.found.package}")]
    for name, arity in hooks.ARITY.items():
        if arity != "one":
            continue
        answers = [one for one in picked if _answers(one.cls, name) and not implementations(one.cls)[name].get("trylast")]
        if len(answers) > 1:
            who = " and ".join(f"'{one.name}' ({one.found.package})" for one in answers)
            problems.append(Problem(f"hook {name} takes one answer, but {who} both give it",
                                    f"leave out {' or '.join(one.name for one in answers)}"))
    deciders: dict[str, list[Picked]] = {}
    for one in picked:
        for what in one.attribute("decides"):
            deciders.setdefault(what, []).append(one)
    for what, those in deciders.items():
        if len(those) > 1:
            who = " and ".join(f"'{one.name}' ({one.found.package})" for one in those)
            problems.append(Problem(f"{who} both decide {what}", f"leave out {' or '.join(one.name for one in those)}"))
    owner: dict[str, Picked] = {}
    for one in picked:
        for split in (one.attribute("splits") or SPLITS) if _answers(one.cls, "load_data") else ():
            if split in owner:
                who = " and ".join(f"'{giver.name}' ({giver.found.package})" for giver in (owner[split], one))
                problems.append(Problem(f"split '{split}' has two sources: {who}", "leave out one of them"))
                break
            owner[split] = one
    return problems


def audit_class(cls: type, who: str) -> list[Problem]:
    """What is wrong with one plugin's hooks: marks forgotten, names or arguments that the contract does not have."""
    problems = []
    for name, function in inspect.getmembers(cls, inspect.isroutine):
        marked = getattr(function, "ftp_impl", None)
        if marked is None:
            if name in hooks.ARITY:
                problems.append(Problem(f"{who}: method {name} has the name of a hook but no @hookimpl",
                                        "mark it with @hookimpl, or rename it"))
            continue
        hook = marked.get("specname") or name
        if hook not in hooks.ARITY:
            problems.append(Problem(f"{who}: @hookimpl {hook}: there is no such hook", nearest(hook, hooks.ARITY)))
            continue
        known = set(inspect.signature(getattr(hooks, hook)).parameters)
        for argument in list(inspect.signature(function).parameters)[1:]:
            if argument not in known:
                problems.append(Problem(f"{who}: hook {hook} has no argument '{argument}'",
                                        f"{nearest(argument, known)} it has: {', '.join(sorted(known))}".strip()))
        if hook == "check_risks" and marked.get("wrapper"):
            problems.append(Problem(f"{who}: check_risks cannot be wrapped", "give verdicts of your own instead"))
        if marked.get("wrapper") and not inspect.isgeneratorfunction(function):
            problems.append(Problem(f"{who}: hook {hook} is marked as a wrapper but never yields",
                                    "answer = yield; return answer"))
    return problems


def _answers(cls: type, hook: str) -> bool:
    """Whether a class answers a hook itself (a wrapper only changes what another answers)."""
    options = implementations(cls).get(hook)
    return options is not None and not options.get("wrapper")


def settle(picked: Sequence[Picked], form: str | None = None) -> tuple[Task | None, list[Problem]]:
    """The task of a set of plugins: which form its objective reads and which head that needs; or why they do not fit.

    Without an objective it is the domain's first form that has a head of its own, or another one of these, `form` (`--form`).
    """
    from ftp.data.forms import reachable

    objectives = [one for one in picked if _answers(one.cls, "make_loss") and one.attribute("wants")]
    domains = [one for one in picked if _answers(one.cls, "load_data") and one.attribute("gives")]
    if not domains:
        giving = [name for name, cls in installed() if _answers(cls, "load_data")]
        return None, [Problem("no plugin of this run gives data", f"name a domain: {', '.join(giving) or 'none is installed'}",
                              "ftp plugins")]
    if len(objectives) > 1:
        return None, []  # told by the audit: two answers to make_loss
    problems = []
    if not objectives:
        own = [one for one in domains[0].attribute("gives") if one in DEFAULT_HEADS]
        if own and form is not None and form not in own:
            return None, [Problem(f"--form {form}: '{domains[0].name}' gives {', '.join(own)}", "name one of these")]
        if own:
            chosen = form or own[0]
            return Task(cast(Form, chosen), DEFAULT_HEADS[chosen], tuple(one for one in own if one != chosen)), []
        forms = ", ".join(domains[0].attribute("gives"))
        reading = [name for name, cls in installed() if set(_tuple(cls, "wants")) & reachable(domains[0].attribute("gives"))]
        return None, [Problem(f"domain '{domains[0].name}' gives {forms}, for which no objective is named",
                              f"name one: {', '.join(reading) or 'none that fits is installed'}", "ftp plugins")]
    objective = objectives[0]
    wants = objective.attribute("wants")
    if form is not None and form not in wants:
        return None, [Problem(f"--form {form}: '{objective.name}' reads {' or '.join(wants)}, whatever the domain gives",
                              "leave it out")]
    for one in wants if form is None else (form,):
        if all(one in reachable(domain.attribute("gives")) for domain in domains):
            heads = objective.attribute("head")
            return Task(cast(Form, one), cast(Head, heads[0]) if heads else DEFAULT_HEADS.get(one, "tokens")), []
    fitting = [name for name, cls in installed() if set(wants) & reachable(_tuple(cls, "gives"))]
    for domain in domains:
        if not set(wants) & reachable(domain.attribute("gives")):
            given = ", ".join(domain.attribute("gives"))
            problems.append(Problem(
                f"'{objective.name}' wants {' or '.join(wants)}, but '{domain.name}' gives {given}",
                f"domains that fit: {', '.join(fitting) or 'none is installed'}", "ftp plugins"))
    none = f"the domains give no form in common that '{objective.name}' wants ({', '.join(wants)})"
    return None, problems or [Problem(none)]


def _tuple(cls: type, name: str) -> tuple[Any, ...]:
    value = getattr(cls, name, ())
    return (value,) if isinstance(value, str) else tuple(value)


def installed() -> Iterator[tuple[str, type]]:
    """Name and class of each installed plugin that imports."""
    for name, found in discover().items():
        with contextlib.suppress(UserError, PluginError):
            yield name, load_quietly(found[0])


def load(found: Found) -> type:
    """The class of a plugin. Raises `UserError` where it does not import, or its attributes hold what they cannot."""
    cls = found.load()
    problems = []
    for name, kind in ATTRIBUTES.items():
        value = getattr(cls, name, "")
        if value != "" and not kind.holds(value):
            problems.append(Problem(f"plugin '{found.name}' of {found.package}: its class attribute {name} is {value!r:.60}",
                                    f"it is {kind.words}"))
    if problems:
        raise UserError(problems)
    return cls


def load_quietly(found: Found) -> type:
    """The class of a plugin that nobody named: what its module prints when it is imported is dropped."""
    with quiet_import():
        return load(found)


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Drop what Python code prints, as an import must not write between the lines of a command."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def failures_named(*passing: type[BaseException]) -> Iterator[None]:
    """Turn what code of a plugin raises, wherever it is called (rows that are read late, a network, a command), into a
    `PluginError` that names the plugin, and `sys.exit` (and what else is no `Exception`) of whomever.

    Args:
        passing: exceptions that whoever called answers.
    """
    try:
        yield
    except (ExitStatus, *OF_THE_USER):
        raise
    except Exception as error:
        if isinstance(error, passing) or answers.passes_through(error) or faults.in_words(error) is not None:
            raise
        culprit = _culprit(error)
        if not culprit:
            raise
        raise PluginError(f"{culprit} failed: {describe(error)}") from error
    except BaseException as error:
        raise PluginError(f"{_culprit(error) or 'a library'} failed: {describe(error)}") from error


def _culprit(error: BaseException) -> str:
    """The plugin whose code raised: that of the innermost frame that belongs to one, of the exception or of those behind it."""
    behind = error.__cause__ or error.__context__
    if behind is not None and (culprit := _culprit(behind)):
        return culprit
    owners = {found.target.partition(":")[0].split(".")[0]: found for points in discover().values() for found in points}
    owners.pop("ftp", None)
    step, named = error.__traceback__, ""
    while step is not None:
        module = str(step.tb_frame.f_globals.get("__name__", ""))
        where = f"{step.tb_frame.f_code.co_name} ({Path(step.tb_frame.f_code.co_filename).name}, line {step.tb_lineno})"
        if module.startswith(FROM_PATH):
            named = f"the plugin in {step.tb_frame.f_code.co_filename}, in {where},"
        elif (found := owners.get(module.split(".")[0])) is not None:
            named = f"plugin '{found.name}' ({found.package}), in {where},"
        step = step.tb_next
    return named


class Hooks:
    """Calls hooks of the plugins of one run and remembers who answered.

    `one(name, ...)` for a hook of one answer, `each(name, ...)` for a collected one.
    """

    def __init__(self, picked: Sequence[Picked], values: Mapping[str, Any] | None = None) -> None:
        self.picked = tuple(picked)
        self.plugins: dict[str, Any] = {}
        self._manager = pluggy.PluginManager("ftp")
        self._manager.add_hookspecs(hooks)
        self._answers: list[Answer] | None = None  # who answered, while a collected hook is asked
        self._on_error: Callable[[Picked, Exception], Any] | None = None
        for one in picked:
            fields = {item.name: (values or {}).get(item.key, item.default) for item in one.options}
            try:
                instance = one.cls(**fields)
            except UserError:
                raise
            except (Exception, SystemExit) as error:
                raise _source(one).failure("its options", error) from error
            self.plugins[one.name] = instance
            self._manager.register(instance, name=one.name)
            for hook in implementations(one.cls):
                for impl in getattr(self._manager.hook, hook).get_hookimpls():
                    if impl.plugin is instance:
                        impl.function = self._guard(one, hook, impl.function, bool(impl.wrapper))

    def one(self, hook: str, **arguments: Any) -> Any:
        """The one answer to a hook, wrapped by whoever wraps it. Raises `PluginError` where a plugin fails."""
        outer, self._answers, self._on_error = (self._answers, self._on_error), None, None  # a plugin may ask while it answers
        try:
            answer = getattr(self._manager.hook, hook)(**arguments)
        finally:
            self._answers, self._on_error = outer
        if answer is None:
            raise UserError(f"no plugin of this run answers {hook}", "a default plugin was left out, or gave None")
        return answer

    def each(
        self, hook: str, *, on_error: Callable[[Picked, Exception], Any] | None = None, **arguments: Any
    ) -> list[Answer]:
        """Every answer to a hook, in the order in which plugins are named. With `on_error`, a plugin that raises, be it
        `UserError`, answers what `on_error(plugin, exception)` gives instead of ending the run."""
        outer = self._answers, self._on_error
        self._answers, self._on_error = [], on_error
        try:
            values = list(reversed(getattr(self._manager.hook, hook)(**arguments)))
            answered = list(reversed(self._answers))
        finally:
            self._answers, self._on_error = outer
        if len(values) == len(answered):
            return [dataclasses.replace(who, value=value) for who, value in zip(answered, values, strict=True)]
        return [Answer("(wrapped)", "", value) for value in values]

    def who(self, hook: str) -> list[tuple[str, str]]:
        """Plugins that answer a hook in the order in which they act, each with `answers`, `wraps` or `default`."""
        acting = []
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            acting.append((impl.plugin_name, "wraps" if impl.wrapper else "default" if impl.trylast else "answers"))
        answers = [one for one in acting if one[1] != "wraps"]
        return list(reversed(answers)) + [one for one in acting if one[1] == "wraps"]

    def _guard(self, one: Picked, hook: str, function: Callable[..., Any], wrapper: bool) -> Callable[..., Any]:
        trace = os.environ.get("FTP_TRACE", "") not in ("", "0")

        def told(started: float, verb: str) -> None:
            if trace:
                warn(f"ftp: {hook} {verb} by {one.name} in {1000 * (time.perf_counter() - started):.1f} ms")

        source = _source(one)

        def call(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                value = function(*arguments)
            except OF_THE_USER:
                raise
            except Exception as error:
                if self._on_error is not None:
                    value = self._on_error(one, error)
                elif answers.passes_through(error):
                    raise
                else:
                    raise source.failure(hook, error) from error
            except BaseException as error:  # also where a check may fail: whoever ends the process means more than that
                raise source.failure(hook, error) from error
            else:
                value = answers.checked(hook, value, source) if value is not None else None
            told(started, "answered" if value is not None else "passed on")
            if value is not None and self._answers is not None:
                self._answers.append(Answer(one.name, one.found.package, value))
            return value

        def wrap(*arguments: Any) -> Generator[Any, Any, Any]:
            started = time.perf_counter()
            try:
                value = yield from _wrapped_once(function(*arguments), f"{source} wraps {hook}")
            except (Exception, SystemExit) as error:
                if answers.passes_through(error):
                    raise
                raise source.failure(hook, error) from error
            if value is None:
                raise PluginError(f"{source} wrapped {hook} and gave back nothing: a wrapper ends with `return answer`")
            told(started, "wrapped")
            is_one = hooks.ARITY[hook] == "one"
            return answers.checked(hook, value, source) if is_one else answers.checked_list(hook, value, source)

        return wrap if wrapper else call

    def hide(self, text: str) -> str:
        """What every plugin of the run with a method `hide(text)` leaves of a text."""
        for one in self.picked:
            hide = getattr(self.plugins[one.name], "hide", None)
            if hide is None:
                continue
            try:
                hidden = hide(text)
            except (Exception, SystemExit) as error:
                raise _source(one).failure("hide", error) from error
            if not isinstance(hidden, str):
                raise _source(one).error("hide", answers.Mismatch(answers.an(hidden), "a text"))
            text = hidden
        return text


def _source(one: Picked) -> answers.Source:
    return answers.Source(one.name, one.found.package)


def _wrapped_once(wrapper: Generator[Any, Any, Any], who: str) -> Generator[Any, Any, Any]:
    """Run a plugin's wrapper around what is sent in, and give what it returns.

    Raises:
        PluginError: it yields never, or twice, of which pluggy would speak without a name.
    """
    try:
        next(wrapper)
    except StopIteration:
        raise PluginError(f"{who} but ended before it yielded: a wrapper yields once, on every path") from None
    try:
        try:
            answer = yield
        except BaseException as error:
            wrapper.throw(error)
        else:
            wrapper.send(answer)
    except StopIteration as end:
        return end.value
    wrapper.close()
    raise PluginError(f"{who} and yields twice: a wrapper yields once")


def core_options() -> list[Option]:
    """The options of core itself."""
    from ftp.settings import Settings

    return options_of(Settings, "")


def suggested(
    picked: Iterable[Picked], model: str = "", wishes: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, str], dict[str, Problem]]:
    """Core options for which plugins of this run suggest another default, whose suggestion each is, and for which of them two
    suggestions contradict one another. The order in which plugins are named makes no difference.

    A parameterisation's suggestion counts more than an objective's, that more than a domain's, and that more than another
    plugin's. What an offered `model` suggests (its `wishes`) takes the place of an objective's. The learning rates of the first
    two are multiplied: a parameterisation says what it wants where core's default would be right for all weights, and wants
    the same multiple of what an objective or a model suggests instead.
    """
    from ftp.settings import Settings

    found: dict[str, dict[int, dict[str, Any]]] = {}
    for one in picked:
        kind = kind_of(one.cls)
        rank = STRENGTH.index(kind) if kind in STRENGTH else len(STRENGTH)
        for key, value in getattr(one.cls, "suggests", {}).items():
            found.setdefault(key, {}).setdefault(rank, {})[one.name] = value
    for key, value in (wishes or {}).items():
        found.setdefault(key, {})[STRENGTH.index("objective")] = {model: value}
    values, origin, problems = dict[str, Any](), dict[str, str](), dict[str, Problem]()
    for key, ranks in found.items():
        strongest = ranks[min(ranks)]
        if len(set(map(repr, strongest.values()))) > 1:
            told = " and ".join(f"{name}: {value}" for name, value in sorted(strongest.items()))
            flag = "--" + key.replace("_", "-")
            problems[key] = Problem(f"{flag}: two plugins suggest different values ({told})", f"say which: {flag} VALUE")
            continue
        values[key], origin[key] = next(iter(strongest.values())), f"suggested by {' and '.join(sorted(strongest))}"
        if key == "learning_rate" and min(ranks) == 0 and 1 in ranks:
            objective, rate = next(iter(ranks[1].items()))
            times = values[key] / Settings().learning_rate
            values[key] = float(f"{rate * times:.6g}")
            origin[key] = f"{rate:g} suggested by {objective}, {times:g} times that by {' and '.join(sorted(strongest))}"
    return values, origin, problems


def lock(picked: Sequence[Picked]) -> list[dict[str, str]]:
    """What a run was made with: name, distribution, version, a hash of the source, kind and summary of each plugin."""
    return [
        {"name": one.name, "distribution": one.found.distribution, "version": one.found.version, "sha256": source_hash(one.cls),
         "kind": kind_of(one.cls), "summary": summary_of(one.cls)}
        for one in picked
    ]


def source_hash(cls: type) -> str:
    """sha256 over the Python files of the package (or the file) that a plugin's class is defined in."""
    import hashlib

    file = Path(inspect.getfile(cls))
    files = sorted(file.parent.rglob("*.py")) if (file.parent / "__init__.py").exists() else [file]
    digest = hashlib.sha256()
    for one in files:
        digest.update(one.relative_to(file.parent).as_posix().encode())
        digest.update(one.read_bytes())
    return digest.hexdigest()
