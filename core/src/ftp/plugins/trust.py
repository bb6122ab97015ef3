"""Code that a file names, and whether the user has said that it may run.

A recipe, or the recipe in a run's folder, may name Python code: `plugins_from`, an option such as `rlhf.reward`, and with
`trust_remote_code` the code that came with a model. Files come from anywhere, so that such code runs only when the user
says so: with `--trust-recipe`, or by having run the same files before. What is typed on the command line, or given to
`ftp.run`, is the user's own word. See docs/security.md.

What was run is kept outside of all run folders, by the hash of each file, so that nothing that a folder brings can say
that it is trusted. This module imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftp.errors import Problem, UserError
from ftp.host import python_files
from ftp.option_types import split_at_commas
from ftp.options import Option, flatten
from ftp.plugins.offers import offers

FLAG = "--trust-recipe"
MOST = 5000
"""Lines that are kept before those of files that are gone are left out."""
REMOTE = "trust_remote_code"


@dataclass(frozen=True)
class Code:
    """Code that an option names.

    Args:
        named: what the option says.
        files: those that run, each with its sha256.
        lasting: they are all that runs, so that the user's word for them can be remembered.
    """

    option: str
    named: str
    files: tuple[tuple[Path, str], ...]
    lasting: bool = True

    def __str__(self) -> str:
        if not self.files or self.option == REMOTE:
            return f"{self.option} names {self.named}"
        hashes = ", ".join(f"{path} (sha256 {digest})" for path, digest in self.files)
        return f"{self.option} names {hashes}"


def state_file() -> Path:
    """Where it is kept which files the user has run: `FTP_STATE`, else the user's folder for the state of programs."""
    base = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA")
    folder = os.environ.get("FTP_STATE") or Path(base or Path.home() / ".local" / "state") / "ftp"
    return Path(folder) / "trusted.sha256"


def code_of(tables: Mapping[str, object], options: Iterable[Option], folder: Path | None = None) -> list[Code]:
    """The code that options name. What is hashed here is what may run in this process.

    Args:
        tables: the values of options, nested or by dotted key.
        folder: that of the recipe, where paths are looked for first.
    """
    options = list(options)
    values = {key.replace("-", "_"): value for key, value in flatten(tables).items()}
    code = []
    for item in options:
        if not item.code:
            continue
        for path in _paths(values.get(item.key)):
            code.append(Code(item.key, path, _hashed(python_files.expected_files(absolute(path, folder)))))
    # values are not converted yet: in a recipe it may be a text
    if str(values.get(REMOTE, "")).lower() in ("true", "yes", "on", "1"):
        code += _remote_code(values, options, folder)
    return code


def check(
    code: Sequence[Code], source: str, command: str, trusted: bool = False
) -> list[str]:
    """Notes about the code that a file names and that is going to run.

    Args:
        source: the file that names it.
        command: how to say that it may run.
        trusted: the user says so; this is remembered.

    Raises:
        UserError: there is code that the user never ran, and that is not `trusted`.
    """
    if trusted:
        remember(code)
    known = _known()
    problems = []
    for part in code:
        if not trusted and not _is_known(part, known):
            problems.append(Problem(f"{source}: {part}: code that you have not run before", "read it; if it may run, say so",
                                    command))
    if problems:
        raise UserError(problems)
    return [f"{source}: {part}, which runs as you trusted it" for part in code]


def is_trusted(code: Sequence[Code]) -> bool:
    """Whether the user has run all of it before."""
    known = _known()
    return all(_is_known(part, known) for part in code)


def remember(code: Iterable[Code]) -> None:
    """Keep that the user lets these files run. Where nothing can be written, the user is asked again next time."""
    known = _known()
    files: list[tuple[Path, str]] = []
    for part in code:
        if part.lasting:
            files += part.files
    # a file that was changed while it runs is not what ran
    as_run = [_line(path, digest) for path, digest in files if not python_files.has_run_otherwise(path, digest)]
    lines = [line for line in dict.fromkeys(as_run) if line not in known]
    if not lines:
        return
    with contextlib.suppress(OSError, RuntimeError):
        file = state_file()
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if len(known) > MOST:  # files that are gone need no word any more
            # 64 hex digits and two blanks, then the path
            _write_whole(file, [line for line in known if Path(line[66:]).exists()])
        with file.open("a", encoding="utf-8") as stream:  # in one piece, as two runs may begin at once
            stream.write(_text_of(lines))


