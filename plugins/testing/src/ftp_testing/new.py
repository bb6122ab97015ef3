"""`ftp new`: a package with a plugin that works, to be changed into one's own."""

from __future__ import annotations

import datetime
import importlib.util
import json
import keyword
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

import ftp
from ftp.errors import Problem, UserError
from ftp.host.terminal import say

TEMPLATE = Path(__file__).parent / "template"
EXAMPLES = {
    "objective": ("what is minimised", "sentiment,{name}"),
    "parameterisation": ("which weights may move", "{name},sentiment"),
    "domain": ("rows, and what a good answer is", "lora,{name}"),
    "risk": ("what is wrong with a run", "lora,sentiment,{name}"),
    "extra": ("whatever else: schedules, optimizers, order of rows, callbacks", "lora,sentiment,{name}"),
}
"""Kind -> what it is about, and the plugins of a run with it."""
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
AUTHOR = "YOUR NAME"
ACCOUNT = "YOUR-ACCOUNT"


@dataclass(frozen=True)
class Author:
    """Who writes a package, for its licence and its addresses; placeholders where nobody has said it to git."""

    name: str = AUTHOR
    account: str = ACCOUNT

    @property
    def placeholders(self) -> list[str]:
        """What is left to be filled in."""
        return [value for value in (self.name, self.account) if value in (AUTHOR, ACCOUNT)]


@click.command("new")
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(list(EXAMPLES)),
              help="; ".join(f"{kind}: {about}" for kind, (about, _) in EXAMPLES.items()) + ".")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write; default: ftp-NAME.")
def command(name: str, kind: str, out: Path | None) -> None:
    """Write a package with a plugin of your own.

    It works, and passes `ftp check`, as it is written: change it step by step.
    """
    folder = out or Path(f"ftp-{name}")
    problems = [*wrong_name(name), *wrong_folder(folder)]
    if problems:
        raise UserError(problems)
    author = author_of_git()
    for path, text in files(name, kind, author).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
        say(f"wrote {folder / path}")
    # pip, and so ftp, takes a bare word for the name of a package
    where = str(folder) if folder.is_absolute() else f"./{folder}"
    say(f"\ninstall it:  ftp install -e {where}\ncheck it:    ftp check {name}\n"
        f"run it:      ftp run --plugins {run_of(kind, name)}")
    if author.placeholders:
        say(f"fill in:     {' and '.join(author.placeholders)}, as README.md says, before you publish it")


def author_of_git() -> Author:
    """Who writes here, as git has been told; `github.user` is the name of an account."""
    return Author(_git_config("user.name") or AUTHOR, _git_config("github.user") or ACCOUNT)


def _git_config(key: str) -> str:
    """A value of git's configuration; empty where it has none, or git is not installed."""
    try:
        asked = subprocess.run(["git", "config", "--get", key], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def files(name: str, kind: str, author: Author | None = None) -> dict[str, str]:
    """The files of a package, by path in its folder.

    Args:
        author: who writes it; None: placeholders.

    Raises:
        KeyError: there is no such kind.
    """
    module = name.replace("-", "_")
    package = f"src/ftp_{module}"
    templates = {
        "pyproject.toml": "project.toml",
        "README.md": "README.md",
        "LICENSE": "license",
        ".gitignore": "gitignore",
        ".github/workflows/ci.yml": "ci.yml",
        f"{package}/__init__.py": f"{kind}.py",
        f"tests/test_{module}.py": f"tests/{kind}.py",
        "tests/test_contract.py": "tests/contract.py",
    }
    if kind == "domain":
        for split in ("train", "validation"):
            templates[f"{package}/sample/{split}.csv"] = f"sample/{split}.csv"

    words = _words(name, kind, author or Author())
    texts = {path: _filled(_read(template), words) for path, template in templates.items()}
    texts[f"{package}/py.typed"] = ""  # its types are for others too
    return texts


def _words(name: str, kind: str, author: Author) -> dict[str, str]:
    """What stands in the templates -> what is written in its place."""
    source = _read(f"{kind}.py")
    major, minor = ftp.__version__.split(".")[:2]
    return {
        "plugin-name": name,
        "plugin_name": name.replace("-", "_"),
        "PluginName": _class_name(name, source),
        "PLUGIN_SUMMARY": _summary(source),
        "example-run": run_of(kind, name),
        "AUTHOR_IN_TOML": json.dumps(author.name, ensure_ascii=False)[1:-1],  # TOML escapes as JSON does
        "AUTHOR_NAME": author.name,
        "REPOSITORY_URL": f"https://github.com/{author.account}/ftp-{name}",
        "THIS_YEAR": str(datetime.date.today().year),
        "CORE_FROM": f"{major}.{minor}",
        "CORE_BELOW": str(int(major) + 1),
    }


def run_of(kind: str, name: str) -> str:
    """The plugins of a run with a plugin of this kind."""
    return EXAMPLES[kind][1].format(name=name)


def wrong_name(name: str) -> list[Problem]:
    """What is wrong with the name of a plugin that is to be written; nothing where it can be taken."""
    from ftp.plugins.find import discover
    from ftp.plugins.fit import core_options

    def problem(what: str, fix: str = "take another name", command: str = "") -> list[Problem]:
        return [Problem(f"ftp new {name}: {what}", fix, command)]

    if not NAME.fullmatch(name):
        like = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")
        hint = f", as in '{like}'" if NAME.fullmatch(like) else ""
        return problem("not a name for a plugin", f"small letters, digits and single dashes, a letter first{hint}")
    module = f"ftp_{name.replace('-', '_')}"
    offered = discover().get(name)
    if offered:
        return problem(f"{offered[0].package} offers a plugin of this name", command="ftp plugins")
    if name in {item.name.replace("_", "-") for item in core_options()} | {"plugins"}:
        return problem("core has an option of this name, and a recipe could not tell them apart")
    if importlib.util.find_spec(module) is not None:
        return problem(f"there is a package {module} already")
    return []


def wrong_folder(folder: Path) -> list[Problem]:
    """Nothing that is there is written over."""
    if folder.is_dir() and not any(folder.iterdir()):
        return []
    if folder.exists():
        return [Problem(f"{folder}: is there already", "name another folder with --out, or remove it")]
    return []


def _class_name(name: str, source: str) -> str:
    """`my-loss` -> `MyLoss`; `MyLossPlugin` where the source has that word for something else, or Python has."""
    class_name = "".join(part.capitalize() for part in name.split("-"))
    is_taken = keyword.iskeyword(class_name) or re.search(rf"\b{class_name}\b", source) is not None
    return f"{class_name}Plugin" if is_taken else class_name


def _summary(source: str) -> str:
    """The first line of the docstring of a template's plugin."""
    docstring = re.search(r'class PluginName:\n +"""(.*)"""', source)
    assert docstring is not None
    return docstring[1]


def _filled(text: str, words: Mapping[str, str]) -> str:
    """A template with its words replaced, all at once: what is put in is not looked at again."""
    return re.sub("|".join(map(re.escape, words)), lambda match: words[match[0]], text)


def _read(name: str) -> str:
    return (TEMPLATE / name).read_text(encoding="utf-8")
