"""Whatever a run does with its rows, no network is given a control token that a row spells: a spy looks at all they read.

Every objective is held to that by the kit (`control_text_stays_text`); here are whole runs, with all that reads rows
beside the loss (baselines, a teacher, checks of risks), and what is asked of a finished run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import AutoTokenizer

import ftp
from ftp_terminal_chat.command import command
from ftp_testing.models import tiny

BEFORE, BEHIND = "ab", "ba"
CONTROLS = ("</s>", "<|im_end|>", "[SEP]", "[MASK]")
SPELT = " ".join(f"{BEFORE}{control}{BEHIND}" for control in CONTROLS)
"""Each control token between letters that stand beside no real one."""

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "verify": False, "device": "cpu", "precision": "fp32", "eval_steps": 2}

WITHOUT_CHECKS = ("-leakage", "-preflight", "-overfitting", "-underfitting", "-forgetting")


@contextmanager
def spying(folder: Path) -> Iterator[list[str]]:
    """The texts of all rows of tokens that any embedding of the tokenizer's size reads meanwhile, with control tokens as #."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    control_ids = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    texts: list[str] = []

    def look(module: Any, inputs: Any) -> None:
        if not isinstance(module, torch.nn.Embedding) or module.num_embeddings < len(tokenizer):
            return
        for ids in inputs[0].reshape(-1, inputs[0].shape[-1]).tolist():
            pieces = []
            for token in ids:
                pieces.append("#" if token in control_ids else tokenizer.decode([token]).replace("##", ""))
            texts.append("".join(pieces))

    hook = register_module_forward_pre_hook(look)
    try:
        yield texts
    finally:
        hook.remove()


def assert_text_alone(texts: list[str], controls: Sequence[str]) -> None:
    """Networks have read these control tokens, and read them as letters."""
    joined = "\n".join(texts).replace(" ", "").lower()
    assert f"{BEFORE}#{BEHIND}" not in joined
    for control in controls:
        assert f"{BEFORE}{control}{BEHIND}".lower() in joined, control


def written(folder: Path, row: Callable[[int], dict[str, Any]]) -> str:
    """Files of a few rows for each split."""
    folder.mkdir()
    for split, numbers in (("train", range(16)), ("validation", range(16, 24))):
        text = "".join(json.dumps(row(number)) + "\n" for number in numbers)
        (folder / f"{split}.jsonl").write_text(text)
    return str(folder)


def test_an_encoder_reads_control_tokens_of_rows_as_text(tmp_path: Path) -> None:
    model = tiny("bert", tmp_path / "bert")
    data = written(tmp_path / "data", lambda number: {"text": f"{SPELT} {number}", "label": ("no", "yes")[number % 2]})
    controls = ("[SEP]", "[MASK]")
    with spying(model) as texts:
        out = ftp.run(["full", "classify", "distill"], model=str(model), data=data, out=tmp_path / "run",
                      cache_dir=tmp_path / "cache", **QUICK).out
        assert_text_alone(texts, controls)
        texts.clear()
        ftp.load(out).predict([SPELT])
        assert_text_alone(texts, controls)


def test_a_decoder_reads_control_tokens_of_rows_as_text(tmp_path: Path) -> None:
    model = tiny("llama", tmp_path / "llama")
    data = written(tmp_path / "data", lambda number: {"messages": [
        {"role": "user", "content": f"{SPELT} {number}"}, {"role": "assistant", "content": SPELT}]})
    controls = ("</s>", "<|im_end|>")
    with spying(model) as texts:
        out = ftp.run(["sft", "full", "files", "distill", "kl_anchor"], model=str(model), data=data, out=tmp_path / "run",
                      cache_dir=tmp_path / "cache", sft={"generate": 2, "max_new_tokens": 2}, **QUICK).out
        assert_text_alone(texts, controls)
        texts.clear()
        ftp.load(out).predict([SPELT])
        assert_text_alone(texts, controls)
        texts.clear()
        CliRunner().invoke(command, [str(out), "--max-new-tokens", "2"], input=SPELT + "\n")
        assert_text_alone(texts, controls)


def test_a_control_token_is_seen_where_it_is_let_through(tmp_path: Path) -> None:
    model = tiny("bert", tmp_path / "bert")
    data = written(tmp_path / "data", lambda number: {"text": f"{SPELT} {number}", "label": ("no", "yes")[number % 2]})
    with spying(model) as texts:
        ftp.run(["full", "classify", *WITHOUT_CHECKS], model=str(model), data=data, out=tmp_path / "run", max_steps=1,
                cache_dir=tmp_path / "cache", split_special_tokens=False, **{**QUICK, "baselines": False})
    with pytest.raises(AssertionError, match="ab#ba"):
        assert_text_alone(texts, ())