def _write_whole(file: Path, lines: Sequence[str]) -> None:
    """Write a file anew, whole or not at all."""
    aside = file.with_name(f".{file.name}.{os.getpid()}.part")
    aside.write_text(_text_of(lines), encoding="utf-8")
    aside.replace(file)


def _text_of(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def absolute(where: str, folder: Path | None = None) -> str:
    """`path.py:Class` with a path that holds in any folder, so that a run's recipe repeats it from anywhere. `folder`: where it
    is looked for first."""
    drive = where[:2] if where[1:3] in (":\\", ":/") else ""  # the colon of C:\ begins no class
    path, colon, name = where[len(drive):].partition(":")
    file = Path(drive + path).expanduser()
    if folder is not None and (folder / file).exists():
        file = folder / file
    return f"{file.absolute()}{colon}{name}" if file.exists() else where


def _remote_code(values: Mapping[str, object], options: Iterable[Option], folder: Path | None) -> list[Code]:
    """The code that comes with the models of a run: `model`, and what an option of a plugin may name (a teacher, a judge)."""
    code = [_remote(str(values.get("model") or ""), folder)]
    for item in options:
        if not (item.owner and item.path):
            continue
        for model in _paths(values.get(item.key)):
            path = Path(absolute(model, folder))
            is_elsewhere = not path.exists() and model not in offers()  # a hub's, or one that is not there yet
            if _holds_model(path) or is_elsewhere:
                code.append(_remote(model, folder))
    return code


def _holds_model(path: Path) -> bool:
    """Whether a folder, or that of a run, has a model or code of one in it."""
    return any((folder / "config.json").is_file() or list(folder.glob("*.py")) for folder in _model_folders(path))


def typed_models(flags: Mapping[str, object], options: Iterable[Option]) -> dict[str, str]:
    """The models that flags name, for `code_of`: a recipe's word for the code of models is not the user's word for the code of
    the model that a flag names."""
    values = {key.replace("-", "_"): str(value) for key, value in flags.items()}
    models = {}
    for item in options:
        if item.path and not item.code and item.key in values:
            models[item.key] = absolute(values[item.key])
    return models


def _remote(model: str, folder: Path | None) -> Code:
    """The code that comes with a model. It lasts where it is all in the model's folder: a hub's may be another tomorrow."""
    path = Path(absolute(model, folder)).expanduser() if model else Path()
    if not model or (not path.is_dir() and model in offers()):
        return Code(REMOTE, "the model of an installed package", ())  # which came as plugins come
    files: list[Path] = []
    lasting = path.is_dir()
    for model_folder in _model_folders(path):
        files += [file for file in sorted(model_folder.rglob("*.py")) if file not in files]
        lasting = lasting and _is_whole(model_folder)
    return Code(REMOTE, f"the code that comes with the model {model}", _hashed(files), lasting and bool(files))


def _is_whole(folder: Path) -> bool:
    """Whether all code of the model in a folder lies in it."""
    # an adapter has a base, which may bring code of its own
    if (folder / "adapter_config.json").exists():
        return False
    for config in folder.glob("*config.json"):
        # "owner/name--file.Class" means code of another repository
        if "--" in json.dumps(_read(config).get("auto_map", {})):
            return False
    # a folder that is a link is not looked into
    return not any(inner.is_symlink() and inner.is_dir() for inner in folder.rglob("*"))


def _model_folders(path: Path) -> list[Path]:
    """The folders that may hold a model where a folder or a run is named."""
    return [folder for folder in (path, path / "model") if folder.is_dir()]


def _read(path: Path) -> dict[str, object]:
    """The table in a JSON file; empty where there is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _paths(value: object) -> list[str]:
    """An option's value, a text or a list, as the paths that it names."""
    if not isinstance(value, str | list | tuple):
        return []
    texts = [value] if isinstance(value, str) else map(str, value)
    return split_at_commas(",".join(texts))


def _hashed(files: Iterable[Path]) -> tuple[tuple[Path, str], ...]:
    return tuple((path.resolve(), python_files.expected_sha256(path)) for path in files)


def _line(path: Path, digest: str) -> str:
    """How a file that may run is written down."""
    return f"{digest}  {path}"  # as sha256sum writes it


def _known() -> list[str]:
    """The lines of all files that the user has run."""
    try:
        return state_file().read_text(encoding="utf-8").splitlines()
    except (OSError, RuntimeError, UnicodeDecodeError):  # no such file yet, or no home
        return []


def _is_known(code: Code, known: Sequence[str]) -> bool:
    return code.lasting and all(_line(path, digest) in known for path, digest in code.files)
