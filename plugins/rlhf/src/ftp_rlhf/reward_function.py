"""Rewards that are Python functions of the user."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from types import ModuleType

from ftp import UserError
from ftp.errors import describe
from ftp.host import python_files
from ftp.types import Row
from ftp_rlhf.rewards import Ids, Judge


def function_judge(spec: str) -> tuple[str, Judge]:
    """`path.py:function` with its name. It is called with those of these that it takes: `prompts` (messages), `completions`
    (texts), `completion_ids`, and each column of the prompts' rows, all as lists; as TRL calls its reward functions.

    Raises:
        UserError: there is no such function, or it asks for something that no row has.
    """
    file, _, name = spec.rpartition(":")
    path = Path(file).expanduser()
    if not file.endswith(".py") or not name:
        raise UserError(f"--rlhf.reward {spec}: not a function", "write path.py:function")
    if not path.is_file():
        raise UserError(f"--rlhf.reward {spec}: there is no file {path}")
    module = _imported(spec, path)
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise UserError(f"--rlhf.reward {spec}: {path} has no function {name}",
                        f"it has: {', '.join(functions) or 'none'}")
    if inspect.iscoroutinefunction(function):
        raise UserError(f"--rlhf.reward {spec}: {name} is async", "write it as a plain function")
    return name, FunctionJudge(spec, path, function)


def _imported(spec: str, path: Path) -> ModuleType:
    module = python_files.load_module(f"ftp_reward_{path.stem}", path)
    try:
        python_files.run_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"--rlhf.reward {spec}: {path} cannot be imported: {_describe(error, path)}") from error
    return module


@dataclass(frozen=True)
class FunctionJudge:
    """Calls a reward function with the columns that it takes. `spec`: as the user named it."""

    spec: str
    path: Path
    function: Callable[..., Sequence[float | None]]

    def __call__(self, rows: Sequence[Row], texts: Sequence[str], ids: Ids) -> Sequence[float | None]:
        columns = _columns(rows)
        # names of TRL, whose reward functions run here unchanged
        columns |= {"prompts": [list(row["prompt"]) for row in rows], "completions": list(texts),
                    "completion_ids": [list(completion) for completion in ids]}
        takes = inspect.signature(self.function).parameters
        missing = [name for name, parameter in takes.items() if _is_needed(parameter) and name not in columns]
        if missing:
            raise UserError(f"--rlhf.reward {self.spec}: it asks for {', '.join(missing)}, which no row has",
                            f"there are: {', '.join(columns)}")
        takes_all = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in takes.values())
        arguments = columns if takes_all else {name: columns[name] for name in takes if name in columns}
        try:
            values = self.function(**arguments)
            return [None if value is None else float(value) for value in values]
        except (Exception, SystemExit) as error:
            raise UserError(f"--rlhf.reward {self.spec}: the reward function failed: {_describe(error, self.path)}",
                            "it gets lists of equal length and gives a list of numbers, one for each completion") from error


def _columns(rows: Sequence[Row]) -> dict[str, list[object]]:
    """The columns that any of the rows has, but for the prompt, which goes by another name."""
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    names.pop("prompt", None)
    return {name: [row.get(name) for row in rows] for name in names}


def _is_needed(parameter: Parameter) -> bool:
    """Whether a function cannot be called without it."""
    is_variadic = parameter.kind in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    return parameter.default is Parameter.empty and not is_variadic


def _describe(error: BaseException, path: Path) -> str:
    """What an exception says, and where in the user's file it was raised."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return describe(error) + (f" ({path.name}, line {lines[-1]})" if lines else "")
