"""Call the hooks of the plugins of a run.

pluggy does the calling; this module knows who answered, so that an error names plugin, package and hook.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pluggy

from ftp import hooks
from ftp.answers.fields import an
from ftp.answers.hook_answers import checked, checked_list
from ftp.answers.origin import Mismatch, Source, named
from ftp.errors import ExitStatus, PluginError, UserError, describe, passes_through
from ftp.host import faults
from ftp.host.terminal import OF_THE_USER, warn
from ftp.plugin_info import Answer, Picked
from ftp.plugins.declare import implementations
from ftp.plugins.find import FROM_PATH, discover
from ftp.types import Run, StartedRun, Stateful

OnError = Callable[[Picked, Exception], object]
"""Gives the answer of a plugin that raised."""

Wrapper = Generator[None, object, object]
"""What a plugin's wrapper is while it runs: it is sent what others answered, and returns what it makes of that."""


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
    # top package -> the plugin in it
    owners = {}
    for offered in discover().values():
        for plugin in offered:
            owners[plugin.target.partition(":")[0].split(".")[0]] = plugin
    owners.pop("ftp", None)  # core's own plugins: a fault there is a fault of core

    culprit = ""
    frame = error.__traceback__
    while frame is not None:
        module = str(frame.tb_frame.f_globals.get("__name__", ""))
        file = frame.tb_frame.f_code.co_filename
        where = f"{frame.tb_frame.f_code.co_name} ({Path(file).name}, line {frame.tb_lineno})"
        owner = owners.get(module.split(".")[0])
        if module.startswith(FROM_PATH):
            culprit = f"the plugin in {file}, in {where},"
        elif owner is not None:
            culprit = f"plugin '{owner.name}' ({owner.package}), in {where},"
        frame = frame.tb_next
    return culprit


