"""Tokens that the run uses and that the base never learnt: are their rows trained, and how likely
is the end of an answer?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftp.types import Data, Model, StartedRun
from ftp_preflight.findings import Findings

if TYPE_CHECKING:
    from ftp.losses.conversations import Chat

ANSWERS = 8  # training answers behind which the probability of the end is measured
LONGEST = 256  # tokens of such an answer at most


def look(run: StartedRun, data: Data, model: Model, findings: Findings) -> None:
    """Warn of tokens that look untrained and whose rows this run leaves as they are."""
    from ftp import forms, heads
    from ftp.losses import stopping
    from ftp.model.token_rows import frozen

    tokenizer = model.tokenizer
    untrained = frozen(model.net, model.fresh_tokens)
    if model.fresh_tokens:
        tokens = tokenizer.convert_ids_to_tokens(list(model.fresh_tokens))
        findings.record(
            "untrained tokens", tokens=tokens, frozen=tokenizer.convert_ids_to_tokens(untrained)
        )
    ends: list[int] = []
    is_chat = heads.get(model.head).writes_text and forms.get(data.form).has_messages
    has_turns = is_chat and getattr(tokenizer, "chat_template", None)
    if has_turns and not run.settings.shard:
        chat = stopping.chat_of(run, model)
        ends = [token for token in untrained if token in chat.stop]
        _measure(run, data, model, chat, findings)
    if untrained:
        words = (
            f"tokens that this run uses look untrained in the base ({_names(model, untrained)}), "
            "and "
            "this run leaves their rows as they are"
        )
        if ends:
            words += f"; {_names(model, ends)} ends an answer, so the model cannot learn to stop"
        findings.add("warn", words, *stopping.training_rows(run, model))


def _measure(run: StartedRun, data: Data, model: Model, chat: Chat, findings: Findings) -> None:
    """Note how likely the untrained model takes the end to be behind a whole answer."""
    from ftp.losses import stopping

    rows = data.splits.get("train")
    if rows is None or not hasattr(rows, "num_rows"):
        return
    answers = stopping.references(
        chat, rows, count=ANSWERS, longest=LONGEST, seed=run.settings.seed
    )
    if answers:
        findings.record(
            "end of answers",
            token=_names(model, chat.stop[:1]),
            answers=len(answers),
            probability_before=statistics.median(stopping.end_probabilities(run, model, answers)),
        )


def _names(model: Model, ids: Sequence[int]) -> str:
    return ", ".join(map(str, model.tokenizer.convert_ids_to_tokens(list(ids))))
