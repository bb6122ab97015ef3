"""The words of a command line, told apart: options with their values, switches, and what is no option.

click stops at the first mistake and must know all options beforehand; ours depend on the plugins that the same line
names. So a line is read twice: once for what names plugins, and again when their options are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ftp.errors import Problem, nearest
from ftp.host.terminal import is_unicode
from ftp.options import Option
from ftp.plugins import trust
from ftp.plugins.plan import split_names

FLAG = re.compile(r"--?[A-Za-z]")
HELP = ("-h", "--help")
WITH_VALUE = ("--plugins", "--resume", "--resume-with")
"""Flags of the line itself that take a value; no option of a run."""


@dataclass
class Line:
    """What a command line says, before anything is looked up.

    `values`: options by dotted key, as text (or True and False). `words`: what is no option. `changes`: what `--resume-with`
    gives, which is among the values too. `switches`: those that were given of the command's own (`--json`).
    """

    words: list[str] = field(default_factory=list)
    values: dict[str, str | bool] = field(default_factory=dict)
    plugins: list[str] | None = None
    resume: str | None = None
    changes: dict[str, str] = field(default_factory=dict)
    trust_recipe: bool = False
    help: bool = False
    switches: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put(self, item: Option, value: str | bool) -> None:
        """Take up the value of an option; another value than before is a mistake, but of a list more of it."""
        if item.key in self.values and item.type_name.startswith("list of"):
            value = f"{self.values[item.key]},{value}"
        elif self.values.get(item.key, value) != value:
            self.problems.append(Problem(f"{item.flag}: given twice, as {self.values[item.key]} and as {value}",
                                         "keep one of the two"))
        self.values[item.key] = value

    def put_change(self, text: str) -> None:
        """Take up one `KEY=VALUE` of `--resume-with`."""
        key, equals, value = text.partition("=")
        if not equals:
            self.problems.append(Problem(f"--resume-with {text}: not KEY=VALUE", "for example: --resume-with save_steps=50"))
            return
        name = key.strip().replace("-", "_")
        self.changes[name] = value.strip()
        self.values[name] = value.strip()


def read(words: Sequence[str], options: Iterable[Option], switches: Iterable[str] = ()) -> Line:
    """Read a line with the options that are known.

    An option takes the word after it, whatever that is, unless it is itself a flag; `--name=value` takes anything.

    Args:
        switches: flags without value that a command adds (`--json`).
    """
    return _Reader(words, options, switches).read()


class _Reader:
    """Takes the words of a line one after another."""

    def __init__(self, words: Sequence[str], options: Iterable[Option], switches: Iterable[str]) -> None:
        # options of plugins come later: until then their flags are unknown and are kept as they stand
        self.rest = list(words)
        self.line = Line(problems=_not_utf8(words))
        self.options: dict[str, Option] = {}  # by flag
        self.negatives: dict[str, Option] = {}  # by flag, for what --no-... switches off
        for item in options:
            for flag in item.flags:
                self.options[flag] = item
                if item.is_flag:
                    self.negatives[f"--no-{flag[2:]}"] = item
        self.switches = frozenset(switches)
        self.known = {*self.options, *self.negatives, *WITH_VALUE, *self.switches, *HELP, trust.FLAG}

    def read(self) -> Line:
        while self.rest:
            word = self.rest.pop(0)
            if word == "--":
                self.line.words += self.rest
                break
            if FLAG.match(word):
                self._read_flag(word)
            else:
                self.line.words.append(word)
        return self.line

    def _read_flag(self, word: str) -> None:
        line = self.line
        flag, equals, after_equals = word.partition("=")
        value = after_equals if equals else None
        option = self.options.get(flag)
        if flag in HELP:
            line.help = True
        elif flag == trust.FLAG:
            line.trust_recipe = True
        elif flag in self.switches:
            line.switches.add(flag)
        # options come before `--no-...`, as a plugin may name one `no_...` itself
        elif option is not None and option.is_flag:
            line.put(option, self._value_or_true(value))
        elif option is not None:
            text = self._value(flag, value, f": {option.help}")
            if text is not None:
                line.put(option, text)
        elif flag in self.negatives:
            negated = self.negatives[flag]
            if value is not None:
                line.problems.append(Problem(f"{word}: takes no value", f"write {flag}, or {negated.flag} {value}"))
            line.put(negated, False)
        elif flag in WITH_VALUE:
            self._read_own(flag, self._value(flag, value))
        else:
            # an option of a plugin that is not known yet, or a mistake
            unknown = self._value_or_true(value)
            if flag.startswith("--"):
                line.values[flag.lstrip("-")] = unknown
            else:
                fix = nearest(f"-{flag}", self.known) or "options begin with two dashes"
                line.problems.append(Problem(f"{flag}: no such option", fix))

    def _read_own(self, flag: str, value: str | None) -> None:
        if value is None:
            return
        if flag == "--plugins":
            self.line.plugins = [*(self.line.plugins or []), *split_names(value)]
        elif flag == "--resume":
            self.line.resume = value
        else:
            self.line.put_change(value)

    def _value(self, flag: str, value: str | None, meaning: str = "") -> str | None:
        """The value after `=`, else the next word; None, and a problem, where that is a flag or there is none."""
        if value is not None:
            return value
        if self._next() is None:
            self.line.problems.append(Problem(f"{flag}: its value is missing", f"{flag} takes a value{meaning}"))
            return None
        return self.rest.pop(0)

    def _value_or_true(self, value: str | None) -> str | bool:
        """The value after `=`, else the next word; True where that is a flag or a recipe, or there is none."""
        if value is not None:
            return value
        following = self._next()
        if following is None or is_recipe(following):
            return True
        return self.rest.pop(0)

    def _next(self) -> str | None:
        """The next word, where it is meant as a value: `-1` and `-gap` are, a word with two dashes or a known flag is not."""
        if not self.rest:
            return None
        word = self.rest[0]
        is_flag = FLAG.match(word) and (word.startswith("--") or word in self.known)
        return None if is_flag else word


def is_recipe(word: str) -> bool:
    """Whether a word is the name of a recipe."""
    return word.endswith(".toml")


def _not_utf8(words: Sequence[str]) -> list[Problem]:
    """Names of files that are not UTF-8 cannot be written into the recipe of a run."""
    problems = []
    for word in words:
        if not is_unicode(word):
            problems.append(Problem(f"{word}: this name is not UTF-8, so that no recipe can hold it",
                                    "rename the file or folder, or make a link to it under another name", "ln -s OLD NEW"))
    return problems