class Hooks:
    """Calls hooks of the plugins of one run and remembers who answered.

    `one(name, ...)` for a hook of one answer, `each(name, ...)` for a collected one.
    """

    def __init__(self, picked: Sequence[Picked], values: Mapping[str, object] | None = None) -> None:
        self.picked = tuple(picked)
        self.plugins: dict[str, object] = {}
        self._sources: dict[str, dict[str, Any]] = {}  # domain -> where its own rows are: `data`, `columns`
        self._manager = pluggy.PluginManager("ftp")
        self._manager.add_hookspecs(hooks)
        self._answers: list[Answer] | None = None  # who answered, while a collected hook is asked
        self._on_error: OnError | None = None
        for plugin in picked:
            instance = self._instance(plugin, values or {})
            self.plugins[plugin.name] = instance
            self._manager.register(instance, name=plugin.name)
            # pluggy calls a method that checks the answer, instead of the plugin's own
            for hook in implementations(plugin.cls):
                for impl in getattr(self._manager.hook, hook).get_hookimpls():
                    if impl.plugin is instance:
                        guard = self._guarded_wrapper if impl.wrapper else self._guarded
                        impl.function = guard(plugin, hook, impl.function)

        self._main_only = [self.plugins[plugin.name] for plugin in self.picked if plugin.declaration.main_only]

    def _instance(self, plugin: Picked, values: Mapping[str, object]) -> object:
        """The object of a plugin, made with its options."""
        own_fields = {item.name for item in dataclasses.fields(plugin.cls)}
        fields = {}
        for item in plugin.options:
            value = values.get(item.key, item.default)
            if item.name in own_fields:
                fields[item.name] = value
            elif value != item.default:
                self._sources.setdefault(plugin.name, {})[item.name] = value
        try:
            return plugin.cls(**fields)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise _source(plugin).failure("its options", error) from error

    @contextlib.contextmanager
    def _asking(self, answers: list[Answer] | None = None, on_error: OnError | None = None) -> Iterator[None]:
        """While a hook is asked: where answers are noted, and who answers for a plugin that fails. A plugin may ask while it
        answers, so that what was there before comes back."""
        outer = self._answers, self._on_error
        self._answers = answers
        self._on_error = on_error
        try:
            yield
        finally:
            self._answers, self._on_error = outer

    def one(self, hook: str, **arguments: object) -> Any:
        """The one answer to a hook, wrapped by whoever wraps it.

        Raises:
            PluginError: a plugin fails.
            UserError: no plugin answers.
        """
        with self._asking():
            answer = getattr(self._manager.hook, hook)(**arguments)
        if answer is None:
            raise UserError(f"no plugin of this run answers {hook}", "a default plugin was left out, or gave None")
        return answer

    def each(
        self,
        hook: str,
        *,
        on_error: OnError | None = None,
        without: Iterable[str] = (),
        **arguments: object,
    ) -> list[Answer]:
        """Every answer to a hook, in the order in which plugins are named.

        Args:
            on_error: answers for a plugin that raises, be it `UserError`; None: the error ends the run.
            without: names of plugins that are not asked.
        """
        answers: list[Answer] = []
        with self._asking(answers, on_error):
            values = list(self._caller(hook, arguments, without)(**arguments))
        # pluggy asks the plugin that was registered last first
        answers.reverse()
        values.reverse()
        # a wrapper that adds or drops answers leaves nobody to name
        if len(values) == len(answers):
            return [dataclasses.replace(answer, value=value) for answer, value in zip(answers, values, strict=True)]
        return [Answer("(wrapped)", "", value) for value in values]

    def _caller(self, hook: str, arguments: Mapping[str, Any], without: Iterable[str] = ()) -> pluggy.HookCaller:
        """What asks the plugins but for those named in `without`; on other processes than the main one also without those that
        hear events there alone."""
        unasked = [self.plugins[name] for name in without]
        if unasked:
            return self._manager.subset_hook_caller(hook, unasked)
        if hook == "on_event" and self._main_only:
            run: StartedRun = arguments["run"]
            if not run.accelerator.is_main_process:
                return self._manager.subset_hook_caller(hook, self._main_only)
        return cast(pluggy.HookCaller, getattr(self._manager.hook, hook))

    def who(self, hook: str) -> list[tuple[str, str]]:
        """Plugins that answer a hook in the order in which they act, each with `answers`, `wraps` or `default`."""
        acting = []
        for impl in getattr(self._manager.hook, hook).get_hookimpls():
            if impl.wrapper:
                acting.append((impl.plugin_name, "wraps"))
            elif impl.trylast:
                acting.append((impl.plugin_name, "default"))
            else:
                acting.append((impl.plugin_name, "answers"))
        answering = [(name, how) for name, how in acting if how != "wraps"]
        wrapping = [(name, how) for name, how in acting if how == "wraps"]
        # pluggy lists who is asked last first, and wrappers from the inside outwards
        return answering[::-1] + wrapping

    def states(self) -> dict[str, Mapping[str, object]]:
        """What plugins keep in a checkpoint (`Stateful`), by plugin name."""
        states = {}
        for plugin in self.picked:
            stateful = self.plugins[plugin.name]
            if not isinstance(stateful, Stateful):
                continue
            with named(_source(plugin), "state"):
                states[plugin.name] = stateful.state()
            if not isinstance(states[plugin.name], Mapping):
                raise _source(plugin).error("state", Mismatch(an(states[plugin.name]), "a dictionary"))
        return states

    def restore(self, states: Mapping[str, Mapping[str, object]]) -> None:
        """Give plugins back what they keep in a checkpoint."""
        for plugin in self.picked:
            stateful = self.plugins[plugin.name]
            if isinstance(stateful, Stateful) and plugin.name in states:
                with named(_source(plugin), "restore"):
                    stateful.restore(states[plugin.name])

    def seen_by(self, domain: str, run: Run) -> Run:
        """A run as a domain sees it that reads rows: with its own `--NAME.data` and `--NAME.columns`, where they are given."""
        own = self._sources.get(domain)
        if not own:
            return run
        return dataclasses.replace(run, settings=dataclasses.replace(run.settings, **own))

    def _guarded(self, plugin: Picked, hook: str, function: Callable[..., object]) -> Callable[..., object]:
        """A plugin's method with its answer checked, and with what it raises reported in the plugin's name."""
        source = _source(plugin)

        def call(*arguments: Any) -> object:
            started = time.perf_counter()
            if hook == "load_data":
                arguments = tuple(self.seen_by(plugin.name, run) for run in arguments)
            try:
                value = function(*arguments)
            except OF_THE_USER:
                raise
            except Exception as error:
                if self._on_error is not None:
                    value = self._on_error(plugin, error)
                elif passes_through(error):
                    raise
                else:
                    raise source.failure(hook, error) from error
            except BaseException as error:  # also where a check may fail: whoever ends the process means more than that
                raise source.failure(hook, error) from error
            else:
                if value is not None:
                    value = checked(hook, value, source)
            if value is None:  # it has nothing to say
                _trace(hook, "passed on", plugin, started)
                return None
            _trace(hook, "answered", plugin, started)
            if self._answers is not None:
                self._answers.append(Answer(plugin.name, plugin.found.package, value))
            return value

        return call

    def _guarded_wrapper(self, plugin: Picked, hook: str, function: Callable[..., Wrapper]) -> Callable[..., Wrapper]:
        """A plugin's wrapper with what it gives back checked, and with what it raises reported in the plugin's name."""
        source = _source(plugin)

        def wrap(*arguments: object) -> Wrapper:
            started = time.perf_counter()
            try:
                value = yield from _wrapped_once(function(*arguments), f"{source} wraps {hook}")
            except (Exception, SystemExit) as error:
                if passes_through(error):
                    raise
                raise source.failure(hook, error) from error
            if value is None:
                raise PluginError(f"{source} wrapped {hook} and gave back nothing: a wrapper ends with `return answer`")
            _trace(hook, "wrapped", plugin, started)
            if hooks.ARITY[hook] == "one":
                return checked(hook, value, source)
            return checked_list(hook, value, source)

        return wrap

    def hide(self, text: str) -> str:
        """What every plugin of the run that hides words leaves of a text."""
        with self._asking():
            for impl in self._manager.hook.hide.get_hookimpls():
                hidden = impl.function(*[text] * len(impl.argnames))  # a method may take no argument
                if hidden is None:  # a forgotten return would show what is private
                    failing = next(plugin for plugin in self.picked if plugin.name == impl.plugin_name)
                    raise _source(failing).error("hide", Mismatch("None", "a text"))
                text = str(hidden)
        return text


def _source(plugin: Picked) -> Source:
    return Source(plugin.name, plugin.found.package)


def _trace(hook: str, verb: str, plugin: Picked, started: float) -> None:
    """With `FTP_TRACE=1`, write down who did what in a hook, and how long it took.

    Args:
        started: the reading of `time.perf_counter` before it was called.
    """
    if os.environ.get("FTP_TRACE", "") not in ("", "0"):
        warn(f"ftp: {hook} {verb} by {plugin.name} in {1000 * (time.perf_counter() - started):.1f} ms")


def _wrapped_once(wrapper: Wrapper, who: str) -> Wrapper:
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
