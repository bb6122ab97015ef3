"""What a plugin says of itself: the decorator, its kind, the hooks that it answers. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform, overload

from ftp import forms, heads, registry
from ftp.answers.kinds import BOOLEAN, COUNT, FINITE, OPTIONS, TEXT, Kind, RegisteredName, list_of, one_of, or_none, words_of
from ftp.errors import Problem, nearest
from ftp.forms import catalogue
from ftp.plugin_info import Candidate, Declaration, declaration_of

T = TypeVar("T")
KINDS = ("objective", "parameterisation", "domain", "risk", "core", "extra")
Words = str | Sequence[str]

FIELDS: Mapping[str, Kind] = {
    "settings": OPTIONS,
    "fewest_rows": COUNT,
    "most_rows": or_none(COUNT),
    "needs": words_of(),
    "cost": Kind("a number above 0", lambda value: FINITE.holds(value) and value > 0),  # type: ignore[operator]
    "trains_network": BOOLEAN,
    "why": TEXT,
}
"""The fields of a candidate, and what each may hold."""


def _is_candidate(value: object) -> bool:
    if isinstance(value, Candidate):
        return all(kind.holds(getattr(value, name)) for name, kind in FIELDS.items())
    return OPTIONS.holds(value)


CANDIDATE = Kind("a ftp.Candidate, or a dictionary of option -> value", _is_candidate)

VALUES: Mapping[str, Kind] = {
    "kind": one_of(KINDS),
    "wants": RegisteredName(forms.all_forms, or_several=True),
    "gives": RegisteredName(forms.all_forms, or_several=True),
    "head": RegisteredName(heads.all_heads),
    "suggests": OPTIONS,
    "tried_with": OPTIONS,
    "candidates": list_of(CANDIDATE, "a list of ftp.Candidate(settings={...}), or of dictionaries of option -> value"),
    "detaches": TEXT,
    **dict.fromkeys(("general", "main_only", "adds_weights", "starts_as_base"), BOOLEAN),
    **dict.fromkeys(("splits", "goes_with", "needs", "replaces", "builds_with", "decides", "requires", "before", "after"),
                    words_of()),
}
"""The words of a declaration, and what each may hold."""

REGISTERED_IN = {"wants": catalogue.GROUP, "gives": catalogue.GROUP, "head": heads.GROUP}
"""Words that name what packages register -> the group of entry points."""


@overload
@dataclass_transform(kw_only_default=True, field_specifiers=(dataclasses.field,))
def plugin(cls: type[T], /) -> type[T]: ...


@overload
def plugin(
    *,
    kind: str = ...,
    wants: Words = ...,
    head: str = ...,
    gives: Words = ...,
    splits: Words = ...,
    general: bool = ...,
    suggests: Mapping[str, object] = ...,
    goes_with: Words = ...,
    tried_with: Mapping[str, object] = ...,
    needs: Words = ...,
    replaces: Words = ...,
    builds_with: Words = ...,
    decides: Words = ...,
    requires: Words = ...,
    before: Words = ...,
    after: Words = ...,
    candidates: Sequence[Candidate | Mapping[str, object]] = ...,
    main_only: bool = ...,
    adds_weights: bool = ...,
    starts_as_base: bool = ...,
    detaches: str = ...,
) -> Callable[[type[T]], type[T]]: ...


def plugin(cls: type[T] | None = None, /, **words: object) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class a plugin: a dataclass whose fields are options, whose methods marked `@hookimpl` are hooks, and whose
    docstring is its help. The brackets (`words`) say how it fits with others; without any, `@plugin` alone (`cls`) will do. A
    class made from another plugin takes over what that one declares.

    Args:
        kind: objective, parameterisation, domain, risk or extra, where its hooks do not say so.
        wants: the forms that an objective reads, best first.
        head: what an objective's network ends in.
        gives: the forms that a domain's rows have, the richest first.
        splits: the splits that a domain gives, where not train, validation and test.
        general: a domain reads any rows of its forms, whatever they are about: `ftp advise` takes it where none is named.
        suggests: core's options -> the defaults that it would rather have.
        requires: plugins without which it cannot run; a run without one of them is refused with the command that has it.
        before: plugins before which it acts, as if it were named before them: its wrappers are nearer to what is wrapped.
        after: plugins after which it acts.
        decides: what only one plugin of a run may decide.
        replaces: default plugins that it makes needless.
        builds_with: its options without which core builds the network, not its `build_model`.
        candidates: settings that are worth a try on rows of one's own, each a `ftp.Candidate`, or a dictionary of option ->
            value; `ftp advise` races those that fit, with `[{}]` the plugin as it is.
        main_only: its `on_event` is called on the main process alone.
        adds_weights: False where a parameterisation trains the base's own weights and adds none.
        starts_as_base: False where the model gives other answers than the base before any training.
        detaches: what an objective means to leave out of the gradient, in words, for `ftp check`.
        goes_with: plugins that `ftp check` tries it with, where it does nothing alone.
        tried_with: options that `ftp check` tries it with.
        needs: optional libraries without which it cannot be tried.
    """

    def declare(cls: type[T]) -> type[T]:
        plugin_class: type[T] = dataclass(eq=False, kw_only=True)(cls)
        plugin_class.__ftp_plugin__ = _declared(declaration_of(cls), words)  # type: ignore[attr-defined]
        return plugin_class

    return declare if cls is None else declare(cls)


