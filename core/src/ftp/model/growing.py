"""Rows in embeddings and output layer for tokens that the checkpoint has none for. Heavy: imports torch.

New rows begin as the mean of all others, as Transformers makes them, so that a new token is at first neither likely nor
unlikely (Hewitt 2021, https://nlp.stanford.edu/~johnhew/vocab-expansion.html). They are drawn from the run's seed, so that a
resumed run and the reference have the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import AddedToken, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ftp.errors import Problem, UserError
from ftp.model.refusals import some
from ftp.model.token_rows import ends

NAMED = 8
"""Tokens that a message lists at most."""


@dataclass(frozen=True)
class NewTokens:
    """Tokens that a run wants rows for.

    `tokens`: to add to the tokenizer, where it lacks them. `template`: the run's chat template, whose tokens are control tokens;
    None: the tokenizer's own. `resize`: tokens of the tokenizer that have no row get one as well.
    """

    tokens: tuple[str, ...] = ()
    template: str | None = None
    resize: bool = False


@dataclass(frozen=True)
class Grown:
    """What `give_rows` did: `ids` of the tokens that have a new row, the number of `rows` afterwards, and `before` it."""

    ids: tuple[int, ...]
    rows: int
    before: int


def add_tokens(tokenizer: PreTrainedTokenizerBase, wanted: NewTokens) -> list[int]:
    """Add the wanted tokens to the tokenizer; the ids of those that it had not.

    A token that the chat template writes is a control token, which no text of a user contains. Others are found in texts, and
    stay in what is decoded.
    """
    template = str(wanted.template or tokenizer.chat_template or "")
    known = tokenizer.get_vocab()
    new = [token for token in dict.fromkeys(wanted.tokens) if token not in known]
    added = []
    for token in new:
        is_control = token in template
        added.append(AddedToken(token, special=is_control, normalized=not is_control))
    tokenizer.add_tokens(added)
    return list(map(int, tokenizer.convert_tokens_to_ids(new)))


def without_row(net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokenizer's tokens beyond the rows of the network."""
    rows = net.get_input_embeddings().weight.shape[0]
    return sorted(number for number in set(tokenizer.get_vocab().values()) if number >= rows)


def grow(net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, wanted: NewTokens, seed: int) -> Grown | None:
    """Add tokens and give them rows; None where nothing was to do. Tokens that the tokenizer held without a row get one where
    they are wanted by name, or with `resize`."""
    missing = set(without_row(net, tokenizer))
    ids = set(add_tokens(tokenizer, wanted))
    vocabulary = tokenizer.get_vocab()
    if not wanted.resize:
        missing &= {vocabulary.get(token) for token in wanted.tokens}
    ids |= missing
    if not ids:
        return None
    before = net.get_input_embeddings().weight.shape[0]
    grown = Grown(tuple(sorted(ids)), max(before, max(ids) + 1), before)
    give_rows(net, grown, seed)
    return grown


def give_rows(net: PreTrainedModel, grown: Grown, seed: int) -> None:
    """Resize to `grown.rows`. Rows that were there unused (vocabularies are padded to round numbers) become the mean too."""
    if grown.rows > grown.before:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            # a plan's network has no weights to take a mean of
            net.resize_token_embeddings(grown.rows, mean_resizing=net.get_input_embeddings().weight.device.type != "meta")
    spare = [number for number in grown.ids if number < grown.before]
    if not spare:
        return
    used = min(spare)
    with torch.no_grad():
        for module in ends(net).values():
            module.weight[spare] = module.weight[:used].mean(0)


def set_rows(config: PretrainedConfig, rows: int) -> None:
    """Make a configuration say how many rows there are, as before or after `give_rows`."""
    parts = [config, config.get_text_config()]
    parts += [getattr(config, name, None) for name in config.sub_configs]
    for part in parts:
        if hasattr(part, "vocab_size"):
            part.vocab_size = rows


def too_many_tokens(name: str, net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Problem:
    """A tokenizer with tokens that the network has no row for: as a rule they were added, and the weights not resized."""
    missing = without_row(net, tokenizer)
    listed = some(list(map(str, tokenizer.convert_ids_to_tokens(missing))), NAMED)
    rows = net.get_input_embeddings().weight.shape[0]
    what = (f"--model {name}: the tokenizer has {rows + len(missing)} tokens, but the network has embeddings for {rows}; "
            f"without a row: {listed}")
    if set(missing) <= set(tokenizer.get_added_vocab().values()):
        why = "they were added to the tokenizer, and the weights were not resized (resize_token_embeddings)"
    else:
        why = "tokenizer and weights are of different models: get both from one place; or the tokenizer was extended on purpose"
    return Problem(what, f"{why}; to give these tokens rows, which the run trains:", "add --resize-embeddings")


def refuse_too_many(name: str, net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `UserError` for a tokenizer that has tokens without a row."""
    if without_row(net, tokenizer):
        raise UserError([too_many_tokens(name, net, tokenizer)])
