"""The chat template: does it end a turn, and is the one that was saved the one that was trained
with?"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from ftp import forms
from ftp.types import Data, Model, Run
from ftp_preflight.findings import Findings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHORT = [
    {"role": "user", "content": "Is water wet?"},
    {"role": "assistant", "content": "Yes, it is."},
]


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of a tokenizer's chat template, as `ftp.losses.chat_template` and the log write it."""
    return hashlib.sha256(json.dumps(tokenizer.chat_template, sort_keys=True).encode()).hexdigest()


def look(data: Data, model: Model, findings: Findings) -> None:
    """Before training: its hash, and whether an answer ends with a token that ends it."""
    tokenizer = model.tokenizer
    if not forms.get(data.form).has_messages:
        return
    if not getattr(tokenizer, "chat_template", None):
        return
    findings.record("chat template", sha256=fingerprint(tokenizer))
    try:
        text = str(tokenizer.apply_chat_template(SHORT, tokenize=False))
    except Exception as error:  # whatever a template raises is its way to refuse
        reason = f"{type(error).__name__}: {error}"
        findings.add("note", f"the chat template refuses a short conversation: {reason}")
        return
    control_tokens = (*tokenizer.all_special_tokens, *tokenizer.get_added_vocab())
    ends_turn = text.rstrip().endswith(tuple(filter(None, control_tokens)))
    findings.record("chat template", ends_a_turn=ends_turn)
    if not ends_turn:
        findings.add(
            "warn",
            "the chat template writes no token that ends a turn: an answer is closed by the EOS "
            "only "
            "where the objective adds it, and earlier answers of a conversation not at all "
            "({{ eos_token }} after the assistant's words fixes it)",
        )


def saved(run: Run, model: Model, findings: Findings) -> None:
    """At the end: the template in model/ against the one of the training."""
    before = findings.evidence.get("chat template", {}).get("sha256")
    folder = run.out / "model" if run.out is not None else None
    if before is None or folder is None or not folder.is_dir():
        return
    # its own class: AutoTokenizer would ask whether code beside an adapter may run
    after = fingerprint(type(model.tokenizer).from_pretrained(folder, local_files_only=True))
    findings.record("chat template", saved=after, same=after == before)
    if after != before:
        findings.add(
            "warn",
            "the chat template that was saved is not the one that was trained with: inference "
            "would "
            "ask another question than training did",
        )
