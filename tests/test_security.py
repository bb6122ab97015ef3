"""docs/security.md is held to the code: nothing is unpickled or evaluated, and no shell is started."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("core/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")])
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}


def faults(source: str) -> Iterator[str]:
    """What a source does that the page says ftp never does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"import {name}" for name in modules if name.split(".")[0] in UNPICKLERS)
        if not isinstance(node, ast.Call):
            continue
        called, keywords = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called in ("eval", "exec", "os.system", "os.popen"):
            yield called
        if called == "torch.load" and keywords.get("weights_only") != "True":
            yield "torch.load without weights_only"
        if keywords.get("shell", "False") != "False" or keywords.get("allow_pickle", "False") != "False":
            yield f"{called}: a shell, or pickles"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("source", ["import pickle", "from dill import load", "eval(x)", "torch.load(x)",
                                    "subprocess.run(x, shell=True)", "np.load(x, allow_pickle=True)"])
def test_a_fault_is_found(source: str) -> None:
    assert list(faults(source))


def test_torch_load_is_called_in_one_place() -> None:
    calling = [path.name for path in SOURCES if "torch.load(path" in path.read_text(encoding="utf-8")]
    assert calling == ["checkpoint.py"]


def test_a_chat_template_runs_in_a_sandbox(tmp_path: Path) -> None:
    from jinja2.exceptions import SecurityError
    from transformers.utils.chat_template_utils import render_jinja_template

    with pytest.raises(SecurityError):
        render_jinja_template([[{"role": "user", "content": "x"}]],
                              chat_template="{{ ''.__class__.__mro__[1].__subclasses__() }}")