def _declared(inherited: Declaration, words: Mapping[str, object]) -> Declaration:
    """What words declare, on top of what is inherited. What cannot be is left as it was, and reported later by `mistakes_of`:
    which forms and heads there are is known only when all packages have been imported."""
    values: dict[str, Any] = {}
    for word in words.keys() & VALUES.keys():
        value = words[word]
        before = getattr(inherited, word)
        kind = Mapping if isinstance(before, Mapping) else type(before)
        if word == "candidates":
            values[word] = _as_candidates(value)
        elif kind is tuple:
            values[word] = _as_tuple(value)
        elif isinstance(value, kind):
            values[word] = value
    return dataclasses.replace(inherited, **values, words={**inherited.words, **words})


def _as_tuple(value: object) -> tuple[object, ...]:
    """A tuple of words; a single one counts as one of it."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, Sequence | set | frozenset) else ()


def _as_candidates(value: object) -> tuple[Candidate, ...]:
    """Candidates, those that are written as a dictionary of settings too; what cannot be is left out, and reported later."""
    candidates = []
    for item in _as_tuple(value):
        if isinstance(item, Candidate) and OPTIONS.holds(item.settings):
            candidates.append(item)
        elif isinstance(item, Mapping):
            candidates.append(Candidate(dict(item)))
    return tuple(candidates)


def mistakes_of(cls: type, who: str) -> list[Problem]:
    """What is wrong with a declaration: its words, its values, and what stands in the body of the class in its place."""
    mistakes = [*_in_brackets(declaration_of(cls).words), *_in_body(cls)]
    return [dataclasses.replace(mistake, what=f"{who}: {mistake.what}") for mistake in mistakes]


def _in_brackets(words: Mapping[str, object]) -> list[Problem]:
    """Unknown words, and values that a word cannot have."""
    problems = []
    for word, value in words.items():
        kind = VALUES.get(word)
        if kind is None:
            fix = nearest(word, VALUES) or f"there are: {', '.join(VALUES)}"
            problems.append(Problem(f"@plugin({word}=...): a plugin declares no such thing", fix))
        elif not kind.holds(value):
            # which names are broken is known now: the kind has read what is registered
            unfit = Problem(f"@plugin({word}=...): it is {value!r:.60}", f"it is {kind.words}")
            problems += _names_of_broken(word, value) or [unfit]
    return problems


def _names_of_broken(word: str, value: object) -> list[Problem]:
    """Why forms or heads that a word names cannot be used, where their packages are broken."""
    if word not in REGISTERED_IN:
        return []
    unusable = registry.broken(REGISTERED_IN[word])
    problems = []
    for name in _as_tuple(value):
        if isinstance(name, str) and name in unusable:
            problems.append(unusable[name])
    return problems


def _in_body(cls: type) -> list[Problem]:
    """Attributes in the body of a class that are, or look like, words of its declaration."""
    problems = []
    options = {item.name for item in dataclasses.fields(cls)}
    for name, value in vars(cls).items():
        if name in options or name.startswith("_") or inspect.isroutine(value):
            continue
        # a misspelt word shows by its value too: a constant of the plugin's own may have any name
        near = difflib.get_close_matches(name, VALUES, 1, 0.75)
        if name in VALUES or (near and VALUES[near[0]].holds(value)):
            word = name if name in VALUES else near[0]
            problems.append(Problem(f"{name} = ... in the body of class {cls.__name__} declares nothing",
                                    f"it stands in the brackets of the decorator: @plugin({word}={value!r:.60})"))
    return problems


def implementations(cls: type) -> dict[str, Mapping[str, object]]:
    """Marked hook methods of a plugin class -> pluggy's options of each (`wrapper`, `trylast`, ...)."""
    options_of_hook = {}
    for name, function in inspect.getmembers(cls, inspect.isroutine):
        options = getattr(function, "ftp_impl", None)
        if options is not None:
            options_of_hook[options.get("specname") or name] = options
    return options_of_hook


def kind_of(cls: type) -> str:
    """What a plugin is, from its `kind` or from the hooks it answers."""
    declared = declaration_of(cls).kind
    if declared:
        return declared
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


def answers_hook(cls: type, hook: str) -> bool:
    """Whether a class answers a hook itself (a wrapper only changes what another answers)."""
    options = implementations(cls).get(hook)
    return options is not None and not options.get("wrapper")
