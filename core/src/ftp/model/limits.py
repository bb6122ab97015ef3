"""How many tokens a row may have: the one answer, for training, prediction, chat, plans and teachers."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ftp.net.positions import tokens_that_fit

NO_LIMIT = 10**9
"""A tokenizer that knows no limit has a `model_max_length` above this (Transformers writes 10**30)."""


def capacity(net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> int | None:
    """Tokens of a row that network and tokenizer can take at most.

    Args:
        net: the network, in a PEFT wrapper or not; a learnt prompt takes tokens of the row.
        tokenizer: its tokenizer; None: there is none.

    Returns:
        The smaller of both limits; None where neither has one (relative positions).
    """
    limits = []
    positions = tokens_that_fit(net)
    if positions is not None:
        limits.append(positions)
    if tokenizer is not None and 0 < (tokenizer.model_max_length or 0) < NO_LIMIT:
        limits.append(int(tokenizer.model_max_length))
    return min(limits, default=None)
