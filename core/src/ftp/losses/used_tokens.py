"""Which special and added tokens a run uses: those that its chat template writes, the EOS, and those that stand in its rows. No
torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ftp import forms, heads
from ftp.data.control_text import TextTokenizer
from ftp.types import Data

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedTokenizerBase

ROWS = 200
"""Training rows in which added tokens are looked for."""
SHORT = [
    {"role": "user", "content": "Is water wet?"},
    {"role": "assistant", "content": "Yes, it is."},
]


def used(
    tokenizer: PreTrainedTokenizerBase, data: Data, template: str | None = None, eos: str | None = None, *,
    split_special_tokens: bool = True,
) -> list[int]:
    """Ids of the special and added tokens that a run on `data` uses.

    Args:
        template: the chat template of the run, where it is not the tokenizer's own.
        eos: the token that ends answers, where it is not the tokenizer's own.
        split_special_tokens: whether control tokens that rows spell are text (see `ftp.data.control_text`).
    """
    names = named_tokens(tokenizer)
    # control tokens that rows spell are no use of them where they are read as text
    plain = TextTokenizer(tokenizer).controls if split_special_tokens else ()
    tokens = in_rows({token: number for token, number in names.items() if token not in plain}, data)
    form = forms.get(data.form)
    # what is written ends with the EOS; a template writes control tokens of its own
    if form.has_messages:
        tokens |= in_template(tokenizer, names, template)
        tokens |= {names[token] for token in (eos, tokenizer.eos_token) if token in names}
    elif heads.get(form.default_head).writes_text and tokenizer.eos_token in names:
        tokens.add(names[tokenizer.eos_token])
    return sorted(tokens)


def named_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The special and the added tokens of a tokenizer."""
    special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    return {**special, **tokenizer.get_added_vocab()}


def in_template(tokenizer: PreTrainedTokenizerBase, names: Mapping[str, int], template: str | None) -> set[int]:
    """The tokens that stand in a chat template, or that it writes around a short conversation."""
    text = template or tokenizer.chat_template
    if isinstance(text, dict):  # a template for each purpose
        text = "\n".join(text.values())
    if not text:
        return set()
    try:
        rendered = str(tokenizer.apply_chat_template(SHORT, chat_template=template, tokenize=False, add_generation_prompt=True))
    except Exception:  # whatever a template raises is its way to refuse; the objective says so in words
        rendered = ""
    return {number for token, number in names.items() if token in text or token in rendered}


def in_rows(names: Mapping[str, int], data: Data) -> set[int]:
    """The tokens that stand in the first training rows; a stream is not read for it."""
    rows: Dataset | IterableDataset | None = data.splits.get("train")
    if rows is None or not hasattr(rows, "num_rows"):
        return set()
    texts: list[str] = []
    for row in rows.select(range(min(ROWS, len(rows)))):
        texts += _texts(row)
    joined = "\n".join(texts)
    return {number for token, number in names.items() if token in joined}


def _texts(value: object) -> Iterable[str]:
    """All texts within a row, or within a value of one."""
    if isinstance(value, str):
        yield value
        return
    parts: Iterable[object] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, Sequence):
        parts = value
    for part in parts:
        yield from _texts(part)
