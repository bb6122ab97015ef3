"""Call the hooks of the plugins of a run.

pluggy does the calling; this module knows who answered, so that an error names plugin, package and hook.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from ftp import hooks
from ftp.answers.fields import an
from ftp.answers.hook_answers import checked, checked_list
from ftp.answers.origin import Mismatch, Source, passes_through
from ftp.errors import ExitStatus, PluginError, UserError, describe
from ftp.host import faults
from ftp.host.terminal import OF_THE_USER, warn
from ftp.plugin_info import Answer, Picked
from ftp.plugins.declare import implementations
from ftp.plugins.find import FROM_PATH, discover


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
        if isinstance(error, passing) or passes_through(error) or faults.in_words(error) is not None:
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
                elif passes_through(error):
                    raise
                else:
                    raise source.failure(hook, error) from error
            except BaseException as error:  # also where a check may fail: whoever ends the process means more than that
                raise source.failure(hook, error) from error
            else:
                value = checked(hook, value, source) if value is not None else None
            told(started, "answered" if value is not None else "passed on")
            if value is not None and self._answers is not None:
                self._answers.append(Answer(one.name, one.found.package, value))
            return value

        def wrap(*arguments: Any) -> Generator[Any, Any, Any]:
            started = time.perf_counter()
            try:
                value = yield from _wrapped_once(function(*arguments), f"{source} wraps {hook}")
            except (Exception, SystemExit) as error:
                if passes_through(error):
                    raise
                raise source.failure(hook, error) from error
            if value is None:
                raise PluginError(f"{source} wrapped {hook} and gave back nothing: a wrapper ends with `return answer`")
            told(started, "wrapped")
            is_one = hooks.ARITY[hook] == "one"
            return checked(hook, value, source) if is_one else checked_list(hook, value, source)

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
                raise _source(one).error("hide", Mismatch(an(hidden), "a text"))
            text = hidden
        return text


def _source(one: Picked) -> Source:
    return Source(one.name, one.found.package)


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
