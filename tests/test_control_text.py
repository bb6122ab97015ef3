"""Nothing tokenises content but `ftp.data.control_text`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
METHODS = ("encode", "encode_plus", "batch_encode_plus", "tokenize", "apply_chat_template")
ITS_OWN = {
    "core/src/ftp/advise/facts.py": "the library `tokenizers` alone, to count tokens: none of them is ever read by a network",
    "core/src/ftp/data/control_text.py": "the one place",
    "core/src/ftp/losses/used_tokens.py": "our own conversation, to see which tokens a template writes",
    "core/src/ftp/model/proof.py": "any inputs do to compare two networks",
    "plugins/choice/src/ftp_choice/probe.py": "any inputs do to compare two networks",
    "plugins/distill/src/ftp_distill/teachers.py": "our own sample, to compare two tokenizers",
    "plugins/preflight/src/ftp_preflight/template.py": "our own conversation, to look at a template",
}


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def calls_of_a_tokenizer(source: str) -> Iterator[int]:
    """Lines that ask a tokenizer for the ids of anything but the letter "a", which shows what it puts around a text."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        calls = name_of(node.func) == "tokenizer"
        asks = isinstance(node.func, ast.Attribute) and node.func.attr in METHODS and "tokenizer" in name_of(node.func.value)
        if (calls or asks) and "'a'" not in ast.unparse(node):
            yield node.lineno


def test_no_module_tokenises_content_by_itself() -> None:
    calls = []
    for path in sorted([*ROOT.glob("core/src/ftp/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]):
        name = str(path.relative_to(ROOT))
        if name not in ITS_OWN and not name.startswith("plugins/testing/"):  # the kit's texts are its own
            calls += [f"{name}:{line}" for line in calls_of_a_tokenizer(path.read_text(encoding="utf-8"))]
    assert not calls, "\n".join(["go through ftp.data.control_text.of_run(run, tokenizer):", *calls])


def test_such_a_call_is_found() -> None:
    for line in ("model.tokenizer(texts)", "self.tokenizer(text, pair)", "tokenizer.encode(text)",
                 "x = tokenizer(list(rows))['input_ids']", "model.tokenizer.apply_chat_template(messages)"):
        assert list(calls_of_a_tokenizer(line)) == [1], line
    for line in ("tokenizer('a')", "tokenizer.decode(ids)", "TextTokenizer(tokenizer)", "tokenize(texts)", "text.encode()"):
        assert not list(calls_of_a_tokenizer(line)), line
